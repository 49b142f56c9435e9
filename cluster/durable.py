"""A run's files, written as `replay.durable` does and read only where they are regular files: with a run's errors."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster.errors import RunError
from replay import durable, records
from replay.durable import APPENDING, private_folder, remove_private, write_text
from replay.errors import DataError
from replay.memory import available_bytes
from replay.regular import open_regular

JSON_LIMIT = 64 * 2**20
"""Bytes of a JSON file that are read at most: none that a run writes comes near."""
LINES_LIMIT = 2**28
"""Bytes of a file of lines that are read at most: some million records."""
DEEPEST = 100
"""Lists and objects that others may stand in: what is written has a dozen."""
LINE_LIMIT = 2**20
"""Bytes of one line."""
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class NoRoomError(RunError):
    """A file of a run could not be written: the disk is full, or a quota reached."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: could not be written ({reason}). Make room, then continue with --resume.")
        self.reason = reason


def write_json(path: Path, record: Any) -> None:
    """Raises `RunError` for a record that is no JSON, `OSError` as the disk does; `path` is then as it was."""
    try:
        text = json.dumps(record, indent=1, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise RunError(
            f"{path}: cannot hold what belongs there ({error}); report how it came there as a defect."
        ) from error
    write_text(path, text + "\n")


class Appended(durable.Appended):
    """A run's file that content is appended to. Without room for it, its errors say how the run goes on."""

    def __init__(self, path: Path) -> None:
        """The file, made where there is none. Raises `RunError` for a link, and for anything but a regular file."""
        super().__init__(path, _opened(path, APPENDING | os.O_CREAT))

    def append(self, content: bytes) -> None:
        """Raises `RunError`, naming the file, where there is no room; the file is then as it was."""
        try:
            super().append(content)
        except OSError as error:
            raise told(error) from error

    def sync(self) -> None:
        """Through to the disk. Raises as `append` does."""
        try:
            super().sync()
        except OSError as error:
            raise told(error) from error


def read_bytes(path: Path, limit: int | None = None) -> bytes:
    """All of a file of at most `limit` bytes. Raises `FileNotFoundError`, and `RunError` for a link, a file that is
    larger or has no room in memory, and anything but a regular file: a pipe never ends, and neither does /dev/zero."""
    with os.fdopen(_opened(path, os.O_RDONLY), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if limit is not None and size > limit:
            raise RunError(f"{path}: has {size:,} bytes, expected at most {limit:,}; restore the file.")
        if (room := available_bytes()) < size:
            raise RunError(
                f"{path}: has {size:,} bytes, and this machine has {room:,} of memory left; restore the file, or go to "
                "a machine that has more."
            )
        return file.read(size)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file. Raises as `read_bytes` does, and `RunError` for anything else."""
    try:
        record = parse_json(read_bytes(path, JSON_LIMIT))
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: not valid JSON ({error}); restore the file.") from error
    if not isinstance(record, dict):
        raise RunError(f"{path}: holds no JSON object; restore the file.")
    return record


def read_lines(path: Path, *, ended: bool = False) -> Iterator[tuple[int, Any]]:
    """The JSON values of a file of lines, each with its number, from 1 up. A line that is being written, or whose
    writing was interrupted, is not there yet: it is the last one, has no end, and, unless all are to be `ended`, is no
    JSON.

    Raises as `read_bytes` does, and `RunError`, naming the line, for any other that is no JSON.
    """
    lines = read_bytes(path, LINES_LIMIT).split(b"\n")
    for number, line in enumerate(lines, start=1):
        last = number == len(lines)
        if last and (ended or not line):
            return
        try:
            if len(line) > LINE_LIMIT:
                raise ValueError(f"it has {len(line):,} bytes, expected at most {LINE_LIMIT:,}")
            value = parse_json(line, finite=False)
        except (ValueError, RecursionError) as error:
            if last and line.startswith(b"{") and isinstance(error, ValueError):
                return
            raise RunError(
                f"{path}, line {number}: a line is no JSON ({error}); restore the file, or take that line out."
            ) from error
        yield number, value


def parse_json(content: bytes, *, finite: bool = True) -> Any:
    """A JSON value in UTF-8. Raises `ValueError` and `RecursionError` for anything else: see `records.parsed`."""
    return records.parsed(content, finite=finite, deepest=DEEPEST)


def told(error: OSError, path: Path | None = None) -> OSError | RunError:
    """What to raise for a file of a run that goes on once there is room again; of any other trouble, the error."""
    if error.errno not in _UNWRITABLE:
        return error
    return NoRoomError(str(path or error.filename), str(error.strerror))


def _opened(path: Path, flags: int) -> int:
    try:
        return open_regular(path, flags)
    except DataError as error:
        raise RunError(_unexpected(path)) from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):  # it took the file's place this moment
            raise RunError(_unexpected(path)) from error
        raise


def _unexpected(path: Path) -> str:
    kind = "a link" if path.is_symlink() else "no regular file"
    return f"{path}: is {kind}, and a run's own files are none; put the file itself in its place, or remove it."


__all__ = [
    "Appended",
    "NoRoomError",
    "parse_json",
    "private_folder",
    "read_bytes",
    "read_json",
    "read_lines",
    "remove_private",
    "told",
    "write_json",
    "write_text",
]
