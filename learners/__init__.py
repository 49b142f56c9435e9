"""Algorithms, one file each, listed in `catalogue`. Importing this package imports neither PyTorch nor NumPy: what it
exports is imported when it is first asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from learners.catalogue import CATALOGUE

if TYPE_CHECKING:
    from learners.algorithm import Algorithm, Metrics, Observation, Targets, Weights
    from learners.base.creation import algorithm_class, config_class, create, recorded_knobs
    from learners.errors import LearnerError

__all__ = [
    "Algorithm",
    "LearnerError",
    "Metrics",
    "Observation",
    "Targets",
    "Weights",
    "algorithm_class",
    "config_class",
    "create",
    "names",
    "recorded_knobs",
]

_EXPORTS = {
    **dict.fromkeys(("Algorithm", "Metrics", "Observation", "Targets", "Weights"), "learners.algorithm"),
    **dict.fromkeys(("algorithm_class", "config_class", "create", "recorded_knobs"), "learners.base.creation"),
    "LearnerError": "learners.errors",
}


def names() -> list[str]:
    """Of all algorithms, in alphabetical order."""
    return sorted(CATALOGUE)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'learners' has no attribute {name!r}")
    value = getattr(importlib.import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value
