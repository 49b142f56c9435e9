"""What a Parquet file says of itself, read before Arrow reads it: a few bytes may claim terabytes, a schema of great
depth uses up the stack, and some of what is damaged here ends the process.

Only as much of the format as is needed. A file ends in a footer, which is Thrift in its compact form: structures of
numbered fields. Each column chunk is a row of pages, and each page has a header of the same kind.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replay.errors import DataError
from replay.readers.columns import check_unpacked

_REMEDY = "Fetch the file again."
_LONGEST_FOOTER = 64 << 20
_LONGEST_PAGE_HEADER = 1 << 20
_MOST_COLUMNS = 20_000
_DEEPEST = 48
"""Of nested columns, and of Thrift's structures."""
_WIDTHS = {0: 1, 1: 4, 2: 8, 3: 12, 4: 4, 5: 8}
"""Bytes of a value by physical type; byte arrays (6) have their own, fixed ones (7) what the schema says."""
_BYTE_ARRAY, _FIXED = 6, 7
_DATA_PAGES = {0: 5, 3: 8}
"""Type of a page to the field that describes it."""
_DICTIONARY_PAGE, _INDEX_PAGE = 2, 1
# Fields of the structures.
_SCHEMA, _ROWS, _GROUPS = 2, 3, 4
_TYPE, _TYPE_LENGTH, _NAME, _CHILDREN = 1, 2, 4, 5
_COLUMNS, _GROUP_ROWS = 1, 3
_FILE_PATH, _META_DATA = 1, 3
_PATH, _VALUES, _UNPACKED, _PACKED, _FIRST_PAGE, _FIRST_DICTIONARY = 3, 5, 6, 7, 9, 11
_PAGE_TYPE, _PAGE_UNPACKED, _PAGE_PACKED, _PAGE_VALUES = 1, 2, 3, 1


@dataclass(frozen=True)
class Footer:
    """What reading some columns of a file takes."""

    rows: int
    row_bytes: int
    """Of all these columns in memory, about: what they hold by the rows; for text and bytes that are kept in a
    dictionary the whole dictionary, as any row may name its longest word."""


def check_parquet(path: Path, columns: Collection[str] | None = None) -> Footer:
    """Raises `DataError`, naming file and column, for a file that is damaged where it tells what it holds, that keeps
    columns in other files, or that says it holds more than a file of its size does. `columns` are the top-level ones
    that are going to be read, whose pages are looked at, too; None: only the footer."""
    try:
        size = os.stat(path).st_size
        with path.open("rb") as file:
            return _read(file, size, path, columns)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). {_REMEDY}") from error


def _read(file: Any, size: int, path: Path, columns: Collection[str] | None) -> Footer:
    footer = _footer(file, size, path)
    try:
        return _checked(file, size, path, footer, columns)
    except DataError:
        raise
    except (IndexError, KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        # A field that is missing or of another type: the bytes are Thrift, but no footer.
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def _footer(file: Any, size: int, path: Path) -> dict[int, Any]:
    file.seek(max(0, size - 8))
    end = file.read(8)
    if len(end) != 8 or end[4:] not in (b"PAR1", b"PARE"):
        raise DataError(f"{path}: is no Parquet file, or is cut short. {_REMEDY}")
    if end[4:] == b"PARE":
        raise DataError(f"{path}: is encrypted, expected a plain Parquet file. Decrypt it first.")
    length = int.from_bytes(end[:4], "little")
    if not 0 < length <= min(size - 12, _LONGEST_FOOTER):
        raise _damaged(path, f"a footer of {length:,} bytes in a file of {size:,}")
    file.seek(size - 8 - length)
    return _struct(file.read(length), 0, path)[0]


def _checked(file: Any, size: int, path: Path, footer: dict[int, Any], columns: Collection[str] | None) -> Footer:
    schema = footer[_SCHEMA]
    if len(schema) > _MOST_COLUMNS:
        raise DataError(
            f"{path}: has {len(schema):,} columns, expected at most {_MOST_COLUMNS:,}. Put numbers of one kind into "
            "lists."
        )
    _check_depth(schema, path)
    widths = {i: int(element.get(_TYPE_LENGTH, 0)) for i, element in enumerate(_leaves(schema))}
    rows, total_bytes = int(footer[_ROWS]), 0
    row_bytes: dict[str, int] = {}
    total = 0
    for group in footer[_GROUPS]:
        total += int(group[_GROUP_ROWS])
        for place, chunk in enumerate(group[_COLUMNS]):
            other = chunk.get(_FILE_PATH)
            if other:
                raise DataError(
                    f"{path}: keeps columns in another file ({other.decode(errors='replace')!r}). Name the files that "
                    "hold them."
                )
            meta = chunk[_META_DATA]
            names = [part.decode() for part in meta[_PATH]]
            if columns is not None and names[0] not in columns:
                continue
            where = f"{path}, {names[0]}"
            values, kind = int(meta[_VALUES]), int(meta[_TYPE])
            if values < 0 or int(group[_GROUP_ROWS]) < 0:
                raise _damaged(where, f"{values} values in {group[_GROUP_ROWS]} rows")
            own, word = max(values * _width(kind, widths.get(place, 0)), 0), 0
            if columns is not None:
                unpacked, word = _pages(file, size, meta, values, where)
                own = max(own, unpacked)
            total_bytes += own
            check_unpacked(total_bytes, size, where)
            per_row = own // max(1, int(group[_GROUP_ROWS])) + (word if kind == _BYTE_ARRAY else 0)
            name = ".".join(names)
            row_bytes[name] = max(row_bytes.get(name, 0), per_row)
    if total != rows:
        raise _damaged(path, f"{total} rows in its groups, {rows} in all")
    return Footer(rows, sum(row_bytes.values()))


def _width(kind: int, length: int) -> int:
    return length if kind == _FIXED else _WIDTHS.get(kind, 4)


def _leaves(schema: list[dict[int, Any]]) -> Iterator[dict[int, Any]]:
    return (element for element in schema if not element.get(_CHILDREN))


def _check_depth(schema: list[dict[int, Any]], path: Path) -> None:
    """The schema is a tree, written as each node and then its children."""
    open_nodes: list[int] = []
    for element in schema:
        if len(open_nodes) > _DEEPEST:
            name = element.get(_NAME, b"").decode(errors="replace")
            raise DataError(f"{path}: nests columns more than {_DEEPEST} deep ({name[:40]!r}). Leave such columns out.")
        if open_nodes:
            open_nodes[-1] -= 1
        children = int(element.get(_CHILDREN, 0) or 0)
        if not 0 <= children < len(schema):
            raise _damaged(path, f"a column with {children} parts among {len(schema)}")
        open_nodes.append(children)
        while open_nodes and open_nodes[-1] == 0:
            open_nodes.pop()


def _pages(file: Any, size: int, meta: dict[int, Any], values: int, where: str) -> tuple[int, int]:
    """Bytes that the pages of a column chunk unpack to, and those of its dictionary. Raises `DataError` unless they
    lie in the file and hold as many values as the chunk says."""
    start = int(meta[_FIRST_PAGE])
    dictionary = int(meta.get(_FIRST_DICTIONARY) or 0)
    if 0 < dictionary < start:
        start = dictionary
    unpacked = word = found = 0
    while found < values:
        if not 0 <= start < size:
            raise _damaged(where, f"{found} of {values} values")
        header, length = _page_header(file, start, where)
        packed, whole = int(header[_PAGE_PACKED]), int(header[_PAGE_UNPACKED])
        if packed < 0 or whole < 0 or start + length + packed > size:
            raise _damaged(where, f"a page of {packed} bytes at {start}")
        unpacked += whole
        kind = int(header[_PAGE_TYPE])
        if kind == _DICTIONARY_PAGE:
            word = max(word, whole)
        elif kind in _DATA_PAGES:
            here = int(header[_DATA_PAGES[kind]][_PAGE_VALUES])
            if here < 0:
                raise _damaged(where, f"a page of {here} values")
            found += here
        elif kind != _INDEX_PAGE:
            raise _damaged(where, f"a page of unknown kind {kind}")
        # An empty page moves nothing but the place; its header has a few bytes at least.
        start += length + packed
    if found != values:
        raise _damaged(where, f"{found} values in its pages, {values} expected")
    return unpacked, word


def _page_header(file: Any, start: int, where: str) -> tuple[dict[int, Any], int]:
    length = 512
    while True:
        file.seek(start)
        data = file.read(length)
        try:
            return _struct(data, 0, where)
        except _ShortError:
            if len(data) < length or length >= _LONGEST_PAGE_HEADER:
                raise _damaged(where, f"no page at {start}") from None
            length *= 8


class _ShortError(DataError):
    """The bytes end before the structure does."""


def _damaged(where: Path | str, what: str) -> DataError:
    return DataError(f"{where}: is damaged, or no Parquet file ({what}). {_REMEDY}")


def _struct(data: bytes, place: int, where: Path | str, depth: int = 0) -> tuple[dict[int, Any], int]:
    """A structure of Thrift's compact protocol at `place`, its fields by number, and the place after it."""
    if depth > _DEEPEST:
        raise _damaged(where, "structures in structures without end")
    found: dict[int, Any] = {}
    number = 0
    try:
        while True:
            head = data[place]
            place += 1
            if head == 0:
                return found, place
            if head >> 4:
                number += head >> 4
            else:
                zigzag, place = _varint(data, place)
                number = (zigzag >> 1) ^ -(zigzag & 1)
            kind = head & 15
            if kind in (1, 2):  # the truth value is in the type
                found[number] = kind == 1
            else:
                found[number], place = _value(data, place, kind, where, depth)
    except IndexError:
        raise _ShortError(f"{where}: is damaged, or no Parquet file (it ends early). {_REMEDY}") from None


def _value(data: bytes, place: int, kind: int, where: Path | str, depth: int) -> tuple[Any, int]:
    if kind in (1, 2, 3):
        return data[place], place + 1
    if kind in (4, 5, 6):
        zigzag, place = _varint(data, place)
        return (zigzag >> 1) ^ -(zigzag & 1), place
    if kind == 7:
        if place + 8 > len(data):
            raise IndexError
        return struct.unpack_from("<d", data, place)[0], place + 8
    if kind == 8:
        length, place = _varint(data, place)
        if place + length > len(data):
            raise IndexError
        return data[place : place + length], place + length
    if kind in (9, 10):
        head = data[place]
        place += 1
        count = head >> 4
        if count == 15:
            count, place = _varint(data, place)
        if count > len(data) - place:  # each takes a byte at least
            raise IndexError
        values = []
        for _ in range(count):
            value, place = _value(data, place, head & 15, where, depth + 1)
            values.append(value)
        return values, place
    if kind == 12:
        return _struct(data, place, where, depth + 1)
    raise _damaged(where, f"a field of unknown type {kind}")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
        if shift > 63:
            raise IndexError
