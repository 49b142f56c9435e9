"""Imagined transitions: a bounded ring at the learner, which rows enter, and are drawn from, by step and never by
arrival."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.batch import Batch
from replay.random_words import IMAGINED, uniforms


class ImaginedRows:
    """The newest `capacity` rows of those that entered. What a step draws of them depends on the seed and the step."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._columns: dict[str, NDArray[Any]] = {}
        """By name, (capacity, …), from the first rows on."""
        self._next = self._count = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, batch: Batch[NDArray[Any]]) -> None:
        """Add rows; where the ring is full, they take the places of the oldest."""
        new = min(len(batch), self._capacity)
        places = (self._next + np.arange(new)) % self._capacity
        for name, column in batch.columns():
            if name not in self._columns:
                self._columns[name] = np.empty((self._capacity, *column.shape[1:]), column.dtype)
            self._columns[name][places] = column[len(column) - new :]
        self._next = (self._next + new) % self._capacity
        self._count = min(self._count + new, self._capacity)

    def draw(self, seed: int, step: int, count: int) -> Batch[NDArray[Any]]:
        """`count` rows with replacement, uniformly."""
        return self._rows((uniforms(seed, IMAGINED, step, count) * self._count).astype(np.int64))

    def state(self) -> dict[str, NDArray[Any]]:
        """All rows as named arrays, oldest first; what `restore` takes."""
        return dict(self._rows(np.arange(self._count)).columns()) if self._columns else {}

    def restore(self, columns: Mapping[str, NDArray[Any]]) -> None:
        self._columns.clear()
        self._next = self._count = 0
        if columns:
            self.enter(Batch.of(columns))

    def _rows(self, age: NDArray[np.int64]) -> Batch[NDArray[Any]]:
        """Rows by their place in line, of which the oldest has 0."""
        places = (self._next - self._count + age) % self._capacity
        return Batch.of({name: column[places] for name, column in self._columns.items()})
