"""What is in an online store, as its journal tells it: episodes, segments and statistics at any snapshot.

Episodes and segments are numbered in the order they were inserted, for ever. Eviction takes an episode out of
sampling; its number, its rows and its files stay.
"""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from replay.contents import Contents, Episodes, Shards
from replay.episode_table import EPISODE_COLUMNS, impossible
from replay.errors import DataError
from replay.manifest import from_description
from replay.online.growable_table import GrowableTable
from replay.online.journal import JOURNAL, SEGMENTS, STORE, JournalReader, segment_files, segment_name
from replay.online.segment_statistics import NEVER, SegmentStatistics
from replay.online.state_checkpoint import StateCheckpoint, checkpoint_name, ignored, read_checkpoints
from replay.records import MALFORMED, flag, listed, listing, mapping, number, read_record, reason, text, whole
from replay.shard import ShardFile
from replay.statistics import Moments

FORMAT = "quiver-online-store"
VERSION = 1

_SIZES = ("episodes", "segments", "statistics", "rows")


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
        record, self._sha256 = read_record(path, FORMAT, VERSION, what="an online store", maker="OnlineStore.create")
        if (folder / SEGMENTS).is_symlink():
            raise DataError(f"{folder / SEGMENTS}: found a symbolic link, expected a folder; put the folder there.")
        self.manifest = from_description(record, str(path))
        """Without numbers."""
        self.journal = JournalReader(folder / JOURNAL)
        self._groups = sorted({column.group for column in self.manifest.columns})
        self._begin()

    def _begin(self) -> None:
        """As before the first line."""
        self.ids: list[str] = []
        """Of every episode ever inserted, by number."""
        self.numbers: dict[str, int] = {}
        """The reverse."""
        self._remarks: list[str] = []
        """What the caller had to say of each, as JSON."""
        self._shards: Shards = []
        """Of the first segments: those that somebody has asked for."""
        self._files = GrowableTable(
            {"rows": ("int64", ())}
            | {f"{group}.bytes": ("int64", ()) for group in self._groups}
            | {f"{group}.sha256": ("object", ()) for group in self._groups}
        )
        self._episodes = GrowableTable(
            {name: (_dtype(name), ()) for name in EPISODE_COLUMNS} | {"end": ("int64", ()), "gone": ("int64", ())}
        )
        self._statistics = SegmentStatistics([column for column in self.manifest.columns if column.kind == "tensor"])
        self._sizes = GrowableTable(dict.fromkeys(_SIZES, ("int64", ())))
        """Of the tables, by snapshot."""
        self._sizes.extend({name: [0] for name in _SIZES})
        self._interrupted = False
        """Whether an error or an interruption may have left a record applied in part."""

    @property
    def snapshot(self) -> int:
        """The newest one read."""
        return len(self._sizes) - 1

    @property
    def segments(self) -> int:
        """Ever inserted; the number of the next one."""
        return len(self._files)

    @property
    def transitions(self) -> int:
        """Ever inserted."""
        return int(self._episodes["end"][-1]) if len(self._episodes) else 0

    def restore(self) -> None:
        """Begin with the newest checkpoint that the journal begins with, where there is one; `refresh` goes on from
        there. Raises `DataError` for a journal that cannot be read."""
        for checkpoint in read_checkpoints(self.folder, self._sha256):
            path = self.folder / checkpoint_name(checkpoint.position)
            if not self.journal.begins_with(checkpoint.position):
                ignored(path, "the journal does not begin with its lines")
                continue
            try:
                self._load(checkpoint)
            except MALFORMED as error:
                self._begin()
                ignored(path, reason(error))
            else:
                self.journal.position = checkpoint.position
                return

    def checkpoint(self) -> StateCheckpoint | None:
        """All that `restore` needs; None where a record may be applied in part."""
        if self._interrupted:
            return None
        columns = {name: column for table in self._tables().items() for name, column in _prefixed(*table)}
        columns |= {"ids": _texts(self.ids), "remarks": _texts(self._remarks)}
        columns["entry_of"] = np.asarray(self._statistics.entry_of, np.int64)
        return StateCheckpoint(self.journal.position, self._sha256, columns)

    def remark(self, number: int) -> dict[str, Any]:
        """What the caller of `insert` had to say of an episode."""
        said: dict[str, Any] = json.loads(self._remarks[number])
        return said

    def refresh(self) -> int:
        """Read what is new; returns the newest snapshot. Raises `DataError` for a damaged journal."""
        for record, position in self.journal.new_records():
            if self._interrupted:
                raise DataError(f"{self.folder}: reading it was broken off before; open it again.")
            self._interrupted = True
            try:
                self._apply(record)
            except MALFORMED as error:
                raise DataError(
                    f"{self.journal.path}, line {position.snapshot}: not a record of this store ({reason(error)}); "
                    "restore the file from a copy."
                ) from error
            self.journal.position = position
            self._interrupted = False
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
        return self._segments(segment + 1)[segment]

    def at(self, snapshot: int) -> Contents:
        """The live episodes as a dataset. Raises `DataError` as `live` does."""
        episodes = self.episodes(self.live(snapshot))
        counts = {
            "transitions": int(episodes["length"].sum()),
            "episodes": len(episodes["length"]),
            "rows": self._size("rows", snapshot),
            "shards": self._size("segments", snapshot),
        }
        returns = Moments(())
        returns.add(episodes["return"])
        statistics = self._statistics.at(snapshot, self._size("statistics", snapshot))
        manifest = replace(self.manifest, statistics={**statistics, "return": returns.entry()}, counts=counts)
        return Contents(self.folder, manifest, self._segments(counts["shards"]), episodes, snapshot)

    def _segments(self, count: int) -> Shards:
        """The files of the first segments."""
        start = len(self._shards)
        if count > start:
            files = {name: column[start:count].tolist() for name, column in self._files.columns().items()}
            folder = str(self.folder / SEGMENTS)
            for place, number in enumerate(range(start, count)):
                self._shards.append(
                    {
                        group: ShardFile(
                            Path(f"{folder}/{segment_name(number, group)}"),
                            files["rows"][place],
                            files[f"{group}.bytes"][place],
                            files[f"{group}.sha256"][place],
                        )
                        for group in self._groups
                    }
                )
        return self._shards[:count]

    def _size(self, table: str, snapshot: int) -> int:
        return int(self._sizes[table][snapshot])

    def _apply(self, record: Mapping[str, Any]) -> None:
        rows = self._size("rows", -1)
        match record:
            case {"insert": insert}:
                rows += self._insert(mapping(insert, "insert"))
            case {"evict": evict}:
                self._evict(mapping(evict, "evict"))
            case _:
                raise ValueError(f"found {listed(record)}, expected insert or evict")
        sizes = (len(self._episodes), len(self._files), len(self._statistics.entries), rows)
        self._sizes.extend({name: [size] for name, size in zip(_SIZES, sizes, strict=True)})

    def _insert(self, insert: Mapping[str, Any]) -> int:
        """Returns the rows of the segment."""
        segment = len(self._files)
        if whole(insert["segment"], "segment") != segment:
            raise ValueError(f"segment {insert['segment']}, expected {segment}")
        files = segment_files(insert, segment)
        rows = {file.rows for file in files.values()}
        episodes = [mapping(episode, "episodes") for episode in listing(insert["episodes"], "episodes")]
        ids = [text(episode["id"], "id") for episode in episodes]
        if sorted(files) != self._groups or len(rows) != 1 or not episodes:
            raise ValueError(
                f"files for {listed(sorted(files))} with {sorted(rows)} rows, expected {listed(self._groups)}"
            )
        if any(name in self.numbers for name in ids) or len(set(ids)) < len(ids):
            raise ValueError("an id that was inserted before")
        table = {name: [fact(episode[name], name) for episode in episodes] for name, fact in _FACTS.items()}
        remarks = [json.dumps(mapping(episode["extra"], "extra")) for episode in episodes]
        _check_places(table["first_row"], table["length"], *rows)
        ends = self.transitions + np.cumsum(table["length"])
        self._statistics.add_segment(mapping(insert["statistics"], "statistics"))
        self._episodes.extend({**table, "shard": [segment] * len(ids), "end": ends, "gone": [NEVER] * len(ids)})
        self.numbers.update(zip(ids, range(len(self.ids), len(self.ids) + len(ids)), strict=True))
        self.ids += ids
        self._remarks += remarks
        sizes = {f"{group}.bytes": [file.bytes] for group, file in files.items()}
        hashes = {f"{group}.sha256": [file.sha256] for group, file in files.items()}
        self._files.extend({"rows": list(rows), **sizes, **hashes})
        return rows.pop()

    def _evict(self, evict: Mapping[str, Any]) -> None:
        snapshot = self.snapshot + 1
        gone = self._episodes["gone"]
        said = [whole(number, "episodes") for number in listing(evict["episodes"], "episodes")]
        numbers = np.asarray(said, np.int64)
        if (
            len(numbers) == 0
            or numbers.max() >= len(gone)
            or (gone[numbers] != NEVER).any()
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
            if (gone[start:stop] == NEVER).any()
        }
        statistics_left = mapping(evict["statistics"], "statistics")
        if statistics_left.keys() != expected.keys():
            raise ValueError(
                f"statistics: found those of segments {listed(sorted(statistics_left))}, expected "
                f"{listed(sorted(expected))}"
            )
        left = {expected[name]: mapping(entries, "statistics") for name, entries in statistics_left.items()}
        self._statistics.evict(touched.tolist(), left, snapshot)

    def _tables(self) -> dict[str, GrowableTable]:
        """What a checkpoint has all columns of."""
        return {
            "episodes": self._episodes,
            "files": self._files,
            "statistics": self._statistics.entries,
            "blocks": self._statistics.blocks,
            "sizes": self._sizes,
        }

    def _load(self, checkpoint: StateCheckpoint) -> None:
        """Fills the tables, which are empty. Raises `ValueError` for what no journal could say."""
        self._sizes = GrowableTable(dict.fromkeys(_SIZES, ("int64", ())))
        for prefix, table in self._tables().items():
            table.extend(
                {
                    name: checkpoint.array(f"{prefix}/{name}", column.dtype.name, column.shape[1:])
                    for name, column in table.columns().items()
                }
            )
        self.ids = checkpoint.array("ids", "object", ()).tolist()
        self._remarks = checkpoint.array("remarks", "object", ()).tolist()
        self.numbers = dict(zip(self.ids, range(len(self.ids)), strict=True))
        self._statistics.entry_of = checkpoint.array("entry_of", "int64", ()).tolist()
        self._statistics.check()
        episodes, sizes = self._episodes.columns(), self._sizes.columns()
        rows, gone = self._files["rows"], episodes["gone"]
        ends = [len(self._episodes), len(self._files), len(self._statistics.entries), int(rows.sum())]
        fits = (
            len(self._sizes) == checkpoint.position.snapshot + 1
            and [int(column[-1]) for column in sizes.values()] == ends
            and not any(column[0] or (np.diff(column) < 0).any() for column in sizes.values())
            and len(self.numbers) == len(self._remarks) == len(self._episodes)
            and len(self._statistics.entry_of) == len(self._files)
            and (rows > 0).all()
            and np.array_equal(episodes["end"], np.cumsum(episodes["length"]))
            and ((gone == NEVER) | ((gone > 0) & (gone <= self.snapshot))).all()
        )
        if not fits:
            raise ValueError("its tables do not fit each other")
        if (wrong := impossible(episodes, rows)) is not None:
            raise ValueError(wrong)


def _check_places(first_rows: list[Any], lengths: list[Any], rows: int) -> None:
    """Episodes lie in their segment one behind the other. Raises `ValueError`."""
    end = 0
    for first_row, length in zip(first_rows, lengths, strict=True):
        if whole(first_row, "first_row") < end or whole(length, "length") < 1 or first_row + length >= rows:
            raise ValueError(f"an episode of {length} steps from row {first_row} on, in {rows} rows")
        end = first_row + length + 1


def _prefixed(prefix: str, table: GrowableTable) -> list[tuple[str, np.ndarray]]:
    return [(f"{prefix}/{name}", column) for name, column in table.columns().items()]


def _texts(words: list[str]) -> np.ndarray:
    column = np.empty(len(words), object)
    column[:] = words
    return column


def _dtype(name: str) -> str:
    kind = EPISODE_COLUMNS[name]
    return "object" if kind == pa.string() else np.dtype(kind.to_pandas_dtype()).name


__all__ = ["FORMAT", "SEGMENTS", "VERSION", "StoreState", "is_store", "segment_name"]
