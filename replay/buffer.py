"""From episodes to one shard: rows in the making, checked, encoded and written group by group."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from replay import images
from replay.episode import Episode
from replay.episode_table import EPISODE_COLUMNS
from replay.schema import Column, columns_of, filler
from replay.shard import ShardFile, write_shard
from replay.spaces import Box, Image, Spaces, observation_columns
from replay.statistics import Moments


@dataclass(frozen=True)
class Encoded:
    """An episode that fits, with its pictures as they will be stored."""

    episode: Episode
    pictures: dict[str, list[bytes]]
    bytes: int
    """About what it takes on disk."""


class Layout:
    """How episodes of these spaces become rows. Raises `DataError` for columns that cannot be stored."""

    def __init__(self, spaces: Spaces, extras: Mapping[str, Box]) -> None:
        self.spaces = spaces
        self.extras = dict(extras)
        self.columns = columns_of(spaces, self.extras)
        self.leaves = observation_columns(spaces.observation)
        self.fillers = {c.name: filler(spaces, c) for c in self.columns if c.name not in self.leaves}
        self.row_bytes = sum(column.width if column.kind == "tensor" else 8 for column in self.columns)

    def moments(self) -> dict[str, Moments]:
        """Empty statistics of every numeric column."""
        return {column.name: Moments(column.shape) for column in self.columns if column.kind == "tensor"}

    def encode(self, episode: Episode, where: str) -> Encoded:
        """Check the episode and encode its pictures; those that come encoded are decoded once. Raises `DataError`,
        naming `where` and the field."""
        episode.validate(self.spaces, where, self.extras)
        pictures: dict[str, list[bytes]] = {}
        for name, values in episode.observations().items():
            space = self.leaves[name]
            if not isinstance(space, Image):
                continue
            if isinstance(values, np.ndarray):
                pictures[name] = [images.encode(pixels, space) for pixels in values.astype(np.uint8, copy=False)]
            else:
                for step, data in enumerate(values):
                    images.check(data, space, f"{where}, {name}, step {step}")
                pictures[name] = list(values)
        size = (len(episode) + 1) * self.row_bytes + sum(len(data) for column in pictures.values() for data in column)
        return Encoded(episode, pictures, size)


class ShardBuffer:
    """One shard in the making: arrays filled row by row, so that no copy is made when it is written."""

    def __init__(self, layout: Layout, capacity: int) -> None:
        self.layout = layout
        self.rows = 0
        self.bytes = 0
        self.lengths: list[int] = []
        columns = layout.columns
        self.arrays = {c.name: np.empty((capacity, *c.shape), c.dtype) for c in columns if c.kind == "tensor"}
        self.pictures: dict[str, list[bytes]] = {c.name: [] for c in columns if c.kind == "image"}
        self.table: dict[str, list[Any]] = {name: [] for name in EPISODE_COLUMNS if name != "shard"}

    def add(self, encoded: Encoded) -> None:
        episode = encoded.episode
        start, end = self.rows, self.rows + len(episode)
        self._reserve(end + 1)
        for name, values in episode.observations().items():
            if name in encoded.pictures:
                self.pictures[name].extend(encoded.pictures[name])
            else:
                self.arrays[name][start : end + 1] = values
        steps = {
            "action": episode.action,
            "reward": episode.reward,
            "terminated": episode.terminated,
            "truncated": episode.truncated,
            **episode.extras,
        }
        for name, values in steps.items():
            self.arrays[name][start:end] = values
            self.arrays[name][end] = self.layout.fillers[name]
        record = {
            "first_row": start,
            "length": len(episode),
            "terminated": int(episode.terminated[-1]),
            "truncated": int(episode.truncated[-1]),
            "return": float(self.arrays["reward"][start:end].sum(dtype=np.float64)),
            "task": episode.task,
            "source": episode.source,
            "success": -1 if episode.success is None else int(episode.success),
            "split": episode.split,
        }
        for name, value in record.items():
            self.table[name].append(value)
        self.lengths.append(len(episode))
        self.rows = end + 1
        self.bytes += encoded.bytes

    def write(self, path: Callable[[str], Path]) -> dict[str, ShardFile]:
        """One file for each column group, at `path(group)`, through to the disk. Raises `OSError` as the disk does."""
        files: dict[str, ShardFile] = {}
        for group in dict.fromkeys(column.group for column in self.layout.columns):
            columns = [column for column in self.layout.columns if column.group == group]
            files[group] = write_shard(path(group), columns, {column.name: self._values(column) for column in columns})
        return files

    def measure(self, moments: Mapping[str, Moments]) -> None:
        """Add the rows to `moments`, by column; the last row of an episode counts for its observation only."""
        steps = np.ones(self.rows, bool)
        steps[np.cumsum(np.asarray(self.lengths) + 1) - 1] = False
        for name, collected in moments.items():
            column = self.arrays[name][: self.rows]
            collected.add(column if name in self.layout.leaves else column[steps])

    def _values(self, column: Column) -> np.ndarray | list[bytes]:
        return self.pictures[column.name] if column.kind == "image" else self.arrays[column.name][: self.rows]

    def _reserve(self, rows: int) -> None:
        """Pictures compress unevenly, so that more rows may fit than the first episode promised."""
        capacity = len(self.arrays["reward"])
        if rows <= capacity:
            return
        for name, array in self.arrays.items():
            larger = np.empty((max(rows, 2 * capacity), *array.shape[1:]), array.dtype)
            larger[: self.rows] = array[: self.rows]
            self.arrays[name] = larger
