"""One recorded episode, as readers make it, the writer takes it and `Dataset.episode` gives it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from replay.errors import DataError
from replay.flags import as_flags, check_flag
from replay.ranges import shown
from replay.records import is_utf8
from replay.spaces import Box, Discrete, Image, Leaf, Spaces, observation_columns


@dataclass(frozen=True)
class Episode:
    """T transitions and T + 1 observations: `observation[t + 1]` is the one after `action[t]`."""

    observation: Any
    """(T + 1, ...) array, or a dictionary of such arrays. A picture column is (T + 1, H, W, C) uint8,
    or a list of T + 1 encoded pictures."""
    action: np.ndarray
    """(T, ...), or (T,) integers for a discrete space."""
    reward: np.ndarray
    """(T,)"""
    terminated: np.ndarray
    """(T,) flags. May be set before the last step only where the source declares masks (OGBench)."""
    truncated: np.ndarray
    """(T,) flags: bootstrap, then stop."""
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Further columns, (T, ...) each, such as `behavior_logprob`."""
    task: str = ""
    source: str = ""
    success: bool | None = None
    split: str | None = None
    """`train` or `validation` where the source says so; None leaves it to the writer."""

    def __len__(self) -> int:
        """T, the number of transitions."""
        return len(self.reward)

    def observations(self) -> dict[str, Any]:
        """Column name to rows: `observation`, or `observation.<key>` for each part of a dictionary."""
        if isinstance(self.observation, Mapping):
            return {f"observation.{key}": self.observation[key] for key in sorted(self.observation)}
        return {"observation": self.observation}

    def _check_tags(self, where: str) -> None:
        """Raises `DataError` for tags that are no text, or none that can be written."""
        tags = {"task": self.task, "source": self.source, **({} if self.split is None else {"split": self.split})}
        for name, value in tags.items():
            if not isinstance(value, str) or len(value) > LONGEST_TAG or not is_utf8(value):
                raise DataError(
                    f"{where}, {name}: found {shown(value)}, expected text of at most {LONGEST_TAG:,} characters. "
                    "Change it."
                )

    def validate(self, spaces: Spaces, where: str, extras: Mapping[str, Box] | None = None) -> None:
        """Raises `DataError`, naming `where` and the field, for anything that does not fit `spaces`: missing
        or surplus columns, lengths, shapes, types that cannot be stored without changing kind, numbers that
        the type they are stored in cannot hold or that are not finite in it, and flags that are neither booleans
        nor exactly 0 or 1. `extras` declares the further columns; None: any."""
        if as_array(self.reward, where, "reward").ndim == 0:
            raise DataError(
                f"{where}, reward: found a single {type(self.reward).__name__}, expected one for each step."
            )
        T = len(self)
        if T < 1:
            raise DataError(f"{where}: has no transitions; an episode needs at least one. Leave it out.")
        self._check_tags(where)
        for name, parts in (("observation", self.observation), ("extras", self.extras)):
            if isinstance(parts, Mapping) and not all(isinstance(key, str) for key in parts):
                raise DataError(f"{where}, {name}: found keys that are no text, expected names. Rename them.")
        if not isinstance(self.extras, Mapping):
            raise DataError(f"{where}, extras: found {type(self.extras).__name__}, expected columns by name.")
        found, expected = self.observations(), observation_columns(spaces.observation)
        _same_names(where, found, expected)
        for name, leaf in expected.items():
            check_column(found[name], leaf, T + 1, where, name)
        check_column(self.action, spaces.action, T, where, "action")
        check_column(self.reward, Box(()), T, where, "reward")
        for name, flags in (("terminated", self.terminated), ("truncated", self.truncated)):
            _check_flags(flags, T, where, name)
        if self.success is not None:
            check_flag(self.success, f"{where}, success")
        if extras is not None:
            _same_names(where, self.extras, extras)
            for name, box in extras.items():
                check_column(self.extras[name], box, T, where, name)


def check_column(values: Any, leaf: Leaf, rows: int, where: str, name: str) -> None:
    """Raises `DataError` unless `values` are `rows` rows of `leaf`: finite, of a kind it can store."""
    if isinstance(leaf, Image) and not isinstance(values, np.ndarray):
        if not isinstance(values, Sequence):
            raise DataError(f"{where}, {name}: found {type(values).__name__}, expected pictures. Check the source.")
        if len(values) != rows:
            raise DataError(f"{where}, {name}: found {len(values)} pictures, expected {rows}. {_LENGTHS}")
        if not all(isinstance(picture, bytes) for picture in values):
            raise DataError(f"{where}, {name}: pictures must be a uint8 array or a list of encoded bytes.")
        return
    array = as_array(values, where, name)
    expected = (rows, *leaf.shape)
    if array.shape != expected:
        remedy = _LENGTHS if array.shape[1:] == tuple(leaf.shape) else "Check the declared space."
        raise DataError(f"{where}, {name}: found shape {array.shape}, expected {expected}. {remedy}")
    dtype = np.dtype(leaf.dtype)
    if isinstance(leaf, Discrete) and array.dtype.kind == "f":
        _check_whole(array, where, name)
    elif array.dtype.kind not in "biuf" or not np.can_cast(array.dtype, dtype, "same_kind"):
        raise DataError(
            f"{where}, {name}: found {array.dtype}, expected {dtype}. Convert the column before ingesting it."
        )
    elif dtype.kind in "iu":
        _check_fits(array, dtype, where, name)
    if dtype.kind == "f":
        stored = array if array.dtype == dtype else _cast(array, dtype)
        if not np.isfinite(stored).all():
            bad = ~np.isfinite(stored.reshape(rows, -1)).all(axis=1)
            step = int(np.argmax(bad))
            raise DataError(
                f"{where}, {name}: NaN or infinite in {int(bad.sum())} of {rows} rows, first at step {step}, expected "
                f"numbers that {dtype} can hold."
            )
    if isinstance(leaf, Discrete) and rows:
        low, high = int(array.min()), int(array.max())
        if low < leaf.start or high >= leaf.start + leaf.n:
            raise DataError(
                f"{where}, {name}: found values {low} to {high}, "
                f"expected {leaf.start} to {leaf.start + leaf.n - 1}. Check the declared space."
            )


def as_array(values: Any, where: str, name: str) -> np.ndarray:
    """The values as an array. Raises `DataError`, naming `where` and the field, for what is none, such as lists of
    different lengths."""
    try:
        return np.asarray(values)
    except Exception as error:  # whatever a value's own `__array__` raises
        raise DataError(
            f"{where}, {name}: found {type(values).__name__}, expected an array ({type(error).__name__}: {error})."
        ) from error


LONGEST_TAG = 10_000
"""Characters of a task, a source or the name of a split."""


_LENGTHS = "Observations have one row more than actions, rewards and flags."


def _cast(array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    with np.errstate(over="ignore"):  # an overflow becomes inf, which the caller reports
        return array.astype(dtype)


_EXACT = 2**53
"""Up to here float64 holds every whole number."""


def _check_whole(array: np.ndarray, where: str, name: str) -> None:
    whole = np.isfinite(array) & (np.floor(array) == array) & (np.abs(array) <= _EXACT)
    if not whole.all():
        step = int(np.argmin(whole))
        raise DataError(f"{where}, {name}: found {array[step]} at step {step}, expected a whole number.")


def _check_fits(array: np.ndarray, dtype: np.dtype[Any], where: str, name: str) -> None:
    if np.can_cast(array.dtype, dtype, "safe"):
        return
    bounds = np.iinfo(dtype)
    bad = (array < bounds.min) | (array > bounds.max)
    if bad.any():
        place = np.unravel_index(int(np.argmax(bad)), bad.shape)
        raise DataError(
            f"{where}, {name}: found {array[place]} at step {place[0]}, expected {bounds.min} to {bounds.max}, which "
            f"{dtype} can hold. Convert the column before ingesting it."
        )


def _check_flags(flags: Any, rows: int, where: str, name: str) -> None:
    array = as_array(flags, where, name)
    if array.shape != (rows,):
        raise DataError(f"{where}, {name}: found shape {array.shape}, expected ({rows},). {_LENGTHS}")
    as_flags(array, f"{where}, {name}", unit="step")


def _same_names(where: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    if set(found) != set(expected):
        raise DataError(
            f"{where}: found columns {', '.join(sorted(found)) or 'none'}; "
            f"expected {', '.join(sorted(expected)) or 'none'}. "
            "Every episode must have the columns of the dataset."
        )


def flags(rows: int, *, last: bool = False) -> np.ndarray:
    """(rows,) uint8 zeros, with a one at the end where `last`."""
    array = np.zeros(rows, np.uint8)
    if last and rows:
        array[-1] = 1
    return array


__all__ = ["Episode", "check_column", "flags"]
