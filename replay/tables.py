"""The tables beside dataset.json: small Arrow files whose hash it holds, read whole and checked each time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from replay.arrow_layout import is_plain
from replay.errors import DataError
from replay.records import whole
from replay.shard import ShardFile, check_digest, opened_shard, write_batch

LONGEST = 4 << 30
"""Bytes of a table: some fifty million episodes."""


def write_table(path: Path, types: Mapping[str, pa.DataType], columns: Mapping[str, Any]) -> dict[str, Any]:
    """A new file, through to the disk; what dataset.json records of it. Raises `OSError`."""
    arrays = [pa.array(columns[name], type=kind) for name, kind in types.items()]
    size, digest = write_batch(path, pa.record_batch(arrays, names=list(types)))
    return {"bytes": size, "sha256": digest}


def read_table(path: Path, types: Mapping[str, pa.DataType], recorded: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Its columns (N,), strings as object arrays. Raises `DataError`, and `ValueError` for what is no record of it."""
    file = ShardFile(path, 0, whole(recorded["bytes"], f"tables.{path.name}.bytes"), str(recorded["sha256"]))
    if file.bytes > LONGEST:
        raise ValueError(f"tables.{path.name}.bytes: found {file.bytes}, expected at most {LONGEST}")
    with opened_shard(file, path) as descriptor, os.fdopen(descriptor, "rb", closefd=False) as source:
        content = source.read(file.bytes)
    check_digest(file, path, hashlib.sha256(content).hexdigest())
    try:
        if not is_plain(memoryview(content)):
            raise ValueError("it is compressed")
        table = pa.ipc.open_file(pa.BufferReader(content)).read_all()
        table.validate(full=True)
    except (pa.ArrowException, ValueError, OSError) as error:
        raise DataError(f"{path}: not a whole Arrow file ({error}); ingest the dataset again.") from error
    return {name: _column(path, table, name, kind) for name, kind in types.items()}


def _column(path: Path, table: pa.Table, name: str, kind: pa.DataType) -> np.ndarray:
    if table.column_names.count(name) != 1 or table.schema.field(name).type != kind:
        raise DataError(f"{path}: column {name!r} is missing or not {kind}; ingest the dataset again.")
    column = table.column(name).combine_chunks()
    if column.null_count:
        raise DataError(f"{path}: column {name!r} has {column.null_count} nulls; ingest the dataset again.")
    if kind != pa.string():
        return column.to_numpy(zero_copy_only=False)
    # Few distinct strings stand in many rows: share them.
    encoded = column.dictionary_encode()
    words = np.array(encoded.dictionary.to_pylist() or [""], dtype=object)
    return words[encoded.indices.to_numpy(zero_copy_only=False)]
