"""Writing a dataset: episodes in, one after the other; a whole dataset folder out, or nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.parse import quote

import numpy as np

from replay.buffer import Encoded, Layout, ShardBuffer
from replay.contents import Contents, Episodes, Manifest, Shards
from replay.dataset import Dataset
from replay.episode import Episode
from replay.episode_table import EPISODE_COLUMNS
from replay.errors import DataError
from replay.manifest import write_manifest
from replay.new_folder import NewFolder, disk_error
from replay.spaces import Box, Spaces
from replay.statistics import Moments

SHARD_BYTES = 128 << 20
SHARDS_AT_LEAST = 8
_SMALLEST = 64 << 10
"""A shard below this size is not worth its file."""


class DatasetWriter:
    """Writes a dataset folder; a context manager.

        with DatasetWriter("logs/maze", spaces, provenance={"source": "…"}) as writer:
            for episode in episodes:
                writer.add(episode)

    Everything goes to a private folder beside the target, is flushed to the disk and then renamed (`NewFolder`), so
    that the target either is a whole dataset or does not exist; an exception inside the block removes
    what was written. Memory holds one shard and one episode, whatever the size of the dataset.

    `path` may be a `NewFolder` that is open: of who has to work for the episodes first, and wants the target before.

    Files are at most about `shard_bytes`, and small enough that there are eight or more where the data
    allows, because shards are what a cluster spreads: an eighth of `expected_rows` where the source
    knows its size, otherwise an eighth of what has been written so far.

    `validation_fraction` of the episodes that name no split themselves, chosen by `split_seed`, are
    marked `validation`; the others are `train`.

    Raises `DataError` for a target that exists or that somebody else is writing, for an episode that does not fit the
    spaces, for a full disk, and for a dataset without episodes.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | NewFolder,
        spaces: Spaces,
        *,
        provenance: Mapping[str, Any],
        extras: Mapping[str, Box] | None = None,
        expected_rows: int | None = None,
        validation_fraction: float = 0.05,
        split_seed: int = 0,
        shard_bytes: int = SHARD_BYTES,
        reference_scores: tuple[float, float] | None = None,
    ) -> None:
        self._folder = path if isinstance(path, NewFolder) else NewFolder(path)
        self.path = self._folder.path
        if os.path.lexists(self.path):
            raise DataError(f"{self.path}: exists already; name another folder, or remove it first.")
        if not 0.0 <= validation_fraction < 1.0:
            raise DataError(f"validation_fraction: found {validation_fraction}, expected a number in [0, 1).")
        if not 0 <= split_seed < 1 << 64:
            raise DataError(f"split_seed: found {split_seed}, expected a whole number from 0 to 2^64 - 1.")
        self._layout = Layout(spaces, extras or {})
        self._provenance = dict(provenance)
        self._validation_fraction = validation_fraction
        self._split_seed = split_seed
        self._shard_bytes = max(int(shard_bytes), 1)
        self._expected_bytes = None if expected_rows is None else expected_rows * self._layout.row_bytes
        self._reference_scores = reference_scores
        self._moments = self._layout.moments()
        self._returns = Moments(())
        self._shards: Shards = []
        self._table: dict[str, list[Any]] = {name: [] for name in EPISODE_COLUMNS}
        self._written = 0
        self._buffer: ShardBuffer | None = None
        self._open = False

    def __enter__(self) -> DatasetWriter:
        if not self._folder.is_open:
            self._folder.open()
        try:
            (self._folder.partial / "shards").mkdir()
        except OSError as error:
            self.discard()
            raise disk_error(self.path, error) from error
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._open:
            return
        if kind is None:
            self.finish()
        else:
            self.discard()

    @property
    def num_episodes(self) -> int:
        return len(self._table["length"]) + (len(self._buffer.lengths) if self._buffer else 0)

    def add(self, episode: Episode) -> None:
        """Append one episode. Raises `DataError`, naming its number and the field, for one that does not fit;
        the writer stays usable, so that a caller may skip it."""
        where = f"episode {self.num_episodes}" + (f" ({episode.source})" if episode.source else "")
        self.append(self.encode(episode, where))

    def encode(self, episode: Episode, where: str) -> Encoded:
        """What `append` takes. Raises `DataError`, naming `where` and the field, for an episode that does not fit."""
        return self._layout.encode(episode, where)

    def append(self, encoded: Encoded) -> None:
        """Append an episode that fits. Whatever is raised here, the disk refused, and the dataset is given up."""
        if not self._open:
            raise DataError(f"{self.path}: the writer is closed; use it inside a `with` block.")
        if self._buffer is not None and self._buffer.bytes + encoded.bytes > self._limit():
            self._flush()
        if self._buffer is None:
            rows = len(encoded.episode) + 1
            per_row = max(encoded.bytes / rows, 1.0)
            self._buffer = ShardBuffer(self._layout, max(rows, int(self._limit() / per_row) + 1))
        self._buffer.add(encoded)

    def finish(self) -> Dataset:
        """Write what is left and the manifest, rename the folder into place, and open it."""
        if not self._open:
            raise DataError(f"{self.path}: the writer is closed; use it inside a `with` block.")
        try:
            if self._buffer is not None:
                self._flush()
            if not self._shards:
                raise DataError(f"{self.path}: no episodes were added; nothing is written.")
            statistics = {name: moments.entry() for name, moments in self._moments.items()}
            statistics["return"] = self._returns.entry()
            manifest = Manifest(
                spaces=self._layout.spaces,
                columns=self._layout.columns,
                extras=self._layout.extras,
                statistics=statistics,
                provenance=self._provenance,
                reference_scores=self._reference_scores,
            )
            write_manifest(self._folder.partial, Contents(self.path, manifest, self._shards, self._episodes()))
            self._folder.publish()
        except OSError as error:
            raise disk_error(self.path, error) from error
        finally:
            self.discard()
        return Dataset.open(self.path)

    def _limit(self) -> int:
        known = self._written if self._expected_bytes is None else self._expected_bytes
        return min(self._shard_bytes, max(known // SHARDS_AT_LEAST, 1 if self._expected_bytes else _SMALLEST))

    def _flush(self) -> None:
        buffer = self._buffer
        assert buffer is not None
        number = len(self._shards)
        try:
            files = buffer.write(
                lambda group: self._folder.partial / "shards" / f"{number:05d}.{quote(group, safe='')}.arrow"
            )
        except OSError as error:
            self.discard()
            raise disk_error(self.path, error) from error
        self._shards.append(files)
        self._written += buffer.bytes
        buffer.measure(self._moments)
        self._returns.add(np.asarray(buffer.table["return"]))
        self._table["shard"].extend([number] * len(buffer.lengths))
        for name, entries in buffer.table.items():
            self._table[name].extend(entries)
        self._buffer = None

    def _episodes(self) -> Episodes:
        table = dict(self._table)
        free = np.array([i for i, split in enumerate(table["split"]) if split is None], np.int64)
        count = int(self._validation_fraction * len(free) + 0.5)
        # The smallest raw words win: a choice that no version of NumPy changes.
        order = np.argsort(np.random.Philox(key=self._split_seed).random_raw(len(free)), kind="stable")
        chosen = set(free[order[:count]].tolist())
        table["split"] = [
            split if split is not None else "validation" if i in chosen else "train"
            for i, split in enumerate(table["split"])
        ]
        return {name: np.asarray(column, object) for name, column in table.items()}

    def discard(self) -> None:
        """Remove what was not published."""
        self._open = False
        self._buffer = None
        self._folder.close()
