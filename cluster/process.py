"""What every process of a run sets before its first operation, and what makes two of them agree bit for bit."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy as np
import torch

from replay.addresses import keep_freed_memory


def prepare(threads: int, device: str) -> None:
    """Fix what changes the last bits of a result: thread count and the choice of kernels."""
    # Activations of a few megabytes come and go with every layer: 1.3 times the labels per second of QT-Opt.
    keep_freed_memory()
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.backends.cuda.matmul.allow_tf32 = False


def fingerprint(device: str) -> dict[str, str]:
    """What must be equal for two processes to compute the same bits."""
    kind = torch.cuda.get_device_name() if device == "cuda" else torch.backends.cpu.get_cpu_capability()
    return {
        "device": device,
        "capability": kind,
        "machine": platform.machine(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def describe_difference(ours: dict[str, str], theirs: dict[str, str]) -> list[str]:
    """One line for each entry in which two fingerprints differ."""
    return [f"{name}: {ours[name]} against {theirs.get(name)}" for name in ours if ours[name] != theirs.get(name)]


def as_floats(metrics: dict[str, Any]) -> dict[str, float]:
    """Scalar tensors to numbers, with one transfer from the device."""
    names = list(metrics)
    if not names:
        return {}
    values = torch.stack([metrics[name].float().reshape(()) for name in names]).tolist()
    return dict(zip(names, values, strict=True))


def gpu_present() -> bool:
    return torch.cuda.is_available()
