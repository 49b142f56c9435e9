"""The two observations of each row: numbers are read where they lie, pictures are copied as they are and decoded later.

A batch is made under the store's lock, its arrays of pictures still empty; what `Encoded` holds fills them once the
lock is free.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from replay.gather.addresses import Addresses
from replay.gather.decoders import Encoded
from replay.gather.open_shards import OpenShards
from replay.rows import Rows
from replay.spaces import Dict, observation_columns


class Observations:
    """Reads the observations of a view's rows, whatever their space is."""

    def __init__(self, shards: OpenShards) -> None:
        self._shards = shards
        space = shards.view.spaces.observation
        self.names = tuple(observation_columns(space))
        """Of their columns."""
        self._encoded = frozenset(name for name in self.names if shards.columns[name].kind != "tensor")
        self._nested = isinstance(space, Dict)
        self._simple = not self._nested and not self._encoded

    @property
    def encoded_kinds(self) -> tuple[str, ...]:
        """The kinds of columns that must be decoded."""
        return tuple(sorted({self._shards.columns[name].kind for name in self._encoded}))

    def read(
        self,
        addresses: Addresses,
        at: np.ndarray,
        rows: Rows,
        now: np.ndarray | None,
        later: np.ndarray | None,
    ) -> tuple[Any, Any, Sequence[Encoded]]:
        """Observations and next observations, and what must be decoded before they are whole.

        `now` and `later` say how many rows on each of them lies: (B,), or (B, T) for T of them, or both None for the
        row itself and the next one. `at` is where `Addresses.locate` found the rows.
        """
        if self._simple and later is None:
            return *addresses.read_with_next("observation", at), ()
        first: dict[str, np.ndarray] = {}
        second: dict[str, np.ndarray] = {}
        copied: list[Encoded] = []
        for name in self.names:
            if name in self._encoded:
                encoded = self._copied(name, rows, now, later)
                first[name], second[name] = encoded.arrays
                copied.append(encoded)
            elif later is None:
                first[name], second[name] = addresses.read_with_next(name, at)
            else:
                first[name], second[name] = addresses.read(name, at, now), addresses.read(name, at, later)
        return self._as_space(first), self._as_space(second), copied

    def read_successive(
        self, addresses: Addresses, at: np.ndarray, rows: Rows, steps: np.ndarray
    ) -> tuple[Any, Any, Sequence[Encoded]]:
        """The same of windows, (B, T, ...) each: all but the last of the observations `steps` rows on, (B, T + 1), and
        all but the first."""
        first: dict[str, np.ndarray] = {}
        second: dict[str, np.ndarray] = {}
        copied: list[Encoded] = []
        for name in self.names:
            if name in self._encoded:
                encoded = self._copied(name, rows, steps[:, :-1], steps[:, 1:])
                first[name], second[name] = encoded.arrays
                copied.append(encoded)
            else:
                both = addresses.read(name, at, steps)
                first[name], second[name] = np.ascontiguousarray(both[:, :-1]), np.ascontiguousarray(both[:, 1:])
        return self._as_space(first), self._as_space(second), copied

    def _copied(self, name: str, rows: Rows, now: np.ndarray | None, later: np.ndarray | None) -> Encoded:
        """Each distinct row of a column once, its bytes copied: its file may be closed before they are decoded."""
        now = np.zeros(len(rows), np.int64) if now is None else now
        later = np.ones(len(rows), np.int64) if later is None else later
        most = int(self._shards.rows.max(initial=1))
        keys = [_beside(rows.row + rows.shard * most, offsets).ravel() for offsets in (now, later)]
        distinct, place = np.unique(np.concatenate(keys), return_inverse=True)
        column = self._shards.columns[name]
        files = self._shards.view.files
        values, where = [], []
        for number, row in zip(*(part.tolist() for part in np.divmod(distinct, most)), strict=True):
            where.append(f"{files[number][self._shards.group(number, name)].path}, row {row}")
            values.append(bytes(self._shards.mapped(number, name).blobs[name].row(row)))
        arrays = tuple(np.empty((*offsets.shape, *column.shape), column.dtype) for offsets in (now, later))
        cut = now.size
        return Encoded(column, values, where, (arrays[0], arrays[1]), (place[:cut], place[cut:]))

    def _as_space(self, parts: dict[str, np.ndarray]) -> Any:
        if not self._nested:
            return parts["observation"]
        return {name.removeprefix("observation."): part for name, part in parts.items()}


def _beside(start: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """(B,) and (B,) or (B, T): the sum, of the second's shape."""
    return (start[:, None] if offsets.ndim == 2 else start) + offsets
