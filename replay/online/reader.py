"""Reading an online store while it grows, from any process that sees its folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from replay.dataset import Dataset
from replay.online.store_state import StoreState
from replay.spaces import Spaces


class OnlineReader:
    """Follows a store through its journal; where nothing is new, that costs a look at the file's size.

    Whatever is said of a snapshot is the same whenever it is asked, in every process. Raises `DataError` for a folder
    that is no store, and for a damaged journal.
    """

    def __init__(self, path: str | os.PathLike[str], *, from_journal: bool = False) -> None:
        """`from_journal`: read every line of the journal, and no checkpoint of what the first ones say. That takes
        longer, and is for a store that is known by the hash of its journal, which says nothing of checkpoints."""
        self.path = Path(path).absolute()
        self._state = StoreState(self.path)
        if not from_journal:
            self._state.restore()
        self._dataset: Dataset | None = None
        self.refresh()

    @property
    def spaces(self) -> Spaces:
        return self._state.manifest.spaces

    @property
    def provenance(self) -> dict[str, Any]:
        return self._state.manifest.provenance

    @property
    def snapshot(self) -> int:
        """The newest one read."""
        return self._state.snapshot

    @property
    def episodes(self) -> int:
        """Ever inserted, evicted ones included: the number of the next one."""
        return len(self._state.ids)

    @property
    def transitions(self) -> int:
        """Ever inserted, evicted ones included."""
        return self._state.transitions

    @property
    def ids(self) -> tuple[str, ...]:
        """Of all episodes ever inserted, by number."""
        return tuple(self._state.ids)

    @property
    def empty(self) -> bool:
        """Whether the newest snapshot has no episode to sample: none was inserted, or all were evicted."""
        return len(self.live()) == 0

    def refresh(self) -> int:
        """Read what is new in the journal; returns the newest snapshot."""
        return self._state.refresh()

    def live(self, snapshot: int | None = None) -> np.ndarray:
        """int64 (N,): the permanent numbers of the episodes of `dataset(snapshot)`, in the same order.

        Raises `DataError` for a snapshot that was not read yet.
        """
        return self._state.live(self.snapshot if snapshot is None else snapshot)

    def dataset(self, snapshot: int | None = None) -> Dataset:
        """The episodes that were inserted and not evicted up to a snapshot (None: the newest), perhaps none.

        Its shards are all segments up to then, by number, whether any of their episodes are left or not. Files are
        checked when they are first mapped. Raises `DataError` for a snapshot that was not read yet.
        """
        wanted = self.snapshot if snapshot is None else snapshot
        if self._dataset is None or self._dataset.snapshot != wanted:
            self._dataset = Dataset(self._state.at(wanted))
        return self._dataset

    def rows_since(self, number: int) -> list[Mapping[str, Any]]:
        """What the journal says of the episodes from `number` on, in their order, evicted or not: number, id, length,
        return, success, task, source and split, and whatever the caller of `insert` added."""
        numbers = np.arange(number, self.episodes)
        names = ("length", "return", "success", "task", "source", "split", "terminated", "truncated")
        table = self._state.episodes(numbers)
        columns = [table[name].tolist() for name in names]
        return [
            {
                **self._state.remark(number),
                "episode": number,
                "id": self._state.ids[number],
                **dict(zip(names, values, strict=True)),
            }
            for number, *values in zip(numbers.tolist(), *columns, strict=True)
        ]
