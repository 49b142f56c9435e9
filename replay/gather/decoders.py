"""From encoded rows to arrays: one decoder for each kind of column whose rows are not stored as what they are.

Rows of tensors need none: `Addresses` reads them. A decoder gets many rows at a time, has no lock and no state, and is
called by several threads at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from replay import images
from replay.schema import Column


class Decoder(Protocol):
    """Of one kind of columns."""

    def decode(self, column: Column, rows: Sequence[bytes], where: Sequence[str], into: np.ndarray) -> None:
        """Fill `into`, (N, *shape) of the column's dtype, from N encoded rows. Raises `DataError` for the first that is
        damaged, naming its entry of `where`."""

    def version(self) -> str:
        """The library that decodes and its version, on which the values may depend. Raises `DataError` where it is not
        installed."""


class ImageDecoder:
    """PNG and JPEG, by Pillow, which lets go of Python's lock while it decodes."""

    def decode(self, column: Column, rows: Sequence[bytes], where: Sequence[str], into: np.ndarray) -> None:
        for number, (row, name) in enumerate(zip(rows, where, strict=True)):
            into[number] = images.decode(row, column.shape, name)

    def version(self) -> str:
        return images.library()


DECODERS: dict[str, Decoder] = {"image": ImageDecoder()}
"""By the kind of a column, as the schema names it."""


@dataclass(frozen=True)
class Encoded:
    """Rows of one column that a batch shows, each of them once, and the arrays of the batch that wait for them."""

    column: Column
    rows: list[bytes]
    where: list[str]
    """File and row of each, for errors."""
    arrays: tuple[np.ndarray, np.ndarray]
    """(B, *shape) or (B, T, *shape): observations and next observations."""
    places: tuple[np.ndarray, np.ndarray]
    """Which of `rows` stands at each place of `arrays`, flat."""


class DecoderThreads:
    """Decodes on some threads, one of them the caller's own where it is the only one."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """End the threads; there are new ones when rows are to be decoded again."""
        if self._pool is not None:
            self._pool.shutdown()
        self._pool = None

    def fill(self, encoded: Encoded) -> None:
        """Decode every row once, and fill the arrays that wait for it. Raises `DataError` as the decoder does, for the
        first damaged row."""
        decoded = np.empty((len(encoded.rows), *encoded.column.shape), encoded.column.dtype)
        decoder = DECODERS[encoded.column.kind]

        def decode(part: slice) -> None:
            decoder.decode(encoded.column, encoded.rows[part], encoded.where[part], decoded[part])

        share = -(-len(encoded.rows) // self._threads)
        if self._threads == 1 or share < 2:
            decode(slice(None))
        else:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, "decoder")
            parts = [slice(start, start + share) for start in range(0, len(encoded.rows), share)]
            for _ in self._pool.map(decode, parts):  # in order, so that the first damaged row is named
                pass
        for array, place in zip(encoded.arrays, encoded.places, strict=True):
            # Every place is inside; `clip` spares the copy that NumPy makes to be able to raise.
            np.take(decoded, place, axis=0, out=array.reshape(len(place), *encoded.column.shape), mode="clip")
