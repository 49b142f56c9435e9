"""ReplayShard: holds some shards of a view and gathers rows from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cluster.wire import Packed, pack, unpack_rows
from replay.batch import Request
from replay.store import Store
from replay.view import View


class ReplayShard:
    """Gathering is pure: a retry after a restart gives the same rows."""

    def __init__(self, view: View, shards: Sequence[int], request: Request, stage: str | None = None) -> None:
        self._request = request
        self._store = Store(view, shards=shards, stage=None if stage is None else Path(stage))

    def gather(self, rows: NDArray[np.int32]) -> Packed:
        """What the run's request asks of these rows, both ways as `wire` packs them."""
        return pack(self._store.gather(unpack_rows(rows), self._request, (0, 0)))

    def rows_served(self) -> int:
        """Since the actor was last started."""
        return self._store.rows_served
