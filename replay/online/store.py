"""The durable online store: a dataset that grows by fresh episodes, with one writer and any number of readers.

    store.json               spaces, columns, provenance; written once
    segments/000012.core.arrow   one file for each column group of each insert, in the form of a shard
    journal.jsonl            one line for each insert and each eviction: the commit point
    state-….checkpoint       what the journal's first lines say, to be opened quickly; nothing rests on it
    writer.lock              locked by the writer that lives

An insert writes its segment under temporary names, flushes and renames it, and then appends its line to the journal.
With the line an episode is there, without it it is not: whatever is killed when, readers see whole episodes, each
once. A snapshot is a number of lines, and never changes what it means.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from replay import statistics
from replay.buffer import Encoded, Layout, ShardBuffer
from replay.contents import Manifest
from replay.durable import private_name, remove_private, sync
from replay.episode import Episode
from replay.errors import DataError
from replay.locks import Lock, LockedError
from replay.manifest import describe, write_json
from replay.new_folder import NewFolder, disk_error
from replay.online.eviction import Eviction, evicted
from replay.online.journal import JOURNAL, STORE, JournalWriter
from replay.online.reader import OnlineReader
from replay.online.state_checkpoint import NAMES, remove_older, write_checkpoint
from replay.online.store_state import FORMAT, SEGMENTS, VERSION, StoreState, segment_name
from replay.shard import ShardFile
from replay.spaces import Box, Spaces

logger = logging.getLogger(__name__)

CHECKPOINT_EVERY = 500
"""Records from one checkpoint of the state to the next, in a store of up to `_SHARE` times as many; whoever opens the
store parses those behind the newest, a quarter of a millisecond each."""
_SHARE = 40
"""In a larger one, this part of its records: so each insert has the same share in the cost of writing checkpoints."""
_LOCK = "writer.lock"
_SEGMENT_FILE = re.compile(r"\.(?P<temporary>\d+\..+\.arrow(\.[0-9a-f]+)?\.partial)|(?P<number>\d+)\..+\.arrow")
"""A file of `segments/`, whole or in the making."""


@dataclass(frozen=True)
class Inserted:
    """What an insert did; what it accepted is on the disk."""

    snapshot: int
    """The newest one."""
    accepted: tuple[str, ...]
    """Ids, in the order of their numbers."""
    duplicates: tuple[str, ...]
    """Ids that were inserted before, or earlier in the same call."""
    transitions: int
    """Of the accepted."""


class OnlineStore:
    """The one writer of a store.

        with OnlineStore.create("runs/maze/online", spaces, provenance={"env_spec": …}) as store:
            store.insert([("runner-3-episode-17", episode)], {"versions": [4000]})
            store.evict(Eviction(max_transitions=1_000_000))

    Opening takes the lock, which ends with the process, and removes what a killed writer had not committed. A failed
    call leaves the store as it was, and usable. Not for several threads at once.

    Raises `DataError` for a folder that is no store or is damaged, and where another writer lives.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self._state = StoreState(self.path)
        self._layout = Layout(self._state.manifest.spaces, self._state.manifest.extras)
        self._lock: Lock | None = _locked(self.path)
        try:
            self._state.restore()
            self._checkpointed = self._state.snapshot
            """The snapshot of the newest checkpoint."""
            self._state.refresh()
            self._journal = JournalWriter(self._state.journal)
            self._journal.cut()
            self._remove_uncommitted()
            remove_private(self.path, NAMES)
            remove_older(self.path)
        except BaseException as error:
            self._lock.release()
            if isinstance(error, OSError):
                raise disk_error(self.path, error) from error
            raise

    @staticmethod
    def create(
        path: str | os.PathLike[str],
        spaces: Spaces,
        *,
        provenance: Mapping[str, Any],
        extras: Mapping[str, Box] | None = None,
        reference_scores: tuple[float, float] | None = None,
    ) -> OnlineStore:
        """A new store, empty. Raises `DataError` for a folder that exists, and for columns that cannot be stored."""
        home = Path(path).absolute()
        if os.path.lexists(home):
            raise DataError(f"{home}: exists already; open it with OnlineStore(path), or name another folder.")
        layout = Layout(spaces, extras or {})
        manifest = Manifest(layout.spaces, layout.columns, layout.extras, {}, dict(provenance), reference_scores)
        with NewFolder(home) as new:
            try:
                (new.partial / SEGMENTS).mkdir()
                (new.partial / JOURNAL).touch()
                write_json(new.partial / STORE, {"format": FORMAT, "version": VERSION, **describe(manifest)})
            except OSError as error:
                raise disk_error(home, error) from error
            new.publish()
        return OnlineStore(home)

    def __enter__(self) -> OnlineStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def snapshot(self) -> int:
        """Records so far."""
        return self._state.snapshot

    def insert(
        self,
        episodes: Sequence[tuple[str, Episode]],
        extra: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    ) -> Inserted:
        """Add (id, episode) pairs, as one segment; they are on the disk when this returns.

        An id that was ever inserted, evicted or not, is dropped, so that a caller who does not know whether an insert
        happened repeats it. `extra` is a small JSON object that is kept with each of the episodes, or one for each of
        them, such as the versions of the policy that acted. Raises `DataError` for an episode that does not fit (none
        of the call is inserted then), and for a full disk.
        """
        self._settle()
        remarks = _remarks(extra, len(episodes))
        kept: dict[str, Mapping[str, Any]] = {}
        fresh: dict[str, Encoded] = {}
        duplicates = []
        for (name, episode), remark in zip(episodes, remarks, strict=True):
            if not isinstance(name, str) or not name:
                raise DataError(f"{self.path}: found id {name!r}, expected a word that is the episode's own.")
            if name in fresh or name in self._state.numbers:
                duplicates.append(name)
            else:
                fresh[name] = self._layout.encode(episode, f"episode {name!r}")
                kept[name] = remark
        if fresh:
            self._commit_segment(fresh, kept)
        transitions = sum(len(encoded.episode) for encoded in fresh.values())
        self._write_checkpoint(max(CHECKPOINT_EVERY, self.snapshot // _SHARE))
        return Inserted(self.snapshot, tuple(fresh), tuple(duplicates), transitions)

    def evict(self, rule: Eviction) -> tuple[int, ...]:
        """Put the episodes that the rule names out of sampling; returns their numbers. Their rows stay on the disk.

        Durable when it returns; without such episodes nothing is recorded. Raises `DataError` as `insert` does.
        """
        self._settle()
        live = self._state.live(self.snapshot)
        table = {**self._state.episodes(live), "episode": live, "age": self._state.ages(live)}
        numbers = evicted(table, rule)
        if len(numbers) == 0:
            return ()
        left = np.isin(live, numbers, invert=True)
        touched = np.unique(table["shard"][~left])
        statistics_left = {
            str(segment): self._measure(segment, {name: column[left] for name, column in table.items()})
            for segment in np.intersect1d(touched, table["shard"][left]).tolist()
        }
        record = {"episodes": numbers.tolist(), "reason": rule.to_json(), "statistics": statistics_left}
        try:
            self._commit({"evict": record})
        except OSError as error:
            raise disk_error(self.path, error) from error
        self._write_checkpoint(max(CHECKPOINT_EVERY, self.snapshot // _SHARE))
        return tuple(numbers.tolist())

    def close(self) -> None:
        """Let another writer in."""
        if self._lock is not None:
            try:
                self._write_checkpoint(CHECKPOINT_EVERY // 10)
            finally:
                self._journal.close()
                self._lock.release()
                self._lock = None

    def _write_checkpoint(self, records: int) -> None:
        """Write a checkpoint of the state where the newest is so many records old. None is needed: where the disk
        refuses, what was inserted is as durable without."""
        if self.snapshot - self._checkpointed < max(records, 1) or self._journal.unsure:
            return
        checkpoint = self._state.checkpoint()
        if checkpoint is None:
            return
        self._checkpointed = self.snapshot
        try:
            write_checkpoint(self.path, checkpoint)
        except OSError as error:
            logger.warning("%s: no checkpoint of its state could be written (%s).", self.path, error.strerror or error)

    def _settle(self) -> None:
        """Know what is committed: an interrupted call may have left a record that was not read, or a part of one."""
        if self._lock is None:
            raise DataError(f"{self.path}: the store is closed; open it again.")
        try:
            if self._journal.unsure:
                self._journal.cut()
        except OSError as error:
            raise disk_error(self.path, error) from error
        self._state.refresh()

    def _commit_segment(self, fresh: Mapping[str, Encoded], remarks: Mapping[str, Mapping[str, Any]]) -> None:
        buffer = ShardBuffer(self._layout, sum(len(encoded.episode) + 1 for encoded in fresh.values()))
        for encoded in fresh.values():
            buffer.add(encoded)
        moments = self._layout.moments()
        buffer.measure(moments)
        table = {**buffer.table, "split": [split or "train" for split in buffer.table["split"]]}
        number = self._state.segments
        try:
            files = self._write(buffer, number)
            record = {
                "segment": number,
                "files": {
                    group: {"file": file.path.name, "rows": file.rows, "bytes": file.bytes, "sha256": file.sha256}
                    for group, file in files.items()
                },
                "episodes": [
                    {"id": name, **{column: table[column][place] for column in table}, "extra": remarks[name]}
                    for place, name in enumerate(fresh)
                ],
                "statistics": statistics.to_json({name: entry.entry() for name, entry in moments.items()}),
            }
            self._commit({"insert": record})
        except BaseException as error:
            with contextlib.suppress(OSError, DataError):
                self._settle()
                self._remove_uncommitted()
            if isinstance(error, OSError):
                raise disk_error(self.path, error) from error
            if isinstance(error, ValueError) and not isinstance(error, DataError):
                raise DataError(
                    f"{self.path}: numbers too large for statistics ({error}); scale the columns, or store float32."
                ) from error
            raise

    def _write(self, buffer: ShardBuffer, number: int) -> dict[str, ShardFile]:
        folder = self.path / SEGMENTS
        files = {}
        written = buffer.write(lambda group: private_name(folder / segment_name(number, group)))
        for group, file in written.items():
            path = folder / segment_name(number, group)
            file.path.replace(path)
            files[group] = ShardFile(path, file.rows, file.bytes, file.sha256)
        sync(folder)
        return files

    def _commit(self, record: dict[str, Any]) -> None:
        self._journal.append(record)
        self._state.refresh()

    def _measure(self, segment: int, table: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
        """Statistics of the episodes that an eviction leaves of a segment."""
        mine = table["shard"] == segment
        left = {"shard": np.zeros(mine.sum(), np.int64), **{n: table[n][mine] for n in ("first_row", "length")}}
        return statistics.to_json(statistics.measure(self._layout.columns, [self._state.files(segment)], left))

    def _remove_uncommitted(self) -> None:
        """Files of a segment whose line was never written, and those under temporary names; no other, and none of
        another folder that a link leads to."""
        folder = self.path / SEGMENTS
        if folder.is_symlink():
            raise DataError(f"{folder}: is a link, expected a folder. Copy the whole store, then open the copy.")
        for path in folder.iterdir():
            found = _SEGMENT_FILE.fullmatch(path.name)
            if found and (found["temporary"] or int(found["number"]) >= self._state.segments):
                path.unlink()


def _remarks(extra: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None, count: int) -> list[dict[str, Any]]:
    """One for each episode."""
    if extra is None or isinstance(extra, Mapping):
        return [_remark(extra)] * count
    if len(extra) != count:
        raise DataError(f"extra: found {len(extra)} for {count} episodes, expected one for all, or one for each.")
    return [_remark(one) for one in extra]


def _remark(extra: Mapping[str, Any] | None) -> dict[str, Any]:
    remark = dict(extra or {})
    try:
        json.dumps(remark, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DataError(f"extra: found {remark!r} ({error}), expected what JSON can hold; convert it.") from error
    return remark


def _locked(folder: Path) -> Lock:
    """The store's lock, which ends with the process, however that ends. Its file stays."""
    try:
        return Lock(folder / _LOCK, str(folder))
    except LockedError as error:
        holder = (folder / _LOCK).read_text(errors="replace").strip() or "another process"
        raise LockedError(
            f"{folder}: {holder} is writing to it already; a store has one writer. Stop that one, or read with "
            "OnlineReader."
        ) from error
    except OSError as error:
        raise disk_error(folder / _LOCK, error) from error


__all__ = ["Eviction", "Inserted", "OnlineReader", "OnlineStore"]
