"""What an Arrow file says of itself, before Arrow reads it: a few kilobytes of compressed data may stand for terabytes.

Only as much of the format as is needed: a file ends in a footer that tells where its record batches are, each of which
says at its beginning whether it is compressed. Both are FlatBuffers: tables whose fields are found by way of offsets.
"""

from __future__ import annotations

import struct

_MAGIC = b"ARROW1"
_CONTINUES = 0xFFFFFFFF
_FOOTER_DICTIONARIES, _FOOTER_BATCHES = 2, 3
_MESSAGE_HEADER = 2
_BATCH_COMPRESSION = 3
_BLOCK = struct.Struct("<qi4xq")


def is_plain(content: memoryview) -> bool:
    """Whether an Arrow file has neither compressed batches nor dictionaries, as all that are written here. Raises
    `ValueError` for what is no such file."""
    try:
        end = len(content) - len(_MAGIC) - 4
        (length,) = struct.unpack_from("<i", content, end)
        if bytes(content[end + 4 :]) != _MAGIC or not 0 < length <= end:
            raise ValueError("no footer")
        footer = _Table.root(content[end - length : end])
        if footer.vector(_FOOTER_DICTIONARIES, _BLOCK.size):
            return False
        for block in footer.vector(_FOOTER_BATCHES, _BLOCK.size):
            offset, metadata, _ = _BLOCK.unpack(block)
            if not 0 <= offset <= offset + metadata <= len(content):
                raise ValueError("a block outside of the file")
            message = content[offset : offset + metadata]
            (first,) = struct.unpack_from("<I", message)
            batch = _Table.root(message[8 if first == _CONTINUES else 4 :]).table(_MESSAGE_HEADER)
            if batch is not None and batch.has(_BATCH_COMPRESSION):
                return False
    except (struct.error, IndexError) as error:
        raise ValueError(f"no Arrow file ({error})") from error
    return True


class _Table:
    """A table of a FlatBuffer, at `start`."""

    def __init__(self, content: memoryview, start: int) -> None:
        self._content, self._start = content, start
        (back,) = struct.unpack_from("<i", content, start)
        self._fields = start - back
        if self._fields < 0:
            raise ValueError("a table outside of its buffer")
        (self._size,) = struct.unpack_from("<H", content, self._fields)

    @staticmethod
    def root(content: memoryview) -> _Table:
        return _Table(content, *struct.unpack_from("<I", content))

    def has(self, field: int) -> bool:
        return self._place(field) is not None

    def table(self, field: int) -> _Table | None:
        place = self._target(field)
        return None if place is None else _Table(self._content, place)

    def vector(self, field: int, width: int) -> list[memoryview]:
        """Its structures, of `width` bytes each."""
        place = self._target(field)
        if place is None:
            return []
        (count,) = struct.unpack_from("<I", self._content, place)
        if place + 4 + count * width > len(self._content):
            raise ValueError("a vector beyond its buffer")
        return [self._content[place + 4 + i * width :][:width] for i in range(count)]

    def _target(self, field: int) -> int | None:
        place = self._place(field)
        return None if place is None else place + struct.unpack_from("<I", self._content, place)[0]

    def _place(self, field: int) -> int | None:
        slot = 4 + 2 * field
        if slot + 2 > self._size:
            return None
        (offset,) = struct.unpack_from("<H", self._content, self._fields + slot)
        return self._start + offset if offset else None
