"""The JSON record that makes its folder a dataset or an online store."""

from __future__ import annotations

import hashlib
import json
import math
import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from replay.errors import DataError
from replay.memory import require
from replay.ranges import shown
from replay.regular import read

DEEPEST = 200
"""How many lists and objects may stand in one another: far more than any record has, and far fewer than it takes to
end a program that goes into each of them."""
_SMALL = 16 << 20
_MEMORY = 32
"""Bytes of memory that a byte of JSON may take: `{},` makes an empty object of 64 bytes in a list."""


def read_record(path: Path, kind: str, version: int, *, what: str, maker: str) -> tuple[dict[str, Any], str]:
    """The record and the sha256 of the very bytes it was read from. Raises `DataError` for none, or one of another
    kind."""
    folder = path.parent
    try:
        content = read(path)
        record = loads(content, path)
    except FileNotFoundError as error:
        found = "no such folder" if not folder.exists() else f"no {path.name} in it"
        raise DataError(
            f"{folder}: not {what}: {found}. Name a folder made by {maker}; "
            f"a folder whose writing was interrupted is none, make it again."
        ) from error
    except DataError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: unreadable ({error}); restore it from a copy or make it again.") from error
    if not isinstance(record, dict) or record.get("format") != kind:
        raise DataError(f"{path}: not {what} manifest: `format` is not {kind!r}.")
    if type(record.get("version")) is not int or record["version"] != version:
        raise DataError(
            f"{path}: format version {shown(record.get('version'))}, this program reads {version}; "
            f"use the program that wrote it, or ingest the source again."
        )
    return record, hashlib.sha256(content).hexdigest()


MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)
"""What reading a record raises that is not as it was written."""


def not_whole(where: str, error: Exception) -> DataError:
    return DataError(
        f"{where}: not a whole manifest ({reason(error)}); restore it from a copy or ingest the dataset again."
    )


def reason(error: Exception) -> str:
    """What a `MALFORMED` error says, in words."""
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return str(error) if isinstance(error, ValueError) else repr(error)


def loads(content: bytes, path: Path) -> Any:
    """JSON as the standard has it: without NaN and infinity, no number beyond them, and not too deep. Raises
    `ValueError`, `RecursionError`, and `DataError` where there is no memory for it."""
    if len(content) > _SMALL:
        require(_MEMORY * len(content), str(path), "what it says", "restore the file from a copy.")
    return parsed(content)


def parsed(content: bytes, *, finite: bool = True, deepest: int = DEEPEST) -> Any:
    """A JSON value in UTF-8. Raises `ValueError` and `RecursionError` for anything else, for lists and objects in more
    than `deepest` others, and, where all its numbers are to be `finite`, for NaN and numbers beyond a float's."""
    text = content.decode()  # `json` would take UTF-16 and marks, which other readers do not
    value = json.loads(text, parse_constant=_no_number, parse_float=_number) if finite else json.loads(text)
    if content.count(b"[") + content.count(b"{") > deepest:
        check_depth(value, deepest)
    return value


def check_depth(value: Any, deepest: int = DEEPEST) -> None:
    """Raises `ValueError` for lists and objects that stand in more than `deepest` others."""
    level: list[Any] = [value]
    for _ in range(deepest + 1):
        level = [entry for outer in level for entry in _entries(outer) if isinstance(entry, (dict, list, tuple))]
        if not level:
            return
    raise ValueError(f"found lists and objects in more than {deepest} others")


def _entries(outer: Any) -> Iterable[Any]:
    if isinstance(outer, dict):
        return outer.values()
    return outer if isinstance(outer, (list, tuple)) else ()


def _no_number(word: str) -> float:
    raise ValueError(f"found {word}, expected a number")


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"found {reprlib.repr(text)}, expected a number that fits in 64 bits")
    return value


_NAMES = 16


def listed(names: Iterable[object]) -> str:
    """Names out of a record, for a line of a message: however many there are, and whatever is in them."""
    found = list(names)
    words = [
        name if isinstance(name, str) and name.isprintable() and len(name) <= 60 else shown(name) for name in found
    ]
    return ", ".join(words[:_NAMES]) + (f" and {len(found) - _NAMES} more" if len(found) > _NAMES else "")


# --- Values out of a record. All raise `ValueError`, naming the value. ---


def part(record: Mapping[str, Any], key: str, name: str) -> Any:
    """What a record called `name` says of `key`."""
    if key not in record:
        raise ValueError(f"{name}.{key} is missing")
    return record[key]


def whole(value: Any, name: str, least: int = 0, most: int = (1 << 63) - 1) -> int:
    """A whole number, from 0 to 2⁶³ - 1 unless said otherwise."""
    if type(value) is not int or not least <= value <= most:
        raise _wrong(name, value, "a whole number, not negative" if least == 0 else f"a whole number from {least} on")
    return value


def flag(value: Any, name: str) -> int:
    """0 or 1."""
    if type(value) is not int or value not in (0, 1):
        raise _wrong(name, value, "0 or 1")
    return value


def number(value: Any, name: str) -> float:
    """Finite, whole or not."""
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) is int and abs(value) < 1 << 1000:
        return float(value)
    raise _wrong(name, value, "a finite number")


def text(value: Any, name: str) -> str:
    """Text that UTF-8 can hold."""
    if isinstance(value, str) and is_utf8(value):
        return value
    raise _wrong(name, value, "text")


def is_utf8(word: str) -> bool:
    """Whether UTF-8 can hold it: JSON, and Python from a system's bytes, may have halves of characters."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def mapping(value: Any, name: str) -> dict[str, Any]:
    """An object."""
    if not isinstance(value, dict):
        raise _wrong(name, value, "an object")
    return value


def listing(value: Any, name: str) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise _wrong(name, value, "a list")
    return value


def numbers(value: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Finite numbers in lists of this shape."""
    try:
        found = np.asarray(value)
    except (ValueError, OverflowError, RecursionError):
        found = np.asarray(None)  # lists of different lengths
    if found.dtype.kind not in "iuf" or found.shape != shape or not np.isfinite(found).all():
        what = f"{found.dtype} of shape {found.shape}" if found.dtype.kind in "iuf" else reprlib.repr(value)
        raise ValueError(f"{name}: found {what}, expected finite numbers of shape {shape}")
    return found


def _wrong(name: str, value: Any, expected: str) -> ValueError:
    return ValueError(f"{name}: found {reprlib.repr(value)}, expected {expected}")
