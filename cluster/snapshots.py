"""Which part of the online store each chunk of a run may see: on record, so that it can be drawn again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster import durable
from cluster.errors import RunError
from cluster.run_record import Count
from replay.durable import sync
from replay.ranges import fits, shown


def read_snapshots(path: Path) -> dict[int, int]:
    """Snapshots by their chunks. Raises `RunError`, naming the line, unless each is of the chunk behind that of the
    line before it, and sees no less."""
    found: dict[int, int] = {}
    snapshot = 0
    for number, record in durable.read_lines(path, ended=True):
        pair: Any = (record.get("chunk"), record.get("snapshot")) if isinstance(record, dict) else record
        if not fits(pair, tuple[Count, Count]) or pair[0] != len(found) or pair[1] < snapshot:
            raise RunError(
                f"{path}, line {number}: found {shown(record)}, expected chunk {len(found)} and its snapshot, "
                f"{snapshot} or more; restore the file."
            )
        found[len(found)] = snapshot = pair[1]
    return found


def check_snapshots(path: Path, done: int, records: int) -> None:
    """Raises `RunError` where a run cannot go on behind `done` chunks: their snapshots are not all on record, or one
    sees more than the `records` that the journal of the online store has."""
    try:
        found = read_snapshots(path)
    except FileNotFoundError:
        found = {}
    if len(found) < done:
        raise RunError(
            f"{path}: has {len(found):,} snapshots, and the checkpoint that the run goes on from was written after "
            f"{done:,} chunks; restore the file from a copy, or go on from an earlier checkpoint with --resume-from."
        )
    if found and found[len(found) - 1] > records:
        raise RunError(
            f"{path}: chunk {len(found) - 1} sees {found[len(found) - 1]:,} records of the online store, whose journal "
            f"has {records:,}; restore the store, or this file, from a copy."
        )


class Snapshots:
    """`snapshots.jsonl`: a line for each chunk, in their order, with the number of journal records that it may see.

    A chunk that was recorded is drawn from the same prefix ever after: by a learner that was restarted, and by a run
    that was resumed.
    """

    def __init__(self, path: Path) -> None:
        """Opens the record, or begins it. Raises `RunError` as `read_snapshots` does; a torn last line is cut off."""
        self._file = durable.Appended(path)
        try:
            self._of = read_snapshots(path)
            self._file.truncate(self._file.end_of_lines(self._file.size()))
        except BaseException:
            self._file.close()
            raise
        sync(path.parent)

    def record(self, chunk: int, snapshot: int) -> None:
        """Raises `RunError` where there is no room."""
        self._file.append(json.dumps({"chunk": chunk, "snapshot": snapshot}).encode() + b"\n")
        self._of[chunk] = snapshot

    def sync(self) -> None:
        """Through to the disk: before a checkpoint that rests on them."""
        self._file.sync()

    def close(self) -> None:
        self._file.close()

    def __contains__(self, chunk: int) -> bool:
        return chunk in self._of

    def __getitem__(self, chunk: int) -> int:
        return self._of[chunk]

    def __iter__(self) -> Iterator[int]:
        return iter(self._of)
