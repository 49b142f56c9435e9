"""What travels between a shard actor and whoever asked it for rows: one array each way.

Ray spends tens of microseconds on every object and buffer of a message, as long as gathering a small batch takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.batch import Batch, Request
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


def pack_rows(rows: Rows, request: Request) -> NDArray[np.int32]:
    """Shard and row, (2, B); where the request looks beyond one step also what remains, (3, B); where sampling is
    prioritised also the index, in two words, and the bits of the weight, (6, B).

    Arguments of up to 100 kB travel in Ray's message, larger ones through its object store, which takes longer.
    """
    parts = [rows.shard, rows.row]
    if rows.weight is not None or looks_ahead(request):
        parts.append(rows.remaining)
    packed = np.stack(parts).astype(np.int32)
    if rows.weight is None:
        return packed
    index = rows.index.astype(np.int64).view(np.int32).reshape(-1, 2).T
    return np.concatenate([packed, index, rows.weight.astype(np.float32).view(np.int32)[None]])


def unpack_rows(packed: NDArray[np.int32]) -> Rows:
    """The inverse of `pack_rows`; the index is −1 where it was not sent, and one step remains."""
    shard, row = packed[0].astype(np.int64), packed[1].astype(np.int64)
    remaining = packed[2].astype(np.int64) if len(packed) > 2 else np.ones_like(row)
    if len(packed) <= 3:
        return Rows(np.full_like(row, -1), shard, row, remaining)
    index = np.ascontiguousarray(packed[3:5].T).view(np.int64)[:, 0]
    return Rows(index, shard, row, remaining, np.ascontiguousarray(packed[5]).view(np.float32))


def looks_ahead(request: Request) -> bool:
    """Whether gathering must know how far the episode goes on."""
    return request.kind != "transitions" or request.n_step > 1 or bool(request.columns)


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
