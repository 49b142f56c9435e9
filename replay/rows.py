"""Rows: where the transitions of a draw lie, as named columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

GOAL = "goal."
"""Begins the names of the columns of the goals' rows."""


@dataclass(slots=True)  # not frozen, whose constructor takes a tenth of the time of a draw; nobody changes one
class Rows:
    """Everything that a batch needs to be assembled: arrays (B,), int64 unless they say otherwise.

    Whoever gathers needs no table of episodes. `goal` is a second set of rows, which may lie in other shards.
    """

    index: np.ndarray
    """Position in the view."""
    shard: np.ndarray
    """Global shard number of the view."""
    row: np.ndarray
    """Row in the shard."""
    remaining: np.ndarray
    """Steps left in the episode, this one included."""
    step: np.ndarray
    """Steps of the episode before this one."""
    weight: np.ndarray | None = None
    """float32: importance weights, where drawn by priority."""
    task: np.ndarray | None = None
    """The task that each row is trained as, by its number in the request, where that has tasks."""
    reached: np.ndarray | None = None
    """uint8: whether each row is at its goal, its own observation being it, where the request has goals."""
    goal: Rows | None = None
    """One goal for each row, where the request has goals."""

    def __len__(self) -> int:
        return len(self.index)

    def take(self, order: Any) -> Rows:
        """Those at `order` (indices, a slice or a mask), in that order."""
        return Rows.of({name: column[order] for name, column in self.columns()})

    def columns(self) -> Iterator[tuple[str, np.ndarray]]:
        """The columns that there are, by name, those of the goals as `goal.…`."""
        for name in _OWN:
            if (column := getattr(self, name)) is not None:
                yield name, column
        if self.goal is not None:
            for name, column in self.goal.columns():
                yield GOAL + name, column

    @staticmethod
    def of(columns: Mapping[str, np.ndarray]) -> Rows:
        """The inverse of `columns`. Raises `TypeError` for columns that are missing or unknown."""
        own = {name: column for name, column in columns.items() if not name.startswith(GOAL)}
        goals = {name.removeprefix(GOAL): column for name, column in columns.items() if name.startswith(GOAL)}
        return Rows(**own, goal=Rows.of(goals) if goals else None)


_OWN = ("index", "shard", "row", "remaining", "step", "weight", "task", "reached")


def concatenate_rows(parts: Sequence[Rows]) -> Rows:
    """Several draws with the same columns, one after the other, as one request."""
    if len(parts) == 1:
        return parts[0]
    columns = [dict(part.columns()) for part in parts]
    return Rows.of({name: np.concatenate([column[name] for column in columns]) for name in columns[0]})
