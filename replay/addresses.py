"""Taking rows by their addresses: one call per column, however many files the rows lie in.

All maps lie in one address space. Going through the shards one by one costs a NumPy call per shard
and column: 48 calls for eight shards, and every further shard makes a batch slower. So the address of
row 0 of every column in every shard is kept in a table, the address of each row asked for is computed
from it, and all rows of a column are taken in one call from an array laid over the whole range of
addresses in use: its element k is the `width` bytes that start k items above the lowest address.

A wrong address would end the process, so none is computed from an unchecked number: `locate` compares
every row with the rows its shard has open (none where it is closed) before anything is read.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from replay.schema import Column
from replay.view import Rows

Offsets = int | np.ndarray | None


class _Range:
    """Bytes at an address, as NumPy asks for them."""

    def __init__(self, address: int, count: int, dtype: str, stride: int) -> None:
        self.__array_interface__ = {
            "version": 3,
            "typestr": np.dtype(dtype).str,
            "shape": (count,),
            "strides": (stride,),
            "data": (address, True),  # read-only
        }


class Addresses:
    """Where some columns of some shards lie. It borrows the memory: whoever makes it keeps the maps open."""

    def __init__(self, columns: Sequence[Column], address: np.ndarray, rows: np.ndarray) -> None:
        """`address`: int64 (C, S), of row 0 of each column in each shard. `rows`: int64 (S,), of each shard
        that has all these columns open; 0 for the others, whose addresses are ignored."""
        self._place = {column.name: place for place, column in enumerate(columns, 1)}
        self._dtype = {column.name: np.dtype(column.dtype) for column in columns}
        self._shape = {column.name: column.shape for column in columns}
        self._lane: dict[str, np.ndarray] = {}
        steps = [column.items for column in columns]
        self.strides = np.array([[-1], *([step] for step in steps)], np.int64)
        """(C + 1, 1): what one row more adds to the positions that `locate` returns."""
        self._table = np.zeros((len(columns) + 1, len(rows)), np.int64)
        self._table[0] = rows
        opened = np.flatnonzero(rows)
        if len(opened) == 0:
            return
        lowest = int(address[:, opened].min()) & ~63
        for place, column in enumerate(columns):
            item = self._dtype[column.name].itemsize
            # Exact: every column starts at a multiple of its item size (`map_shard` refuses others).
            self._table[place + 1] = (address[place] - lowest) // item
            end = int((address[place] + rows * column.width)[opened].max())
            count = (end - lowest - column.width) // item + 1
            dtype = column.dtype if column.items == 1 else f"V{column.width}"
            self._lane[column.name] = np.asarray(_Range(lowest, count, dtype, item))

    def locate(self, rows: Rows, span: np.ndarray | int) -> np.ndarray | None:
        """int64 (C + 1, B): the position of each row in each column, or None if any of the rows from it to `span`
        rows on is outside of what is open. The first line counts the rows from this one to its shard's end."""
        at = self._table.take(rows.shard, 1)
        at += self.strides * rows.row
        enough = np.minimum.reduce(at[0] - span, initial=1) >= 1
        return at if enough and np.minimum.reduce(rows.row, initial=0) >= 0 else None

    def take(self, name: str, at: np.ndarray, offsets: Offsets = None) -> np.ndarray:
        """The rows of a column at positions from `locate`, or `offsets` rows on: an integer, (B,) or (B, T).

        A contiguous copy, (B, *shape) or (B, T, *shape).
        """
        place = self._place[name]
        position = at[place]
        if offsets is not None:
            step = self.strides[place, 0]
            if isinstance(offsets, np.ndarray) and offsets.ndim == 2:
                position = position[:, None] + step * offsets
            else:
                position = position + step * offsets
        return self._read(name, position)

    def along(self, name: str, at: np.ndarray, start: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """For (N,) pairs: the rows `offsets` rows on from the positions of row number `start` of the gather."""
        place = self._place[name]
        return self._read(name, at[place][start] + self.strides[place, 0] * offsets)

    def _read(self, name: str, position: np.ndarray) -> np.ndarray:
        lane = self._lane[name]
        shape = self._shape[name]
        if lane.dtype.kind != "V":
            values = lane.take(position)
            return values.reshape(*position.shape, *shape) if shape else values
        # Fancy indexing, since `take` would first copy the overlapping range.
        return lane[position].view(self._dtype[name]).reshape(*position.shape, *shape)
