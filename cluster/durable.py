"""A run's files: written whole or not at all and through no link, read only where they are regular files."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from cluster.errors import RunError
from replay.durable import naming, private_name, write_text

JSON_LIMIT = 64 * 2**20
"""Bytes of a JSON file that are read at most: none that a run writes comes near."""
LINES_LIMIT = 2**28
"""Bytes of a file of lines that are read at most: some million records."""
DEEPEST = 100
"""Levels of lists and objects in each other: what is written has a dozen."""
LINE_LIMIT = 2**20
"""Bytes of one line."""
_BLOCK = 2**16
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


def private_folder(path: Path) -> Path:
    """An empty folder beside `path`, under a name that nobody else knows, to be renamed to it."""
    private = private_name(path)
    private.mkdir()
    return private


def remove_private(folder: Path, names: str = "*") -> None:
    """What killed processes left in a folder under private names of `names`, a pattern. Whoever calls it is the only
    one that writes them."""
    for left in folder.glob(f".{names}.partial"):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


class Appended:
    """A file that grows at its end. What `append` could not write as a whole is not in it."""

    def __init__(self, path: Path) -> None:
        """The file, made where there is none. Raises `RunError` for a link, and for anything but a regular file."""
        self.path = path
        self._descriptor = _opened(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def append(self, content: bytes) -> None:
        """Raises `RunError`, naming the file, where there is no room; the file is then as it was."""
        before, left = self.size(), memoryview(content)
        try:
            with naming(self.path):
                while left:
                    left = left[os.write(self._descriptor, left) :]
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._descriptor, before)
            raise told(error) from error

    def truncate(self, size: int) -> None:
        with naming(self.path):
            os.ftruncate(self._descriptor, size)

    def sync(self) -> None:
        """Through to the disk. Raises as `append` does."""
        try:
            with naming(self.path):
                os.fsync(self._descriptor)
        except OSError as error:
            raise told(error) from error

    def end_of_lines(self, before: int) -> int:
        """The place behind the last line end among the first `before` bytes: 0 where there is none."""
        end = min(before, self.size())
        while end > 0:
            start = max(0, end - _BLOCK)
            found = os.pread(self._descriptor, end - start, start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
        return 0

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_bytes(path: Path, limit: int | None = None) -> bytes:
    """All of a file of at most `limit` bytes. Raises `FileNotFoundError`, and `RunError` for a link, a file that is
    larger or has no room in memory, and anything but a regular file: a pipe never ends, and neither does /dev/zero."""
    with os.fdopen(_opened(path, os.O_RDONLY), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if limit is not None and size > limit:
            raise RunError(f"{path}: has {size:,} bytes, expected at most {limit:,}; restore the file.")
        room = _free_memory()
        if room is not None and size > room:
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
    """A JSON value in UTF-8. Raises `ValueError` and `RecursionError` for anything else, for one of more than
    `DEEPEST` levels, and, where all its numbers are to be `finite`, for NaN and numbers beyond a float's."""
    text = content.decode()
    value = json.loads(text, parse_constant=_no_number, parse_float=_finite) if finite else json.loads(text)
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return value
    raise ValueError(f"more than {DEEPEST} levels of lists and objects in each other")


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is too large for a number")
    return number


def _free_memory() -> int | None:
    """Bytes that programs may still take, where the system tells."""
    try:
        with open("/proc/meminfo", encoding="ascii") as table:
            found = dict(line.split(":", 1) for line in table if ":" in line)
        return 1024 * sum(int(found[name].split()[0]) for name in ("MemAvailable", "SwapFree"))
    except (OSError, KeyError, ValueError, IndexError):
        return None


def told(error: OSError, path: Path | None = None) -> OSError | RunError:
    """What to raise for a file of a run that goes on once there is room again; of any other trouble, the error."""
    if error.errno not in _UNWRITABLE:
        return error
    return NoRoomError(str(path or error.filename), str(error.strerror))


def _opened(path: Path, flags: int) -> int:
    try:
        # Without waiting: to open a pipe would last until somebody opens its other end.
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise RunError(_unexpected(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RunError(_unexpected(path))
    return descriptor


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
