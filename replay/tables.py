"""The tables beside dataset.json: small Arrow files whose hash it holds, read whole and checked each time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from replay.arrow_layout import TEXT, Field, check_offsets, read_layout
from replay.errors import DataError
from replay.memory import require
from replay.ranges import shown
from replay.records import text, whole
from replay.shard import ShardFile, check_digest, opened_shard, write_batch

LONGEST = 4 << 30
"""Bytes of a table: some fifty million episodes."""
_SMALL = 16 << 20
"""Bytes that are read without asking whether there is memory for them."""


def write_table(path: Path, types: Mapping[str, pa.DataType], columns: Mapping[str, Any]) -> dict[str, Any]:
    """A new file, through to the disk; what dataset.json records of it. Raises `OSError`."""
    arrays = [pa.array(columns[name], type=kind) for name, kind in types.items()]
    size, digest = write_batch(path, pa.record_batch(arrays, names=list(types)))
    return {"bytes": size, "sha256": digest}


def read_table(path: Path, types: Mapping[str, pa.DataType], recorded: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Its columns (N,), strings as object arrays. Raises `DataError`, and `ValueError` for what is no record of it."""
    name = f"tables.{path.name}"
    size, sha256 = whole(recorded["bytes"], f"{name}.bytes"), text(recorded["sha256"], f"{name}.sha256")
    file = ShardFile(path, 0, size, sha256)
    if file.bytes > LONGEST:
        raise ValueError(f"{name}.bytes: found {file.bytes}, expected at most {LONGEST}")
    with opened_shard(file, path) as descriptor, os.fdopen(descriptor, "rb", closefd=False) as source:
        if file.bytes > _SMALL:
            require(2 * file.bytes, str(path), "the table", "restore the file from a copy, or free some memory.")
        content = source.read(file.bytes)
    check_digest(file, path, hashlib.sha256(content).hexdigest())
    try:
        layout = read_layout(memoryview(content))
        return {
            name: _column(memoryview(content), layout.columns.get(name), layout.rows, name, kind)
            for name, kind in types.items()
        }
    except ValueError as error:  # pa.ArrowInvalid is one
        raise DataError(f"{path}: not a whole table ({error}); restore it from a copy or ingest again.") from error


def _column(content: memoryview, field: Field | None, rows: int, name: str, kind: pa.DataType) -> np.ndarray:
    dtype = None if kind == pa.string() else np.dtype(kind.to_pandas_dtype())
    expected, found = dtype.name if dtype is not None else TEXT, "no such column" if field is None else field.type
    if field is None or found != expected:
        raise ValueError(f"column {name!r}: found {shown(found)}, expected {expected}")
    if dtype is not None:
        return np.frombuffer(content, dtype, rows, field.values.start)
    check_offsets(content, field, rows)
    buffers = [None, pa.py_buffer(content[field.offsets]), pa.py_buffer(content[field.values])]
    strings = pa.Array.from_buffers(pa.string(), rows, buffers)
    strings.validate(full=True)  # UTF-8
    # Few distinct strings stand in many rows: share them.
    encoded = strings.dictionary_encode()
    words = np.array(encoded.dictionary.to_pylist() or [""], dtype=object)
    return words[encoded.indices.to_numpy(zero_copy_only=False)]
