"""What an Arrow file says of itself, read and checked in full without Arrow, which trusts what it is given.

A file ends in a footer that tells its columns and where its record batch lies. The batch tells where each column's
buffers are. Both are FlatBuffers: tables whose fields are found by way of offsets. All of it is somebody else's word: a
length may be any number, a type one whose decoder recurses without end, a few compressed bytes may stand for terabytes.
So only what is written here is read: one record batch, uncompressed, of numbers, tensors of numbers, text and bytes,
none of them null, each buffer inside the file and as long as its rows need. Whatever else there is, is refused.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from replay.ranges import shown

TEXT, BLOB = "text", "bytes"
"""Kinds of columns whose values have lengths of their own."""
_MOST_COLUMNS = 1 << 14
_MOST_METADATA = 4096
"""Bytes of the JSON that says the shape of a tensor."""

_MAGIC = b"ARROW1"
_CONTINUES = 0xFFFFFFFF
_V5 = 4
_BLOCK = struct.Struct("<qi4xq")
_PAIR = struct.Struct("<qq")
_HEADER_IS_BATCH = 3
_INTEGER, _FLOAT, _TEXT, _LIST, _BLOB = 2, 3, 5, 16, 19
"""Types of a column."""
_TENSOR = b"arrow.fixed_shape_tensor"


class Field(NamedTuple):
    """A column: its type, and where its values lie in the file, as slices of bytes."""

    kind: str
    """The name of a dtype, or `TEXT` or `BLOB`."""
    shape: tuple[int, ...]
    """Of one row; () where it is no tensor."""
    values: slice
    offsets: slice
    """Of text and bytes: rows + 1 numbers, int32 for text, int64 for bytes. Empty for numbers."""

    @property
    def type(self) -> str:
        return self.kind + (str(list(self.shape)) if self.shape else "")


@dataclass(frozen=True)
class Layout:
    """What is in a file whose every buffer was compared with the file."""

    rows: int
    columns: dict[str, Field]


def read_layout(content: memoryview) -> Layout:
    """Raises `ValueError` for what is no Arrow file, or not such a one as is written here. Costs the columns, not the
    rows. The offsets of text and bytes are values, and are checked by `check_offsets`."""
    try:
        return _read_layout(content)
    except (struct.error, IndexError, RecursionError) as error:
        raise ValueError(f"its description is damaged: {error}") from error


def check_offsets(content: memoryview, field: Field, rows: int) -> np.ndarray:
    """The (rows + 1,) offsets of a column of text or bytes, none of which leads back or out of its values. Raises
    `ValueError`."""
    dtype = np.dtype(np.int32 if field.kind == TEXT else np.int64)
    if rows == 0:
        return np.zeros(1, dtype)
    offsets: np.ndarray = np.frombuffer(content, dtype, rows + 1, field.offsets.start)
    size = field.values.stop - field.values.start
    if offsets[0] < 0 or offsets[-1] > size or (offsets[1:] < offsets[:-1]).any():
        raise ValueError(f"offsets that lead out of {size} bytes of values, or back")
    return offsets


def _read_layout(content: memoryview) -> Layout:
    end = len(content) - len(_MAGIC) - 4
    if end < 0 or bytes(content[end + 4 :]) != _MAGIC:
        raise ValueError("it has no footer")
    (length,) = struct.unpack_from("<i", content, end)
    if not 0 < length <= end:
        raise ValueError(f"its footer says that it has {length} bytes, of {end}")
    body_end = end - length
    footer = _Table.root(content[body_end:end])
    if footer.size(2):
        raise ValueError("it has dictionaries, which no dataset has")
    schema = footer.table(1)
    if schema is None or schema.number(0, "<h") or footer.number(0, "<h") != _V5 or schema.size(3):
        raise ValueError("its schema is missing, big-endian or of another version of the format")
    count = footer.size(3)
    if count != 1:
        raise ValueError(f"it has {count} record batches, expected 1")
    (block,) = footer.structures(3, _BLOCK)
    offset, metadata, body = block
    start = offset + metadata
    if offset < 0 or metadata < 8 or body < 0 or start + body > body_end:
        raise ValueError("its record batch lies outside of the file")
    batch = _batch(content[offset:start], body)
    columns: dict[str, Field] = {}
    rows = batch.number(0, "<q")
    if rows < 0:
        raise ValueError(f"its record batch has {rows} rows")
    buffers = _Buffers(batch, start, body)
    for name, kind, shape in _columns(schema):
        if name in columns:
            raise ValueError(f"it has column {shown(name)} twice")
        columns[name] = buffers.field(name, kind, shape, rows)
    buffers.done()
    return Layout(rows, columns)


def _batch(message: memoryview, body: int) -> _Table:
    (first,) = struct.unpack_from("<I", message)
    header = _Table.root(message[8 if first == _CONTINUES else 4 :])
    batch = header.table(2)
    if header.number(1, "<B") != _HEADER_IS_BATCH or batch is None or header.number(3, "<q") != body:
        raise ValueError("its record batch is none")
    if batch.has(3):
        raise ValueError("it is compressed, and cannot be mapped")
    if batch.size(4):
        raise ValueError("it has views, which no dataset has")
    return batch


class _Buffers:
    """The buffers of a record batch, given out to its columns one after the other."""

    def __init__(self, batch: _Table, start: int, body: int) -> None:
        self._start, self._body = start, body
        self._nodes = iter(batch.structures(1, _PAIR))
        self._buffers = iter(batch.structures(2, _PAIR))

    def field(self, name: str, kind: str, shape: tuple[int, ...], rows: int) -> Field:
        self._node(name, rows)
        self._no_nulls(name)
        if kind in (TEXT, BLOB):
            width = 4 if kind == TEXT else 8
            offsets = self._buffer(name, width, (rows + 1) * width if rows else 0)
            return Field(kind, shape, self._buffer(name, 1, 0), offsets)
        items = 1
        for number in shape:
            items *= number
        if shape:
            self._node(name, rows * items)
            self._no_nulls(name)
        item = np.dtype(kind).itemsize
        values = self._buffer(name, item, rows * items * item)
        return Field(kind, shape, values, slice(0, 0))

    def done(self) -> None:
        if any(True for _ in self._nodes) or any(True for _ in self._buffers):
            raise ValueError("it has more buffers than its columns need")

    def _node(self, name: str, expected: int) -> None:
        found, nulls = next(self._nodes, (-1, 0))
        if found != expected:
            raise ValueError(f"column {shown(name)}: found {found} values, expected {expected}")
        if nulls:
            raise ValueError(f"column {shown(name)}: found {nulls} nulls, expected none")

    def _no_nulls(self, name: str) -> None:
        if next(self._buffers, (0, -1))[1] != 0:
            raise ValueError(f"column {shown(name)}: found marks of nulls, expected none")

    def _buffer(self, name: str, item: int, needed: int) -> slice:
        offset, length = next(self._buffers, (-1, 0))
        start = self._start + offset
        if offset < 0 or length < needed or offset + length > self._body:
            raise ValueError(
                f"column {shown(name)}: found {length} bytes at {offset}, expected {needed} in {self._body}"
            )
        if start % item:
            raise ValueError(f"column {shown(name)}: starts at byte {start}, expected a multiple of {item}")
        return slice(start, start + length)


def _columns(schema: _Table) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Name, kind and shape of each."""
    fields = schema.tables(1, _MOST_COLUMNS)
    for field in fields:
        name = field.text(0).decode()
        kind = _kind(field, name)
        shape: tuple[int, ...] = ()
        if kind == "":
            children = list(field.tables(5, 1))
            kind = _kind(children[0], name) if children else ""
            shape = _tensor_shape(field, name)
            if kind in ("", TEXT, BLOB) or children[0].has(4):
                raise ValueError(f"column {shown(name)} is a list of what is no number")
        if field.has(4):
            raise ValueError(f"column {shown(name)} is a dictionary")
        yield name, kind, shape


def _kind(field: _Table, name: str) -> str:
    """The dtype's name, `TEXT` or `BLOB`; nothing for a list."""
    number, kind = field.number(2, "<B"), field.table(3)
    if kind is not None:
        if number == _INTEGER:
            bits = kind.number(0, "<i")
            if bits in (8, 16, 32, 64):
                return f"{'int' if kind.number(1, '<B') else 'uint'}{bits}"
        elif number == _FLOAT:
            precision = kind.number(0, "<h")
            if precision in (0, 1, 2):
                return f"float{16 << precision}"
        elif number in (_TEXT, _BLOB, _LIST):
            return {_TEXT: TEXT, _BLOB: BLOB, _LIST: ""}[number]
    raise ValueError(f"column {shown(name)} has a type that no dataset has")


def _tensor_shape(field: _Table, name: str) -> tuple[int, ...]:
    """What the list is cut into. Its length must be that."""
    words = {entry.text(0): entry.text(1) for entry in field.tables(6, 8)}
    length = kind.number(0, "<i") if (kind := field.table(3)) is not None else 0
    extension, written = words.get(b"ARROW:extension:name"), words.get(b"ARROW:extension:metadata", b"")
    if extension != _TENSOR or len(written) > _MOST_METADATA:
        raise ValueError(f"column {shown(name)} is a list, expected a tensor")
    said = json.loads(written)
    shape = said.get("shape") if isinstance(said, dict) and len(said) == 1 else None
    if not isinstance(shape, list) or not shape or not all(type(n) is int and 0 < n < 1 << 31 for n in shape):
        raise ValueError(f"column {shown(name)} is a tensor of shape {shown(said)}")
    items = 1
    for number in shape:
        items *= number
    if items != length:
        raise ValueError(f"column {shown(name)} is a tensor of shape {shown(shape)} in {length} numbers")
    return tuple(shape)


class _Table:
    """A table of a FlatBuffer, at `start`. Raises `struct.error` and `ValueError` for what lies outside of it."""

    def __init__(self, content: memoryview, start: int) -> None:
        self._content, self._start = content, start
        (back,) = struct.unpack_from("<i", content, start)
        self._fields = start - back
        if self._fields < 0:
            raise ValueError("a table outside of its description")
        (self._size,) = struct.unpack_from("<H", content, self._fields)

    @staticmethod
    def root(content: memoryview) -> _Table:
        return _Table(content, *struct.unpack_from("<I", content))

    def has(self, field: int) -> bool:
        return self._place(field) is not None

    def number(self, field: int, form: str) -> int:
        """0 where it is left out."""
        place = self._place(field)
        return 0 if place is None else int(struct.unpack_from(form, self._content, place)[0])

    def table(self, field: int) -> _Table | None:
        place = self._target(field)
        return None if place is None else _Table(self._content, place)

    def size(self, field: int) -> int:
        """Of a vector; 0 where it is left out."""
        place = self._target(field)
        return 0 if place is None else int(struct.unpack_from("<I", self._content, place)[0])

    def text(self, field: int) -> bytes:
        place, count = self._vector(field, 1)
        return bytes(self._content[place : place + count])

    def tables(self, field: int, most: int) -> Iterator[_Table]:
        place, count = self._vector(field, 4)
        if count > most:
            raise ValueError(f"it lists {count} things where {most} are expected at most")
        for at in range(place, place + 4 * count, 4):
            yield _Table(self._content, at + struct.unpack_from("<I", self._content, at)[0])

    def structures(self, field: int, form: struct.Struct) -> Iterator[tuple[int, ...]]:
        place, count = self._vector(field, form.size)
        return form.iter_unpack(self._content[place : place + count * form.size])

    def _vector(self, field: int, width: int) -> tuple[int, int]:
        """Where its first element lies, and how many there are."""
        place = self._target(field)
        if place is None:
            return 0, 0
        (count,) = struct.unpack_from("<I", self._content, place)
        if place + 4 + count * width > len(self._content):
            raise ValueError("a list beyond the end of its description")
        return place + 4, count

    def _target(self, field: int) -> int | None:
        place = self._place(field)
        return None if place is None else place + struct.unpack_from("<I", self._content, place)[0]

    def _place(self, field: int) -> int | None:
        slot = 4 + 2 * field
        if slot + 2 > self._size:
            return None
        (offset,) = struct.unpack_from("<H", self._content, self._fields + slot)
        return self._start + offset if offset else None
