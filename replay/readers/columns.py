"""What a column of a log may be: numbers, in rows of a size that fits, under a name that can be kept.

Whatever a reader opens, it asks here before a value is read: what a file says of itself is known then, and what
reading it would take.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import numpy as np

from replay import memory, spaces
from replay.errors import DataError
from replay.ranges import shown
from replay.readers.source import array_space
from replay.records import is_utf8
from replay.spaces import CHANNELS, SMALLEST_PICTURE, Image, Leaf, picture_shape

MOST_NUMBERS = 1 << 20
"""Numbers in a row of a column. dataset.json holds four statistics of each, and what is larger is no vector of a
robot's but pictures or sound in the wrong form."""
MOST_DIMENSIONS = 3
"""Of a row: height, width and channels."""
MOST_RATIO = 500
"""How many times its size a file may hold. Deflate packs zeros a thousand to one; no log is made of them alone."""
SMALL = 1 << 30
"""Bytes that any file may hold, whatever its size."""
BLOCK_BYTES = 64 << 20
"""About what is read of a log at a time."""
_LONGEST_NAME = 180
"""Bytes of a column's name where it becomes part of a file's."""
_KINDS = {
    "S": "text",
    "U": "text",
    "O": "text or objects",
    "c": "complex numbers",
    "M": "dates",
    "m": "spans of time",
    "V": "records",
}


def check_column(row: tuple[int, ...], dtype: Any, where: str) -> None:
    """Raises `DataError`, naming `where`, unless rows of this shape and type are numbers that can be kept."""
    kind = np.dtype(dtype).kind
    if kind not in "biuf":
        raise DataError(
            f"{where}: found {_KINDS.get(kind, str(dtype))} ({np.dtype(dtype)}), expected numbers. Convert the column, "
            "or leave it out."
        )
    if len(row) > MOST_DIMENSIONS:
        raise DataError(
            f"{where}: found rows of {len(row)} dimensions {row}, expected at most {MOST_DIMENSIONS} (height, width, "
            "channels). Reshape the column, or leave it out."
        )
    if not 0 < math.prod(row) <= MOST_NUMBERS:
        raise DataError(
            f"{where}: found rows of shape {row}, expected 1 to {MOST_NUMBERS:,} numbers a row. Reshape the column, or "
            "leave it out."
        )


def column_space(row: tuple[int, ...], dtype: Any, where: str, name: str, notes: list[str]) -> Leaf:
    """The space of a column of observations that nothing declares, `name` in notes and `where` in refusals. Pictures
    of bytes that come channels first, (C, H, W), have their space channels last: `channels_last` turns their rows.

    Raises `DataError` as `check_column` does, and for pictures of which nobody knows where the channels are.
    """
    check_column(row, dtype, where)
    space = array_space(row, dtype)
    if isinstance(space, Image) or len(row) != 3:
        return space
    if turned := picture_shape(row, dtype):
        notes.append(f"{name}: pictures come channels first, {row}; kept as {turned}")
        return Image(turned)
    first, last = row[0] in CHANNELS, row[2] in CHANNELS
    if np.dtype(dtype) == np.uint8 and first and last and row[1] >= SMALLEST_PICTURE:
        raise DataError(
            f"{where}: found rows of shape {row}, which may be pictures with the channels first or last; expected "
            f"(height, width, channels) with sides of at least {SMALLEST_PICTURE}. Crop or transpose them."
        )
    if math.prod(row) >= SMALLEST_PICTURE**2:
        notes.append(
            f"{name}: {math.prod(row):,} numbers a row, taken as a vector; pictures are uint8 (height, width, channels)"
        )
    return space


def channels_last(values: np.ndarray, space: Leaf) -> np.ndarray:
    """Rows (n, C, H, W) of a picture as (n, H, W, C), where the space was made of those; others as they are."""
    return spaces.channels_last(values, space.shape) if isinstance(space, Image) and values.ndim == 4 else values


def block_rows(width: int, most: int) -> int:
    """How many rows of `width` bytes are read at a time: fewer where little memory is left."""
    room = min(BLOCK_BYTES, memory.available_bytes() // 8)
    return max(1, min(most, room // max(width, 1)))


def check_unpacked(bytes_held: int, file_size: int, where: str) -> None:
    """Raises `DataError`, naming `where`, for a file that says it holds more than any log of its size: a bomb, a
    table that was made large and never filled, or damage."""
    if bytes_held > max(SMALL, MOST_RATIO * file_size):
        raise DataError(
            f"{where}: says that it holds {memory.amount(bytes_held)} in a file of {memory.amount(file_size)}, "
            f"expected at most {MOST_RATIO} times its size. Cut off what was never filled, or fetch the file again."
        )


def check_name(name: str, where: str) -> None:
    """Raises `DataError`, naming `where`, for a column's name that cannot be one here: it is part of file names and
    of messages."""
    if not name or not name.isprintable() or not is_utf8(name) or len(quote(name, safe="")) > _LONGEST_NAME:
        raise DataError(
            f"{where}: a column is called {shown(name)}; expected 1 to {_LONGEST_NAME} printable characters. Rename it."
        )


def some(names: Iterable[str], most: int = 20) -> str:
    """The first names, and how many more there are: for messages."""
    listed = [name if len(name) <= 80 else f"{name[:80]}…" for name in names]
    return ", ".join(listed[:most]) + (f", … and {len(listed) - most:,} more" if len(listed) > most else "")


def left_out(names: Mapping[str, bool], remedy: str) -> list[str]:
    """A note that names what is not ingested, pictures first; `names` says of each whether it looks like pictures."""
    pictures, others = ([name for name, there in names.items() if there is kind] for kind in (True, False))
    notes = [f"not ingested, and pictures it seems: {some(pictures)}; {remedy}"] if pictures else []
    return notes + ([f"not ingested: {some(others)}; {remedy}"] if others else [])


def looks_like_pictures(row: tuple[int, ...], dtype: Any) -> bool:
    """Whether rows of bytes have two sides that are large enough."""
    return np.dtype(dtype) == np.uint8 and len(row) in (2, 3) and sorted(row)[-2] >= SMALLEST_PICTURE
