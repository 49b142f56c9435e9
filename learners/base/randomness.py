"""Randomness with an address: noise is a function of (seed, purpose, sequence), never of process state.

On PyTorch's meta device, where nothing has contents, nothing is drawn (`learners.base.footprint`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from hashlib import blake2b

import torch

Key = tuple[int, int]


def generator(key: Key, purpose: str) -> torch.Generator:
    """A fresh CPU generator for one purpose at one (seed, sequence)."""
    digest = blake2b(f"{key[0]}/{purpose}/{key[1]}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))


def normal(key: Key, purpose: str, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Standard normal noise, float32. Drawn on the CPU, so a GPU learner sees the same numbers."""
    if device.type == "meta":
        return torch.empty(shape, device=device)
    return torch.randn(shape, generator=generator(key, purpose)).to(device, non_blocking=True)


def uniform(key: Key, purpose: str, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Uniform noise in [0, 1), float32."""
    if device.type == "meta":
        return torch.empty(shape, device=device)
    return torch.rand(shape, generator=generator(key, purpose)).to(device, non_blocking=True)


@contextlib.contextmanager
def initialisation(seed: int, device: torch.device) -> Iterator[None]:
    """Parameters built inside depend on `seed` only; the process's own generator is left as it was.

    They are made on the CPU and moved to `device` later, but for PyTorch's meta device: there they have shapes alone.
    """
    if device.type == "meta":
        with device:
            yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(blake2b(f"{seed}/init".encode(), digest_size=8).digest(), "little"))
        yield
