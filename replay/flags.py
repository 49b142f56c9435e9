"""Flags: booleans, or exactly 0 and 1. Anything else says nothing that may be guessed."""

from __future__ import annotations

from typing import Any

import numpy as np

from replay.errors import DataError

EXPECTED = "expected a boolean, or exactly 0 or 1"
_SHOWN = 40
"""Characters of a value in a message."""


def as_flags(values: Any, where: str, *, first: int = 0, unit: str = "row") -> np.ndarray:
    """(n,) flags as uint8. Raises `DataError`, naming `where` and the first value that is none: its place is
    `unit` `first` + i."""
    array = np.asarray(values)
    bad = np.flatnonzero(not_flags(array))
    if len(bad):
        raise DataError(complaint(array, int(bad[0]), where, first=first, unit=unit))
    return set_flags(array)


def not_flags(array: np.ndarray) -> np.ndarray:
    """(n,) booleans: which of (n,) values are no flags, such as NaN, 0.5 and any text."""
    if array.dtype.kind == "b":
        return np.zeros(len(array), np.bool_)
    if array.dtype.kind in "iuf":
        return np.asarray((array != 0) & (array != 1))
    numbers = (bool, int, float, np.bool_, np.integer, np.floating)
    return np.array([not (isinstance(value, numbers) and value in (0, 1)) for value in array], np.bool_)


def set_flags(array: np.ndarray) -> np.ndarray:
    """(n,) uint8: 1 where a flag is set; 0 where it is not, or is none."""
    return np.asarray((array == 1) & ~not_flags(array)).astype(np.uint8)


def complaint(array: np.ndarray, place: int, where: str, *, first: int = 0, unit: str = "row") -> str:
    return f"{where}: found {_shown(array[place])} at {unit} {first + place}, {EXPECTED}."


def check_flag(value: Any, where: str) -> None:
    """Raises `DataError`, naming `where`, for a single value that is no flag."""
    if np.ndim(value) or not_flags(np.asarray(value).reshape(1))[0]:
        raise DataError(f"{where}: found {_shown(value)}, {EXPECTED}, or None where it is unknown.")


def _shown(value: Any) -> str:
    shown = repr(value.item() if isinstance(value, np.generic) else value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
