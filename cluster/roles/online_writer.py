"""OnlineWriter: the one writer of a run's online store. What it has answered for is on the disk."""

from __future__ import annotations

import time
from pathlib import Path

from cluster.roles.fresh_episode import FreshEpisode
from replay.locks import LockedError
from replay.online.store import Eviction, Inserted, OnlineStore

ENDING = 30.0
"""Seconds that the writer of a driver which was killed is given to end."""
PAUSE = 0.1


class OnlineWriter:
    """Inserting is idempotent, so that a call which may or may not have run is simply made again."""

    def __init__(self, folder: str, eviction: Eviction | None) -> None:
        self._store = _opened(Path(folder))
        self._eviction = eviction

    def ready(self) -> None:
        """Answers once it is made: what could not be made is known before a run begins."""

    def insert(self, episodes: list[FreshEpisode], runner: int) -> Inserted:
        """Durable when it returns. Episodes that were inserted before are dropped, by their ids.

        The store keeps with each who gathered it, `runner`, and `versions`: the gradient steps behind the weights that
        acted in it. Stores of earlier versions of Quiver say `version`, that of the last ones.
        """
        inserted = self._store.insert(
            [(fresh.id, fresh.episode) for fresh in episodes],
            [{"runner": runner, "versions": list(fresh.versions)} for fresh in episodes],
        )
        if self._eviction is not None and inserted.accepted:
            self._store.evict(self._eviction)
        return inserted

    def close(self) -> None:
        self._store.close()


def _opened(folder: Path) -> OnlineStore:
    """The store. Nobody else drives this run: whoever still writes there is left of a driver that was killed."""
    deadline = time.monotonic() + ENDING
    while True:
        try:
            return OnlineStore(folder)
        except LockedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE)
