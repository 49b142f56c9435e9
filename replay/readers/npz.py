"""Reads the arrays of an .npz file row by row, so that one larger than memory can be read."""

from __future__ import annotations

import io
import math
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from types import TracebackType
from typing import Any

import numpy as np

from replay.errors import DataError
from replay.readers.columns import block_rows, check_unpacked, some
from replay.readers.source import told

_DAMAGE: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    KeyError,
    OverflowError,
)
"""What zipfile raises for a file that is damaged."""
_LONGEST_HEADER = 10_000
"""Bytes: what numpy takes for safe to parse."""
_ENCRYPTED = 0x1


@dataclass(frozen=True)
class Header:
    """What an array looks like, without its numbers."""

    rows: int
    shape: tuple[int, ...]
    """Of one row."""
    dtype: np.dtype[Any]
    begins: int
    """Bytes before the first number."""

    @property
    def width(self) -> int:
        """Bytes of a row."""
        return self.dtype.itemsize * math.prod(self.shape)


class Npz:
    """An open .npz file. Raises `DataError`, naming file and array, for what cannot be read in order.

    `names` has its arrays in order; `header` looks into one, `blocks` reads it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = os.stat(path).st_size
        try:
            self._zip = zipfile.ZipFile(path)
        except _DAMAGE as error:
            raise DataError(f"{path}: is no .npz file ({told(error)}). Fetch it again.") from error
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in self._zip.infolist():
            if member.filename.endswith(".npy"):
                name = member.filename.removesuffix(".npy")
                if name in self._members:
                    raise DataError(
                        f"{path}: holds {some([name])} twice, expected each array once. Save the arrays again."
                    )
                self._members[name] = member

    @property
    def names(self) -> list[str]:
        return list(self._members)

    def header(self, name: str) -> Header:
        """Raises `DataError` for what is no array of numbers in rows, and where the archive's and the array's own word
        about its size differ."""
        member, where = self._members[name], f"{self.path}, {name}"
        if member.flag_bits & _ENCRYPTED:
            raise DataError(f"{where}: is encrypted, expected a plain array. Decrypt the file first.")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(
                f"{where}: is compressed by ZIP's method {member.compress_type}, expected deflate, or none, as numpy "
                "writes. Save it again with numpy.savez_compressed."
            )
        try:
            with self._zip.open(member) as opened:
                header = _header(opened, where)
        except _DAMAGE as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{where}: is damaged ({told(error)}). Fetch the file again.") from error
        claimed = header.begins + header.rows * header.width
        if claimed != member.file_size:
            raise DataError(
                f"{where}: says that it is {(header.rows, *header.shape)} {header.dtype}, {claimed:,} bytes, and has "
                f"{member.file_size:,}. Fetch the file again."
            )
        return header

    def headers(self, names: Iterable[str]) -> dict[str, Header]:
        """Those of arrays that are to be read. Raises `DataError`, too, where together they hold more than a file of
        this size does."""
        found = {name: self.header(name) for name in names}
        check_unpacked(sum(header.rows * header.width for header in found.values()), self._size, str(self.path))
        return found

    def blocks(self, name: str, rows: int) -> Iterator[np.ndarray]:
        """(n, ...) arrays of `rows` rows, the last of fewer, in order, each in memory of its own."""
        where = f"{self.path}, {name}"
        header = self.header(name)
        if header.width == 0:
            raise DataError(f"{where}: has rows of shape {header.shape} {header.dtype}, which hold nothing.")
        try:
            with self._zip.open(self._members[name]) as member:
                member.read(header.begins)
                for start in range(0, header.rows, rows):
                    n = min(rows, header.rows - start)
                    data = member.read(n * header.width)
                    if len(data) != n * header.width:
                        raise DataError(f"{where}: ends before its {header.rows} rows. Fetch the file again.")
                    yield np.frombuffer(data, header.dtype).reshape(n, *header.shape)
        except _DAMAGE as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{where}: is damaged ({told(error)}). Fetch the file again.") from error

    def close(self) -> None:
        self._zip.close()

    def __enter__(self) -> Npz:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def rows_together(headers: Iterable[Header], most: int) -> int:
    """How many rows of all these arrays are read at a time."""
    return block_rows(sum(header.width for header in headers), most)


def _header(member: Any, where: str) -> Header:
    magic = member.read(8)
    if magic[:6] != b"\x93NUMPY" or len(magic) != 8 or (magic[6], magic[7]) not in ((1, 0), (2, 0), (3, 0)):
        raise DataError(f"{where}: is no .npy array. Fetch the file again.")
    length = member.read(2 if magic[6] == 1 else 4)
    size = int.from_bytes(length, "little")
    if size > _LONGEST_HEADER:
        raise DataError(
            f"{where}: has a header of {size:,} bytes, expected at most {_LONGEST_HEADER:,}. Save it again."
        )
    text = io.BytesIO(length + member.read(size))
    read = np.lib.format.read_array_header_1_0 if magic[6] == 1 else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = read(text)
    # TokenError and SyntaxError: of a text that is no Python; RecursionError and MemoryError: of one that is too deep.
    except (ValueError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError) as error:
        raise DataError(f"{where}: is no .npy array ({told(error)}). Fetch the file again.") from error
    if dtype.hasobject:
        raise DataError(f"{where}: holds pickled objects, which are not read. Save plain arrays.")
    if any(type(side) is not int or side < 0 for side in shape):
        raise DataError(f"{where}: has the shape {shape}, expected whole numbers from 0. Fetch the file again.")
    if fortran and len(shape) > 1:
        raise DataError(
            f"{where}: is stored column by column (Fortran order). Save it again after numpy.ascontiguousarray."
        )
    if not shape:
        raise DataError(f"{where}: is a single value, expected one row for each step. Save an array.")
    return Header(shape[0], tuple(shape[1:]), dtype, len(magic) + len(length) + size)
