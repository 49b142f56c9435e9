"""Which part of the online store each chunk of a run may see: on record, so that it can be drawn again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster import durable
from cluster.errors import RunError
from cluster.run_record import Count
from replay.atomic import sync
from replay.ranges import fits, shown


class Snapshots:
    """`snapshots.jsonl`: a line for each chunk, in their order, with the number of journal records that it may see.

    A chunk that was recorded is drawn from the same prefix ever after: by a learner that was restarted, and by a run
    that was resumed.
    """

    def __init__(self, path: Path) -> None:
        """Opens the record, or begins it. Raises `RunError` for lines that are none, and where one is not behind that
        before it; a torn last one is cut off."""
        self._of: dict[int, int] = {}
        self._file = durable.Appended(path)
        try:
            self._read(path)
        except BaseException:
            self._file.close()
            raise
        sync(path.parent)

    def _read(self, path: Path) -> None:
        chunk, snapshot = -1, 0
        for number, record in durable.read_lines(path, ended=True):
            found: Any = (record.get("chunk"), record.get("snapshot")) if isinstance(record, dict) else record
            if not fits(found, tuple[Count, Count]) or found[0] <= chunk or found[1] < snapshot:
                raise RunError(
                    f"{path}, line {number}: found {shown(record)}, expected a chunk above {chunk} and its snapshot, "
                    f"{snapshot} or more; restore the file."
                )
            chunk, snapshot = found
            self._of[chunk] = snapshot
        self._file.truncate(self._file.end_of_lines(self._file.size()))

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
