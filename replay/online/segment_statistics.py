"""Statistics of a store's live episodes at any snapshot, from those of its segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from replay import statistics
from replay.online.growable_table import GrowableTable
from replay.records import mapping
from replay.schema import Column

NEVER = np.iinfo(np.int64).max
"""The snapshot at which what is not evicted goes."""

_VALUES = ("count", "mean", "std", "min", "max")
_BLOCK = 256
"""Entries that are kept added up, too, so that not all are added up each time."""


class SegmentStatistics:
    """An entry for each segment; a further one after an eviction that left some of the segment."""

    def __init__(self, columns: Sequence[Column]) -> None:
        """`columns`: the numeric ones."""
        self._columns = tuple(columns)
        values: dict[str, tuple[str, tuple[int, ...]]] = {f"{c.name}.count": ("int64", ()) for c in self._columns}
        values |= {f"{c.name}.{value}": ("float64", c.shape) for c in self._columns for value in _VALUES[1:]}
        self.entries = GrowableTable({"gone": ("int64", ()), **values})
        self.blocks = GrowableTable(values)
        """Of each block of such entries together."""
        self.entry_of: list[int] = []
        """The entry of each segment; -1 where all of it was evicted."""

    def add_segment(self, described: Mapping[str, Any]) -> None:
        """Of a new segment: count, mean, std, min and max by column, as JSON has them. Raises `MALFORMED`."""
        self._add(described)
        self.entry_of.append(len(self.entries) - 1)

    def evict(self, segments: Sequence[int], left: Mapping[int, Mapping[str, Any]], snapshot: int) -> None:
        """From `snapshot` on, of these segments only what is `left` counts. Raises `MALFORMED`."""
        for segment in segments:
            self.entries["gone"][self.entry_of[segment]] = snapshot
            self.entry_of[segment] = -1
        for segment, described in left.items():
            self._add(described)
            self.entry_of[segment] = len(self.entries) - 1

    def at(self, snapshot: int, entries: int) -> dict[str, dict[str, Any]]:
        """Of the episodes that are live at a snapshot, which has so many `entries`, by column."""
        live = self.entries["gone"][:entries] > snapshot
        blocks = live[: len(live) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
        whole = blocks.all(axis=1)
        blocks[whole] = False
        together, alone = np.flatnonzero(whole), np.flatnonzero(live)
        return {
            c.name: statistics.pool(
                {
                    value: np.concatenate([self.blocks[key][together], self.entries[key][alone]])
                    for value, key in _keys(c)
                }
            )
            for c in self._columns
        }

    def check(self) -> None:
        """Raises `ValueError` unless the tables, which were filled from outside, fit each other."""
        count, of = len(self.entries), np.asarray(self.entry_of, np.int64)
        of = of[of >= 0]
        live = np.flatnonzero(self.entries["gone"] == NEVER)
        if len(self.blocks) != count // _BLOCK or not np.array_equal(np.sort(of), live):
            raise ValueError("its statistics do not fit each other")

    def _add(self, described: Mapping[str, Any]) -> None:
        values: dict[str, list[Any]] = {}
        for c in self._columns:
            name = f"statistics.{c.name}"
            entry = statistics.from_json(mapping(described[c.name], name), name, c.shape)
            values |= {key: [entry[value]] for value, key in _keys(c)}
        self.entries.extend({"gone": [NEVER], **values})
        if len(self.entries) % _BLOCK == 0:
            block: dict[str, list[Any]] = {}
            for c in self._columns:
                pooled = statistics.pool({value: self.entries[key][-_BLOCK:] for value, key in _keys(c)})
                block |= {key: [pooled[value]] for value, key in _keys(c)}
            self.blocks.extend(block)


def _keys(column: Column) -> list[tuple[str, str]]:
    """The values of an entry, and what the tables call them."""
    return [(value, f"{column.name}.{value}") for value in _VALUES]
