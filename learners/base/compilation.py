"""How a step is computed: compiled where a compiler is there, and in half precision where that is asked for."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar, cast

import torch

logger = logging.getLogger(__name__)

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function, device: torch.device) -> Function:
    """`function` compiled, with CUDA graphs on a GPU; as it is, with a notice, where a CPU has no C++ compiler."""
    if device.type == "cpu" and not _compiler_found():
        logger.warning("compile: no C++ compiler found on this machine; running eagerly instead.")
        return function
    mode = "reduce-overhead" if device.type == "cuda" else None
    return cast(Function, torch.compile(function, mode=mode))


def _compiler_found() -> bool:
    return any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++", "c++") if name)


def autocast(device: torch.device, mixed_precision: bool) -> AbstractContextManager[Any]:
    """Inside, products are in bfloat16 where `mixed_precision` asks for it and the device is a GPU."""
    if device.type == "meta":
        return nullcontext()
    active = mixed_precision and device.type == "cuda"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=active)
