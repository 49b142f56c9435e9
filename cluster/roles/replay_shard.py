"""ReplayShard: holds some shards of a view and gathers rows from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cluster.serialization import Packed, pack, pack_observation, unpack_rows
from replay.batch import Request
from replay.gather.store import Store
from replay.online.store import OnlineReader
from replay.view import View, extended


class ReplayShard:
    """Gathering is pure: a retry after a restart gives the same rows.

    Segments of an online store stand behind the view's shards, in the order of its journal. Whoever is asked for more
    of them than it knows reads on in the journal; every shard actor may open every segment.
    """

    def __init__(
        self,
        view: View,
        shards: Sequence[int],
        request: Request,
        stage: str | None = None,
        online: str | None = None,
        threads: int = 1,
    ) -> None:
        """`threads`: that decode the pictures of its batches."""
        self._request = request
        self._view = view
        self._store = Store(view, shards=shards, stage=None if stage is None else Path(stage), threads=threads)
        self._online = None if online is None else OnlineReader(Path(online))
        self._seen = 0

    def gather(self, rows: Packed, snapshot: int | None = None) -> Packed:
        """What the run's request asks of these rows, both ways as `serialization` packs them. They may lie in any
        segment of the online store's first `snapshot` records."""
        self._see(snapshot)
        return pack(self._store.gather(unpack_rows(rows), self._request, (0, 0)))

    def observe(self, goals: Packed, snapshot: int | None = None) -> Packed:
        """The observations of these rows, which may be those after the last action of an episode, likewise."""
        self._see(snapshot)
        return pack_observation(self._store.observe(unpack_rows(goals)))

    def _see(self, snapshot: int | None) -> None:
        """So much of the online store, at least."""
        if self._online is not None and snapshot is not None and snapshot > self._seen:
            self._seen = self._online.refresh()
            self._store.extend(extended(self._view, self._online.dataset(self._seen)))

    def fingerprint(self) -> dict[str, str]:
        """What must be equal for two shard actors to give the same batches of the same rows: what decodes their
        pictures, by `decoder.` and the kind of column; nothing where all are numbers. Raises `DataError` where it is
        not installed."""
        return {f"decoder.{kind}": library for kind, library in self._store.decoders.items()}

    def rows_served(self) -> int:
        """Since the actor was last started."""
        return self._store.rows_served
