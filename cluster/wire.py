"""What travels between a shard actor and whoever asked it for rows: one array each way.

Ray spends tens of microseconds on every object and buffer of a message, as long as gathering a small batch takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.batch import Batch
from replay.view import Rows

Packed = tuple[tuple[tuple[str, str | None, str, tuple[int, ...]], ...], NDArray[np.uint8]]
"""(layout, bytes): for each array its field, its key (of a dictionary), dtype and shape, one after the other."""

_ALIGNMENT = 8
"""Of each array in the bytes; the largest element there is."""


def pack(batch: Batch[Any]) -> Packed:
    """All arrays of a batch as one; its key is not sent, since a chunk has one for each draw."""
    layout = []
    arrays: list[NDArray[Any]] = []
    for entry in fields(batch):
        value = getattr(batch, entry.name)
        if entry.name == "key" or value is None:
            continue
        for key, array in value.items() if isinstance(value, Mapping) else ((None, value),):
            layout.append((entry.name, key, array.dtype.str, array.shape))
            arrays.append(array)
    packed = np.empty(sum(_padded(array.nbytes) for array in arrays), np.uint8)
    offset = 0
    for array in arrays:
        packed[offset : offset + array.nbytes].view(array.dtype).reshape(array.shape)[...] = array
        offset += _padded(array.nbytes)
    return tuple(layout), packed


def unpack(message: Packed) -> Batch[NDArray[Any]]:
    """The batch again, its arrays views of the bytes."""
    layout, packed = message
    found: dict[str, Any] = {}
    offset = 0
    for name, key, dtype, shape in layout:
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        array = packed[offset : offset + size].view(dtype).reshape(shape)
        offset += _padded(size)
        if key is None:
            found[name] = array
        else:
            found.setdefault(name, {})[key] = array
    return Batch(**found)


def pack_rows(rows: Rows) -> NDArray[np.int64]:
    """(4, B), or (5, B) with the bits of the importance weights."""
    parts = [rows.index, rows.shard, rows.row, rows.remaining]
    if rows.weight is not None:
        parts.append(rows.weight.astype(np.float64).view(np.int64))
    return np.stack(parts)


def unpack_rows(packed: NDArray[np.int64]) -> Rows:
    """The inverse of `pack_rows`."""
    weight = packed[4].view(np.float64).astype(np.float32) if len(packed) == 5 else None
    return Rows(packed[0], packed[1], packed[2], packed[3], weight)


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
