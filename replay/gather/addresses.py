"""Reading rows by their addresses: one call per column, however many files the rows lie in.

All maps lie in one address space. Going through the shards one by one costs a NumPy call per shard
and column: 48 calls for eight shards, and every further shard makes a batch slower. So the address of
row 0 of every column in every shard is kept in a table, the address of each row asked for is computed
from it, and all rows of a column are read in one call from an array laid over the whole range of
addresses in use: its element k is the `width` bytes that start k items above the lowest address.

A wrong address would crash the process, so none is computed from an unchecked number: `locate` compares
every row with the rows its shard has open (none where it is closed) before anything is read.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from replay.rows import Rows
from replay.schema import Column


def keep_freed_memory() -> None:
    """Teach glibc to keep freed blocks for the next batch instead of giving them back to the kernel.

    It learns the size above which it gives them back from the largest block freed so far (up to 32 MB). Until
    it has seen one, each batch of 4,096 transitions costs 300 page faults, as much time as gathering
    it. The block is never touched, so that it costs nothing; other allocators do not mind.
    """
    block = np.empty(30 << 20, np.uint8)
    del block


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
        self._place = {column.name: place for place, column in enumerate(columns, 2)}
        self._dtype = {column.name: np.dtype(column.dtype) for column in columns}
        self._shape = {column.name: column.shape for column in columns}
        self._lane: dict[str, np.ndarray] = {}
        self._pairs: dict[str, np.ndarray] = {}
        self.strides = np.array([[-1], [1], *([column.items] for column in columns)], np.int64)
        """(C + 2, 1): what one row more adds to the positions that `locate` returns."""
        self._table = np.zeros((len(columns) + 2, len(rows)), np.int64)
        self._table[0] = rows - 2
        opened = np.flatnonzero(rows)
        if len(opened) == 0:
            return
        lowest = int(address[:, opened].min()) & ~63
        widths = np.array([[column.width] for column in columns], np.int64)
        end = int((address + widths * rows)[:, opened].max())
        for place, column in enumerate(columns):
            item = self._dtype[column.name].itemsize
            # Exact: every column starts at a multiple of its item size (`map_shard` refuses others).
            self._table[place + 2] = (address[place] - lowest) // item

            def lane(width: int, dtype: str, item: int = item) -> np.ndarray:
                return np.asarray(_Range(lowest, max((end - lowest - width) // item + 1, 0), dtype, item))

            name, width = column.name, column.width
            self._lane[name] = lane(width, column.dtype if column.items == 1 else f"V{width}")
            self._pairs[name] = lane(2 * width, f"V{2 * width}")

    def locate(self, rows: Rows, span: np.ndarray | None = None, before: np.ndarray | None = None) -> np.ndarray | None:
        """int64 (C + 2, B): the position of each row in each column, or None if a row, the row `span` rows on
        (None: one), or the row `before` rows before it (None: none) is outside of what is open. Two lines come first:
        how many more rows than the next one the shard has, and the row."""
        at = self._table.take(rows.shard, 1)
        at += self.strides * rows.row
        if before is not None and (before.min(initial=0) < 0 or (at[1] - before).min(initial=0) < 0):
            return None
        if span is None:
            inside = np.minimum.reduce(at[:2], axis=None, initial=0) >= 0
        else:
            inside = np.minimum.reduce(at[0] - span, initial=0) >= -1 and np.minimum.reduce(at[1], initial=0) >= 0
            inside = inside and np.minimum.reduce(span, initial=1) >= 1
        return at if inside else None

    def read(self, name: str, at: np.ndarray, offsets: np.ndarray | None = None) -> np.ndarray:
        """The rows of a column at positions from `locate`, or `offsets` rows on: (B,) or (B, T).

        A contiguous copy, (B, *shape) or (B, T, *shape).
        """
        place = self._place[name]
        position = at[place]
        if offsets is not None:
            step = self.strides[place, 0]
            position = (position[:, None] if offsets.ndim == 2 else position) + step * offsets
        return self._at(name, position)

    def read_from(self, name: str, at: np.ndarray, start: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """For (N,) pairs: the rows `offsets` rows on from the positions of row number `start` of the gather."""
        place = self._place[name]
        return self._at(name, at[place][start] + self.strides[place, 0] * offsets)

    def read_with_next(self, name: str, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows at these positions and the rows after them, (B, *shape) each.

        Neighbours in memory are fetched as one, a third less time: the two are views of one (B, 2, *shape) array.
        """
        pairs = self._pairs[name][at[self._place[name]]]
        both = pairs.view(self._dtype[name]).reshape(len(pairs), 2, *self._shape[name])
        return both[:, 0], both[:, 1]

    def read_flags(self, at: np.ndarray) -> np.ndarray:
        """uint8 (2, B): terminated and truncated, which follow each other among the columns."""
        place = self._place["terminated"]
        return self._lane["terminated"].take(at[place : place + 2])

    def _at(self, name: str, position: np.ndarray) -> np.ndarray:
        lane = self._lane[name]
        shape = self._shape[name]
        if lane.dtype.kind != "V":
            values = lane.take(position)
            return values.reshape(*position.shape, *shape) if shape else values
        # Fancy indexing, since `take` would first copy the overlapping range.
        return lane[position].view(self._dtype[name]).reshape(*position.shape, *shape)
