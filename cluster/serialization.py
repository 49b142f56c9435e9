"""What travels between a shard actor and whoever asked it for rows: named arrays as one, each way.

Ray spends tens of microseconds on every object and buffer of a message, as long as gathering a small batch takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.batch import Batch, Request
from replay.rows import Rows

Packed = tuple[tuple[tuple[str, str, tuple[int, ...]], ...], NDArray[np.uint8]]
"""(layout, bytes): name, dtype and shape of each array, one after the other."""

_ALIGNMENT = 8
"""Of each array in the bytes; the largest element there is."""
_OBSERVATION = "observation"
_NARROW = ("shard", "row", "remaining", "step", "task")
"""Columns of rows of which 32 bits are enough: a shard's rows, and the steps of its episodes, are counted in them."""


def pack(batch: Batch[NDArray[np.generic]]) -> Packed:
    """All arrays of a batch as one; its key is not sent, since a chunk has one for each draw."""
    return _pack(batch.columns())


def unpack(message: Packed) -> Batch[NDArray[np.generic]]:
    """The batch again, its arrays views of the bytes."""
    return Batch.of(_unpack(message))


def pack_observation(observation: Any) -> Packed:
    """An observation, (B, …) or a dictionary of such arrays, as one."""
    if isinstance(observation, Mapping):
        return _pack((f"{_OBSERVATION}.{name}", part) for name, part in observation.items())
    return _pack([(_OBSERVATION, observation)])


def unpack_observation(message: Packed) -> Any:
    """The observation again, its arrays views of the bytes."""
    found = _unpack(message)
    if _OBSERVATION in found:
        return found[_OBSERVATION]
    return {name.removeprefix(f"{_OBSERVATION}."): part for name, part in found.items()}


def pack_goals(goals: Rows) -> Packed:
    """The columns of goals' rows that observing them reads."""
    return _pack((name, getattr(goals, name).astype(np.int32)) for name in ("shard", "row", "remaining"))


def pack_rows(rows: Rows, request: Request) -> Packed:
    """The columns of `rows` that gathering `request` reads; goals are asked for apart. The index goes along only where
    priorities are updated.

    Arguments of up to 100 kB travel in Ray's message, larger ones through its object store, which takes longer.
    """
    sent = {"shard", "row", *request.reads_of_rows}
    if rows.weight is not None:
        sent |= {"index", "weight"}
    return _pack(
        (name, column.astype(np.int32) if name in _NARROW else column)
        for name, column in rows.columns()
        if name in sent
    )


def unpack_rows(message: Packed) -> Rows:
    """The rows again. What was not sent is not known: an index is −1, one step remains, and none came before."""
    found = _unpack(message)
    columns = {name: column.astype(np.int64) if name in _NARROW else column for name, column in found.items()}
    row = columns["row"]
    unknown = {"index": np.full_like(row, -1), "remaining": np.ones_like(row), "step": np.zeros_like(row)}
    return Rows.of({**unknown, **columns})


def _pack(arrays: Iterable[tuple[str, NDArray[np.generic]]]) -> Packed:
    parts = list(arrays)
    packed = np.empty(sum(_padded(array.nbytes) for _, array in parts), np.uint8)
    offset = 0
    for _, array in parts:
        packed[offset : offset + array.nbytes].view(array.dtype).reshape(array.shape)[...] = array
        offset += _padded(array.nbytes)
    return tuple((name, array.dtype.str, array.shape) for name, array in parts), packed


def _unpack(message: Packed) -> dict[str, NDArray[np.generic]]:
    """The arrays by name, views of the bytes."""
    layout, packed = message
    found: dict[str, NDArray[np.generic]] = {}
    offset = 0
    for name, dtype, shape in layout:
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        found[name] = packed[offset : offset + size].view(dtype).reshape(shape)
        offset += _padded(size)
    return found


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
