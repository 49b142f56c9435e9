"""One file of a shard: an uncompressed Arrow IPC file of one record batch, written once, read as zero-copy views.

One record batch, because taking rows across many is two hundred times slower; uncompressed, because
a compressed file cannot be mapped; one file per column group, so that a relabelled reward or a
camera that is not asked for costs neither copies nor reads. Shards are immutable: truncating a
mapped file crashes its readers.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from replay import stamps
from replay.arrow_layout import BLOB, Layout, check_offsets, read_layout
from replay.durable import create
from replay.errors import DataError
from replay.ranges import shown
from replay.regular import open_regular
from replay.schema import Column


@dataclass(frozen=True)
class ShardFile:
    """What the manifest records of one file. `path` is absolute once it is in a view."""

    path: Path
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Blobs:
    """A column of encoded images: `data[offsets[i]:offsets[i + 1]]` is row i."""

    offsets: np.ndarray
    data: np.ndarray

    def row(self, i: int) -> memoryview:
        start, stop = int(self.offsets[i]), int(self.offsets[i + 1])
        if not 0 <= start <= stop <= len(self.data):
            raise DataError(f"row {i} of an image column lies outside its file; check the dataset with --verify.")
        return self.data[start:stop].data


@dataclass(frozen=True)
class Mapped:
    """An open file: zero-copy arrays (rows, *shape), or `Blobs`, by column name. The map lives as long as this does."""

    rows: int
    arrays: dict[str, np.ndarray]
    blobs: dict[str, Blobs]
    buffer: pa.Buffer

    @property
    def address(self) -> int:
        return int(self.buffer.address)


def write_shard(path: Path, columns: Sequence[Column], values: Mapping[str, np.ndarray | Sequence[bytes]]) -> ShardFile:
    """Write `values` ((rows, *shape) arrays; encoded images as bytes) to `path`, through to the disk.

    The caller gives a temporary path or folder and renames it; what was left there under that name is replaced. Raises
    `OSError` as the disk does.
    """
    arrays = [_to_arrow(column, values[column.name]) for column in columns]
    batch = pa.record_batch(arrays, names=[column.name for column in columns])
    path.unlink(missing_ok=True)
    return ShardFile(path, batch.num_rows, *write_batch(path, batch))


def write_batch(path: Path, batch: pa.RecordBatch) -> tuple[int, str]:
    """A new Arrow file, through to the disk; returns its bytes and sha256. Raises `FileExistsError` where anything has
    the name."""
    with os.fdopen(create(path), "w+b") as sink:
        with pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        sink.flush()
        os.fsync(sink.fileno())
        return os.fstat(sink.fileno()).st_size, _sha256(sink.fileno())


def map_shard(
    file: ShardFile,
    columns: Iterable[Column],
    *,
    check: Literal["size", "once", "always"] = "once",
    path: Path | None = None,
) -> Mapped:
    """Map a file and find `columns` in it. `path` is another place of the same content (a staged copy).

    `check` says whether its bytes are hashed first: always; once, that is unless this very file was hashed before and
    is untouched since (`replay.stamps`); or not, and only the size is compared. Raises `DataError` naming the file,
    what was found and what was expected.
    """
    path, rows = path or file.path, file.rows
    with opened_shard(file, path) as descriptor:
        if check != "size":
            check_hash(file, path, descriptor, again=check == "always")
        # By its descriptor: what is mapped is what was checked, whatever has the name meanwhile.
        layout, buffer = _mapped(path, descriptor)
    if layout.rows != rows:
        raise DataError(f"{path}: found {layout.rows} rows, the manifest says {rows}; restore the file from a copy.")
    content = memoryview(buffer)
    arrays: dict[str, np.ndarray] = {}
    blobs: dict[str, Blobs] = {}
    for column in columns:
        field, expected = layout.columns.get(column.name), _type(column)
        if field is None or field.type != expected:
            found = "no such column" if field is None else shown(field.type)
            name = shown(column.name)
            raise DataError(f"{path}: column {name}: found {found}, expected {expected}; restore the file from a copy.")
        if column.kind == "image":
            try:
                offsets = check_offsets(content, field, rows)
            except ValueError as error:
                raise _not_whole(path, f"column {shown(column.name)}: {error}") from error
            blobs[column.name] = Blobs(offsets, np.frombuffer(content[field.values], np.uint8))
        else:
            values = np.frombuffer(content, column.dtype, rows * column.items, field.values.start)
            arrays[column.name] = values.reshape(rows, *column.shape)
    return Mapped(rows, arrays, blobs, buffer)


def tensors(columns: Sequence[Column], files: Mapping[str, ShardFile]) -> dict[str, np.ndarray]:
    """The tensor columns of one shard, zero-copy, their content checked; the maps live as long as the arrays."""
    found: dict[str, np.ndarray] = {}
    for group, file in files.items():
        wanted = [column for column in columns if column.group == group and column.kind == "tensor"]
        if wanted:
            found |= map_shard(file, wanted).arrays
    return found


@contextmanager
def opened_shard(file: ShardFile, path: Path) -> Iterator[int]:
    """The descriptor of a file, or of its copy at `path`, that has the recorded size. Raises `DataError`."""
    try:
        descriptor = open_regular(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        found = os.fstat(descriptor).st_size
        if found != file.bytes:
            raise DataError(
                f"{path}: found {found} bytes, expected {file.bytes}; restore the file from a copy or ingest again."
            )
        yield descriptor
    finally:
        os.close(descriptor)


def check_hash(file: ShardFile, path: Path, descriptor: int, *, again: bool = False) -> None:
    """Hash the content, unless this very file was hashed before; `again`: even then. Raises `DataError`."""
    status, began = os.fstat(descriptor), time.time_ns()
    stamp = stamps.stamp(status, file.sha256)
    if not again and stamps.is_known(stamp):
        return
    try:
        found = _sha256(descriptor)
    except OSError as error:
        raise _unreadable(path, error) from error
    check_digest(file, path, found)
    # It vouches for the file as it was before hashing began: not for one that was written to meanwhile.
    if stamps.stamp(os.fstat(descriptor), file.sha256) == stamp:
        stamps.remember(stamp, status, began)


def check_digest(file: ShardFile, path: Path, found: str) -> None:
    """Raises `DataError` where the sha256 that was found is not the recorded one."""
    if found != file.sha256:
        raise DataError(
            f"{path}: found sha256 {found}, expected {file.sha256}: the content has changed; "
            f"restore the file from a copy or ingest the dataset again."
        )


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path}: the file is missing or unreadable ({error.strerror or error}); restore it from a copy, or ingest "
        f"the dataset again (a relabelled dataset needs its parent where it was)."
    )


def _sha256(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mapped(path: Path, descriptor: int) -> tuple[Layout, pa.Buffer]:
    """What is in an Arrow file, and the whole map."""
    try:
        # Leaving the block closes the descriptor; the map itself lives as long as its buffers.
        with pa.memory_map(f"/dev/fd/{descriptor}", "r") as source:
            buffer = source.read_buffer()
    except (pa.ArrowException, OSError) as error:
        raise _not_whole(path, error) from error
    try:
        return read_layout(memoryview(buffer)), buffer
    except ValueError as error:
        raise _not_whole(path, error) from error


def _not_whole(path: Path, why: object) -> DataError:
    return DataError(f"{path}: not a whole Arrow file of this format ({why}); restore it from a copy or ingest again.")


def _type(column: Column) -> str:
    """As `arrow_layout.Field.type` has it."""
    if column.kind == "image":
        return BLOB
    return column.dtype + (str(list(column.shape)) if column.shape else "")


def _arrow_type(column: Column) -> pa.DataType:
    if column.kind == "image":
        return pa.large_binary()
    item = pa.from_numpy_dtype(np.dtype(column.dtype))
    return pa.fixed_shape_tensor(item, column.shape) if column.shape else item


def _to_arrow(column: Column, values: np.ndarray | Sequence[bytes]) -> pa.Array:
    if column.kind == "image":
        return pa.array(values, type=pa.large_binary())
    array = np.ascontiguousarray(values, dtype=column.dtype)
    if not column.shape:
        return pa.array(array)
    storage = pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), column.items)
    return pa.ExtensionArray.from_storage(_arrow_type(column), storage)
