"""Chunks of an HDF5 array, looked at before HDF5 unpacks them.

HDF5 takes a chunk's word for its size: one that unpacks to less leaves the rest as memory happened to be, and one
that unpacks to more takes as much memory as it likes. So each is unpacked here first, no further than it may go.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

from replay import memory
from replay.errors import DataError

_DEFLATE, _SHUFFLE, _FLETCHER32, _NBIT, _SCALE_OFFSET, _LZF = 1, 2, 3, 5, 6, 32000
_TEXT = 16
"""Bytes of text of any length, where it stands among others: a length, and where it is. (HDF5 says a pointer's.)"""
_SLACK = 4096
"""Bytes by which packing may make a chunk larger."""
_REMEDY = "Fetch the file again."


def check_chunks(dataset: Any, where: str) -> None:
    """Raises `DataError`, naming `where`, unless every chunk that the open dataset stores is of the size that it
    should be once it is unpacked; and for chunks that do not fit in memory. h5py's own errors pass."""
    from h5py.h5t import TypeStringID

    if dataset.chunks is None:
        return
    kind = dataset.id.get_type()
    itemsize = _TEXT if isinstance(kind, TypeStringID) and kind.is_variable_str() else kind.get_size()
    elements = math.prod(dataset.chunks)
    expected = elements * itemsize
    memory.require(
        3 * expected,
        where,
        f"a chunk of {dataset.chunks}",
        "rewrite the file with smaller chunks (h5repack -l CHUNK=…).",
    )
    filters = _filters(dataset, elements, itemsize, where)
    file_size = dataset.file.id.get_filesize()
    stored: list[Any] = []
    dataset.id.chunk_iter(stored.append)
    for chunk in stored:
        place = f"{where}, chunk at {tuple(chunk.chunk_offset)}"
        most = expected + expected // 8 + _SLACK if filters else expected
        if not 0 < chunk.size <= most or chunk.byte_offset is None or chunk.byte_offset + chunk.size > file_size:
            raise DataError(f"{place}: has {chunk.size} bytes, expected at most {most} inside the file. {_REMEDY}")
        active = [kind for position, kind in enumerate(filters) if not chunk.filter_mask >> position & 1]
        if not active:
            found: int | None = chunk.size
        else:
            _, data = dataset.id.read_direct_chunk(chunk.chunk_offset)
            found = _unpacked(data, active, expected, place)
        if found is not None and found != expected:
            more = "more than " if found > expected else ""
            raise DataError(f"{place}: unpacks to {more}{min(found, expected)} bytes, expected {expected}. {_REMEDY}")


def _filters(dataset: Any, elements: int, itemsize: int, where: str) -> list[int]:
    """The codes of the filters that a chunk went through, in order. Raises `DataError` for one that is not known."""
    created = dataset.id.get_create_plist()
    found: list[int] = []
    for number in range(created.get_nfilters()):
        code, _, values, name = created.get_filter(number)
        if code not in (_DEFLATE, _SHUFFLE, _FLETCHER32, _NBIT, _SCALE_OFFSET, _LZF):
            raise DataError(
                f"{where}: is packed by the filter {code} ({name.decode(errors='replace')}), expected gzip, lzf or "
                "none. Repack the file (h5repack -f GZIP=4)."
            )
        # These two make what their own parameters say, and not what the chunk needs.
        if code in (_NBIT, _SCALE_OFFSET) and (len(values) < 5 or values[2] != elements):
            raise DataError(f"{where}: has a filter for other chunks than its own. {_REMEDY}")
        if code == _SCALE_OFFSET and values[4] != itemsize:
            raise DataError(f"{where}: has a filter for other numbers than its own. {_REMEDY}")
        found.append(code)
    return found


def _unpacked(data: bytes, active: list[int], expected: int, where: str) -> int | None:
    """How many bytes a chunk unpacks to, and no more than one above `expected`; None where the filter itself sees to
    that. Raises `DataError` for one that cannot be unpacked."""
    for position, code in reversed(list(enumerate(active))):
        if code == _FLETCHER32:
            data = data[:-4]  # HDF5 compares it itself
        elif code == _DEFLATE:
            unpacker = zlib.decompressobj()
            # A filter before this one may have appended a checksum.
            room = expected + 4 * (_FLETCHER32 in active[:position])
            try:
                data = unpacker.decompress(data, room + 1)
            except zlib.error as error:
                raise DataError(f"{where}: cannot be unpacked ({error}). {_REMEDY}") from error
            if len(data) > room:
                return expected + 1
            if not unpacker.eof:
                raise DataError(f"{where}: cannot be unpacked (it is cut short). {_REMEDY}")
        elif code == _LZF:
            if any(earlier in (_DEFLATE, _LZF, _NBIT, _SCALE_OFFSET) for earlier in active[:position]):
                raise DataError(f"{where}: is packed twice, expected once. Repack the file (h5repack -f GZIP=4).")
            return _lzf_length(data, where) - 4 * (_FLETCHER32 in active[:position])
        elif code in (_NBIT, _SCALE_OFFSET):
            return None
    return len(data)


def _lzf_length(data: bytes, where: str) -> int:
    """What LZF makes of `data`: runs of bytes as they are, and copies of what came before."""
    place = length = 0
    end = len(data)
    try:
        while place < end:
            control = data[place]
            if control < 32:
                place += control + 2
                length += control + 1
                if place > end:
                    raise IndexError
                continue
            size, step = control >> 5, 2
            if size == 7:
                size, step = 7 + data[place + 1], 3
            if ((control & 31) << 8) + data[place + step - 1] >= length:
                raise IndexError
            place += step
            length += size + 2
    except IndexError:
        raise DataError(f"{where}: cannot be unpacked (no whole LZF). {_REMEDY}") from None
    return length
