"""Tables that rows are appended to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class GrowableTable:
    """Arrays (N, *shape) by column name. Appending costs the new rows, on average: capacity doubles.

    Arrays handed out are views of what is kept; appending leaves them as they were.
    """

    def __init__(self, columns: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
        """`columns`: (dtype, shape of one row) by name."""
        self._arrays = {name: np.empty((16, *shape), dtype) for name, (dtype, shape) in columns.items()}
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name][: self._rows]

    def columns(self) -> dict[str, np.ndarray]:
        """All rows, by column."""
        return {name: self[name] for name in self._arrays}

    def extend(self, rows: Mapping[str, Sequence[Any] | np.ndarray]) -> None:
        """Append rows, given by column, each as long as the others. Raises `ValueError` for values that do not fit."""
        count = len(next(iter(rows.values())))
        if count == 0:
            return
        end = self._rows + count
        added = {name: np.asarray(rows[name], array.dtype) for name, array in self._arrays.items()}
        for name, array in self._arrays.items():
            if added[name].shape != (count, *array.shape[1:]):
                raise ValueError(f"{name}: found shape {added[name].shape}, expected {(count, *array.shape[1:])}")
        for name, array in self._arrays.items():
            if end > len(array):
                larger = np.empty((max(end, 2 * len(array)), *array.shape[1:]), array.dtype)
                larger[: self._rows] = array[: self._rows]
                self._arrays[name] = array = larger
            array[self._rows : end] = added[name]
        self._rows = end
