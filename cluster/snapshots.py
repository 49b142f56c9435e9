"""Which part of the online store each chunk of a run may see: on record, so that it can be drawn again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from cluster import durable
from cluster.errors import RunError
from replay.atomic import sync


class Snapshots:
    """`snapshots.jsonl`: a line for each chunk, in their order, with the number of journal records that it may see.

    A chunk that was recorded is drawn from the same prefix ever after: by a learner that was restarted, and by a run
    that was resumed.
    """

    def __init__(self, path: Path) -> None:
        """Opens the record, or begins it. Raises `RunError` for lines that are none; a torn last one is cut off."""
        self._path = path
        self._of: dict[int, int] = {}
        self._file = durable.open_to_append(path)
        text = durable.read_bytes(path)
        whole = text[: text.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                record = json.loads(line)
                self._of[int(record["chunk"])] = int(record["snapshot"])
            except (ValueError, KeyError, TypeError) as error:
                raise RunError(f"{path}, line {number}: {line!r} is no snapshot ({error}); restore the file.") from None
        self._file.truncate(len(whole))
        sync(path.parent)

    def record(self, chunk: int, snapshot: int) -> None:
        self._of[chunk] = snapshot
        self._file.write(json.dumps({"chunk": chunk, "snapshot": snapshot}).encode() + b"\n")
        self._file.flush()

    def sync(self) -> None:
        """Through to the disk: before a checkpoint that rests on them."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def __contains__(self, chunk: int) -> bool:
        return chunk in self._of

    def __getitem__(self, chunk: int) -> int:
        return self._of[chunk]

    def __iter__(self) -> Iterator[int]:
        return iter(self._of)
