"""Reads the arrays of an .npz file row by row, so that one larger than memory can be read."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from replay.errors import DataError

_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError, KeyError)
"""What zipfile raises for a file that is damaged, encrypted or compressed in some other way."""


@dataclass(frozen=True)
class Header:
    """What an array looks like, without its numbers."""

    rows: int
    shape: tuple[int, ...]
    """Of one row."""
    dtype: np.dtype[Any]


class Npz:
    """An open .npz file. Raises `DataError`, naming file and array, for what cannot be read in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except _DAMAGE as error:
            raise DataError(f"{path}: is no .npz file ({error}). Fetch it again.") from error
        self.headers: dict[str, Header] = {}
        for entry in self._zip.namelist():
            if entry.endswith(".npy"):
                name = entry.removesuffix(".npy")
                try:
                    with self._open(name) as member:
                        self.headers[name] = self._header(name, member)
                except DataError:
                    raise
                except _DAMAGE as error:
                    raise DataError(f"{path}, {name}: is damaged ({error}). Fetch it again.") from error

    def blocks(self, name: str, block_rows: int) -> Iterator[np.ndarray]:
        """(n, ...) arrays of at most `block_rows` rows, in order, each in memory of its own."""
        header = self.headers[name]
        width = header.dtype.itemsize * int(np.prod(header.shape, dtype=np.int64))
        if width == 0:
            raise DataError(
                f"{self.path}, {name}: has rows of shape {header.shape} {header.dtype}, which hold nothing."
            )
        with self._open(name) as member:
            self._header(name, member)
            for start in range(0, header.rows, block_rows):
                rows = min(block_rows, header.rows - start)
                try:
                    data = member.read(rows * width)
                except _DAMAGE as error:
                    raise DataError(f"{self.path}, {name}: is damaged ({error}). Fetch it again.") from error
                if len(data) != rows * width:
                    raise DataError(f"{self.path}, {name}: ends before its {header.rows} rows. Fetch it again.")
                yield np.frombuffer(data, header.dtype).reshape(rows, *header.shape)

    def close(self) -> None:
        self._zip.close()

    def __enter__(self) -> Npz:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, name: str) -> Any:
        return self._zip.open(f"{name}.npy")

    def _header(self, name: str, member: Any) -> Header:
        try:
            version = np.lib.format.read_magic(member)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(member)
        except ValueError as error:
            raise DataError(f"{self.path}, {name}: is no .npy array ({error}). Fetch the file again.") from error
        if dtype.hasobject:
            raise DataError(f"{self.path}, {name}: holds pickled objects, which are not read. Save plain arrays.")
        if fortran and len(shape) > 1:
            raise DataError(
                f"{self.path}, {name}: is stored column by column (Fortran order). "
                "Save it again after numpy.ascontiguousarray."
            )
        return Header(shape[0] if shape else 0, tuple(shape[1:]), dtype)
