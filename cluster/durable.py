"""A run's files: written whole or not at all and through no link, read only where they are regular files."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any, BinaryIO

from cluster.errors import RunError
from replay.atomic import private_name, write_text

JSON_LIMIT = 64 * 2**20
"""Bytes of a JSON file that are read at most: none that a run writes comes near."""


def write_json(path: Path, record: Any) -> None:
    write_text(path, json.dumps(record, indent=1, allow_nan=False) + "\n")


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


def open_to_append(path: Path) -> BinaryIO:
    """The file, made where there is none. Raises `RunError` for a link, and for anything but a regular file."""
    return os.fdopen(_opened(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), "ab")


def read_bytes(path: Path, limit: int | None = None) -> bytes:
    """All of a file of at most `limit` bytes. Raises `FileNotFoundError`, and `RunError` for a link, a larger file, and
    anything but a regular file: a pipe never ends, and neither does /dev/zero."""
    with os.fdopen(_opened(path, os.O_RDONLY), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if limit is not None and size > limit:
            raise RunError(f"{path}: has {size:,} bytes, expected at most {limit:,}; restore the file.")
        return file.read()


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file. Raises as `read_bytes` does, and `RunError` for anything else."""
    try:
        record = json.loads(read_bytes(path, JSON_LIMIT))
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: not valid JSON ({error}).") from error
    if not isinstance(record, dict):
        raise RunError(f"{path}: holds no JSON object; restore the file.")
    return record


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


__all__ = ["open_to_append", "private_folder", "read_bytes", "read_json", "remove_private", "write_json", "write_text"]
