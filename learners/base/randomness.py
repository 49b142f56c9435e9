"""Randomness with an address: noise is a function of (seed, purpose, sequence), never of process state.

`normal` and `uniform` draw all of a batch at once; `normal_of_rows` and `uniform_of_rows` draw each row by its number,
so that several learners draw their own rows only.

On PyTorch's meta device, where nothing has contents, nothing is drawn (`learners.base.footprint`).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

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


# --- By row ---


def normal_of_rows(
    key: Key, purpose: str, rows: range, shape: tuple[int, ...], width: int, device: torch.device
) -> torch.Tensor:
    """Standard normal noise (*shape, len(rows), width), float32: that of each row is a function of its number.

    Words 2k and 2k + 1 of a row become u in (0, 1] and v in [0, 1), by their top 53 bits, and these the two numbers
    √(−2 log u)·cos 2πv and √(−2 log u)·sin 2πv (Box and Muller 1958), in float64.
    """
    if device.type == "meta":
        return torch.empty((*shape, len(rows), width), device=device)
    bits = _words(key, purpose, rows, shape, width) >> np.uint64(11)
    radius = np.sqrt(-2.0 * np.log((bits[:, 0::2] + 1.0) * 2.0**-53))
    angle = (2.0 * np.pi * 2.0**-53) * bits[:, 1::2]
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return _of_rows(pairs.reshape(bits.shape), shape, width, device)


def uniform_of_rows(
    key: Key, purpose: str, rows: range, shape: tuple[int, ...], width: int, device: torch.device
) -> torch.Tensor:
    """Uniform noise in [0, 1), likewise: the top 24 bits of each word, which a float32 holds exactly."""
    if device.type == "meta":
        return torch.empty((*shape, len(rows), width), device=device)
    words = _words(key, purpose, rows, shape, width) >> np.uint64(40)
    return _of_rows(words * 2.0**-24, shape, width, device)


def _words(key: Key, purpose: str, rows: range, shape: tuple[int, ...], width: int) -> NDArray[np.uint64]:
    """Raw words, (len(rows), at least as many as a row needs), from Philox, which makes four of each counter.

    Its key is a hash of the address, and each row has the counters that follow those of the rows before it.
    """
    counters = -(-math.prod(shape) * width // 4)
    digest = blake2b(f"{key[0]}/{purpose}/{key[1]}/rows".encode(), digest_size=16).digest()
    philox = np.random.Philox(counter=rows.start * counters, key=int.from_bytes(digest, "little"))
    return philox.random_raw(len(rows) * counters * 4).reshape(len(rows), counters * 4)


def _of_rows(values: NDArray[Any], shape: tuple[int, ...], width: int, device: torch.device) -> torch.Tensor:
    """(B, at least …) → float32 (*shape, B, width)."""
    rows = values[:, : math.prod(shape) * width].astype(np.float32).reshape(len(values), *shape, width)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(rows, 0, -2))).to(device, non_blocking=True)


# --- Parameters ---


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
