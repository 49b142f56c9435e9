"""ReplayShard: holds some shards of a view and gathers rows from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from replay.batch import Batch, Request
from replay.store import Store
from replay.view import Rows, View


class ReplayShard:
    """Gathering is pure: a retry after a restart gives the same rows."""

    def __init__(self, view: View, shards: Sequence[int], stage: str | None = None) -> None:
        self._store = Store(view, shards=shards, stage=None if stage is None else Path(stage))

    def gather(self, rows: Rows, request: Request, key: tuple[int, int]) -> Batch[Any]:
        return self._store.gather(rows, request, key)

    def rows_served(self) -> int:
        """Since the actor was last started."""
        return self._store.rows_served
