"""What every process of a run sets before its first operation, and what makes two of them agree bit for bit."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy as np
import torch

from cluster.errors import RunError
from replay.gather.addresses import keep_freed_memory


def prepare(threads: int, device: str) -> None:
    """Fix what changes the last bits of a result: thread count and the choice of kernels.

    It asks for no GPU: the driver does this too, and of a cluster's nodes its own may be one without.
    """
    # Activations of a few megabytes come and go with every layer: 1.3 times the labels per second of QT-Opt.
    keep_freed_memory()
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.backends.cuda.matmul.allow_tf32 = False


def device_of(kind: str, role: str) -> str:
    """What PyTorch calls the device that this process computes on: `kind` is cpu or cuda.

    Raises `RunError`, naming the role and the node, where it is to be a GPU and PyTorch finds none.
    """
    if kind == "cuda" and not gpu_present():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        raise RunError(
            f"{role} on node {platform.node()}: is to compute on a GPU, and PyTorch {torch.__version__} finds none in "
            f"its process (CUDA_VISIBLE_DEVICES is {'not set' if visible is None else repr(visible)}). Install a "
            "PyTorch with CUDA there, and a driver for it, pin the role to nodes that have them, or use --device cpu."
        )
    return kind


def fingerprint(device: str) -> dict[str, str]:
    """What must be equal for two processes to compute the same bits.

    To be asked of the process that computes: another one, such as the driver, may have no such device.
    """
    kind = gpu_name() if device == "cuda" else torch.backends.cpu.get_cpu_capability()
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


def gpu_name() -> str:
    return torch.cuda.get_device_name()
