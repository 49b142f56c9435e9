"""What an online store holds, as its journal tells it: episodes, segments and statistics at any snapshot.

Episodes and segments are numbered in the order they were inserted, for ever. Eviction takes an episode out of
sampling; its number, its rows and its files stay.
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from replay import statistics
from replay.contents import Contents, Episodes, Shards
from replay.errors import DataError
from replay.manifest import EPISODE_COLUMNS, from_description
from replay.online.growable_table import GrowableTable
from replay.online.journal import JOURNAL, SEGMENTS, STORE, JournalReader, segment_files, segment_name
from replay.records import MALFORMED, flag, listed, listing, mapping, number, read_record, reason, text, whole
from replay.schema import Column
from replay.shard import ShardFile
from replay.statistics import Moments

FORMAT = "quiver-online-store"
VERSION = 1

_LIVES = np.iinfo(np.int64).max
_VALUES = ("count", "mean", "std", "min", "max")
_BLOCK = 256
"""Segments whose statistics are kept together, too, so that not all are added up each time."""
_SIZES = ("episodes", "shards", "moments", "rows")


def _success(value: Any, name: str) -> int:
    """1, 0, or -1 where unknown."""
    return whole(value, name, -1, 1)


_FACTS: dict[str, Callable[[Any, str], Any]] = {
    "first_row": whole,
    "length": whole,
    "terminated": flag,
    "truncated": flag,
    "return": number,
    "task": text,
    "source": text,
    "success": _success,
    "split": text,
}
"""What a line says of an episode, and what it must be."""


def is_store(folder: Path) -> bool:
    return os.path.isfile(folder / STORE)


class StoreState:
    """A store, read from its folder and followed as it grows. What it says of a snapshot never changes.

    Raises `DataError` for a folder that is no store.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / STORE
        record, _ = read_record(path, FORMAT, VERSION, what="an online store", maker="OnlineStore.create")
        if (folder / SEGMENTS).is_symlink():
            raise DataError(f"{folder / SEGMENTS}: found a symbolic link, expected a folder; put the folder there.")
        self.manifest = from_description(record, str(path))
        """Without numbers."""
        self.journal = JournalReader(folder / JOURNAL)
        self.ids: list[str] = []
        """Of every episode ever inserted, by number."""
        self.numbers: dict[str, int] = {}
        """The reverse."""
        self.remarks: list[dict[str, Any]] = []
        """What the caller had to say of each."""
        self._shards: Shards = []
        self._groups = {column.group for column in self.manifest.columns}
        self._tensors = [column for column in self.manifest.columns if column.kind == "tensor"]
        self._episodes = GrowableTable(
            {name: (_dtype(name), ()) for name in EPISODE_COLUMNS} | {"end": ("int64", ()), "gone": ("int64", ())}
        )
        values: dict[str, tuple[str, tuple[int, ...]]] = {f"{c.name}.count": ("int64", ()) for c in self._tensors}
        values |= {f"{c.name}.{value}": ("float64", c.shape) for c in self._tensors for value in _VALUES[1:]}
        # A row for each segment; another in its place after an eviction that left some of the segment.
        self._moments = GrowableTable({"gone": ("int64", ()), **values})
        # Of each block of such rows together.
        self._blocks = GrowableTable(values)
        self._moments_of: list[int] = []
        """The row of each segment; -1 where all of it was evicted."""
        self._sizes = GrowableTable(dict.fromkeys(_SIZES, ("int64", ())))
        """Of the tables, by snapshot."""
        self._sizes.extend({name: [0] for name in _SIZES})
        self._halfway = False
        """Whether a record may have been taken in by half: an error or an interruption."""

    @property
    def snapshot(self) -> int:
        """The newest one taken in."""
        return len(self._sizes) - 1

    @property
    def segments(self) -> int:
        """Ever inserted; the number of the next one."""
        return len(self._shards)

    @property
    def transitions(self) -> int:
        """Ever inserted."""
        return int(self._episodes["end"][-1]) if len(self._episodes) else 0

    def refresh(self) -> int:
        """Take in what is new; returns the newest snapshot. Raises `DataError` for a damaged journal."""
        for record, position in self.journal.news():
            if self._halfway:
                raise DataError(f"{self.folder}: reading it was broken off before; open it again.")
            self._halfway = True
            try:
                self._take_in(record)
            except MALFORMED as error:
                raise DataError(
                    f"{self.journal.path}, line {position.snapshot}: not a record of this store ({reason(error)}); "
                    "restore the file from a copy."
                ) from error
            self.journal.position = position
            self._halfway = False
        return self.snapshot

    def live(self, snapshot: int) -> np.ndarray:
        """int64 (N,): the numbers of the episodes that were inserted and not evicted up to then, in order.

        Raises `DataError` for a snapshot that is not there (yet).
        """
        if not 0 <= snapshot <= self.snapshot:
            raise DataError(
                f"{self.folder}: found snapshot {snapshot}, expected 0 to {self.snapshot}, the newest one read; "
                "refresh the reader first."
            )
        count = self._size("episodes", snapshot)
        return np.flatnonzero(self._episodes["gone"][:count] > snapshot)

    def episodes(self, numbers: np.ndarray) -> Episodes:
        """The table of these episodes, copied: the columns of any dataset."""
        return {name: self._episodes[name][numbers] for name in EPISODE_COLUMNS}

    def ages(self, numbers: np.ndarray) -> np.ndarray:
        """int64 (N,): transitions inserted after each of these episodes."""
        return self.transitions - self._episodes["end"][numbers]

    def files(self, segment: int) -> dict[str, ShardFile]:
        """By column group."""
        return self._shards[segment]

    def at(self, snapshot: int) -> Contents:
        """The live episodes as a dataset. Raises `DataError` as `live` does."""
        episodes, shards = self.episodes(self.live(snapshot)), self._shards[: self._size("shards", snapshot)]
        counts = {
            "transitions": int(episodes["length"].sum()),
            "episodes": len(episodes["length"]),
            "rows": self._size("rows", snapshot),
            "shards": len(shards),
        }
        manifest = replace(self.manifest, statistics=self._statistics(snapshot, episodes["return"]), counts=counts)
        return Contents(self.folder, manifest, shards, episodes, snapshot)

    def _statistics(self, snapshot: int, returns: np.ndarray) -> dict[str, dict[str, Any]]:
        """Of the live episodes, by column; and of their returns."""
        live = self._moments["gone"][: self._size("moments", snapshot)] > snapshot
        blocks = live[: len(live) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
        whole = blocks.all(axis=1)
        blocks[whole] = False
        together, alone = np.flatnonzero(whole), np.flatnonzero(live)
        found = {
            c.name: statistics.pool(
                {
                    value: np.concatenate([self._blocks[key][together], self._moments[key][alone]])
                    for value, key in _keys(c)
                }
            )
            for c in self._tensors
        }
        collected = Moments(())
        collected.add(returns)
        return {**found, "return": collected.entry()}

    def _size(self, table: str, snapshot: int) -> int:
        return int(self._sizes[table][snapshot])

    def _take_in(self, record: Mapping[str, Any]) -> None:
        rows = self._size("rows", -1)
        match record:
            case {"insert": insert}:
                rows += self._insert(mapping(insert, "insert"))
            case {"evict": evict}:
                self._evict(mapping(evict, "evict"))
            case _:
                raise ValueError(f"found {listed(record)}, expected insert or evict")
        sizes = (len(self._episodes), len(self._shards), len(self._moments), rows)
        self._sizes.extend({name: [size] for name, size in zip(_SIZES, sizes, strict=True)})

    def _insert(self, insert: Mapping[str, Any]) -> int:
        """Returns the rows of the segment."""
        segment = len(self._shards)
        if whole(insert["segment"], "segment") != segment:
            raise ValueError(f"segment {insert['segment']}, expected {segment}")
        files = {
            group: replace(file, path=self.folder / file.path) for group, file in segment_files(insert, segment).items()
        }
        rows = {file.rows for file in files.values()}
        episodes = [mapping(episode, "episodes") for episode in listing(insert["episodes"], "episodes")]
        ids = [text(episode["id"], "id") for episode in episodes]
        if files.keys() != self._groups or len(rows) != 1 or not episodes:
            raise ValueError(
                f"files for {listed(sorted(files))} with {sorted(rows)} rows, expected {listed(sorted(self._groups))}"
            )
        if any(name in self.numbers for name in ids) or len(set(ids)) < len(ids):
            raise ValueError("an id that was inserted before")
        table = {name: [fact(episode[name], name) for episode in episodes] for name, fact in _FACTS.items()}
        remarks = [dict(mapping(episode["extra"], "extra")) for episode in episodes]
        _check_places(table["first_row"], table["length"], *rows)
        ends = self.transitions + np.cumsum(table["length"])
        self._measured(mapping(insert["statistics"], "statistics"))
        self._moments_of.append(len(self._moments) - 1)
        self._episodes.extend(
            {**table, "shard": [segment] * len(ids), "end": ends, "gone": [_LIVES] * len(ids)}  # type: ignore[dict-item]
        )
        self.numbers.update(zip(ids, range(len(self.ids), len(self.ids) + len(ids)), strict=True))
        self.ids += ids
        self.remarks += remarks
        self._shards.append(files)
        return rows.pop()

    def _evict(self, evict: Mapping[str, Any]) -> None:
        snapshot = self.snapshot + 1
        gone = self._episodes["gone"]
        said = [whole(number, "episodes") for number in listing(evict["episodes"], "episodes")]
        numbers = np.asarray(said, np.int64)
        if (
            len(numbers) == 0
            or numbers.max() >= len(gone)
            or (gone[numbers] != _LIVES).any()
            or len(set(said)) < len(said)
        ):
            raise ValueError(f"evicts episodes {reprlib.repr(said)}, which are not there")
        gone[numbers] = snapshot
        touched = np.unique(self._episodes["shard"][numbers])
        # Of what is left of a segment, its line has new statistics.
        bounds = np.searchsorted(self._episodes["shard"], [touched, touched + 1]).T.tolist()
        expected = {
            str(segment): segment
            for segment, (start, stop) in zip(touched.tolist(), bounds, strict=True)
            if (gone[start:stop] == _LIVES).any()
        }
        statistics_left = mapping(evict["statistics"], "statistics")
        if statistics_left.keys() != expected.keys():
            raise ValueError(
                f"statistics: found those of segments {listed(sorted(statistics_left))}, expected "
                f"{listed(sorted(expected))}"
            )
        for segment in touched.tolist():
            self._moments["gone"][self._moments_of[segment]] = snapshot
            self._moments_of[segment] = -1
        for name, entries in statistics_left.items():
            self._measured(mapping(entries, "statistics"))
            self._moments_of[expected[name]] = len(self._moments) - 1

    def _measured(self, entries: Mapping[str, Any]) -> None:
        values: dict[str, list[Any]] = {}
        for c in self._tensors:
            name = f"statistics.{c.name}"
            entry = statistics.from_json(mapping(entries[c.name], name), name, c.shape)
            values |= {key: [entry[value]] for value, key in _keys(c)}
        self._moments.extend({"gone": [_LIVES], **values})
        if len(self._moments) % _BLOCK == 0:
            block: dict[str, list[Any]] = {}
            for c in self._tensors:
                pooled = statistics.pool({value: self._moments[key][-_BLOCK:] for value, key in _keys(c)})
                block |= {key: [pooled[value]] for value, key in _keys(c)}
            self._blocks.extend(block)


def _check_places(first_rows: list[Any], lengths: list[Any], rows: int) -> None:
    """Episodes lie in their segment one behind the other. Raises `ValueError`."""
    end = 0
    for first_row, length in zip(first_rows, lengths, strict=True):
        if whole(first_row, "first_row") < end or whole(length, "length") < 1 or first_row + length >= rows:
            raise ValueError(f"an episode of {length} steps from row {first_row} on, in {rows} rows")
        end = first_row + length + 1


def _keys(column: Column) -> list[tuple[str, str]]:
    """The values of an entry of statistics, and what the tables call them."""
    return [(value, f"{column.name}.{value}") for value in _VALUES]


def _dtype(name: str) -> str:
    kind = EPISODE_COLUMNS[name]
    return "object" if kind == pa.string() else np.dtype(kind.to_pandas_dtype()).name


__all__ = ["FORMAT", "SEGMENTS", "VERSION", "StoreState", "is_store", "segment_name"]
