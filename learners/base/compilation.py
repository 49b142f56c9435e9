"""Compiling a step once, where a compiler is there."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
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
