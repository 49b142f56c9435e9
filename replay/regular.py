"""Reading files that somebody else may have put there: regular files only, no longer than is expected."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from replay.errors import DataError

LONGEST = 256 << 20
"""Bytes of a JSON record, or of a line of one: far more than any holds, and far less than a machine has memory."""

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """The descriptor of a regular file, which `O_CREAT` makes where there is none. Raises `DataError` for anything else
    that has the name, before it is opened (a pipe would hang, a device have no end, a link lead elsewhere), and
    `OSError` as the disk does."""
    try:
        _check(path, os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        if not flags & os.O_CREAT:
            raise
    # Neither flag does anything to a regular file; they are for what took its place meanwhile.
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    try:
        _check(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read(path: Path, longest: int = LONGEST) -> bytes:
    """All of a regular file. Raises `DataError` for one of more than `longest` bytes, and as `open_regular` does."""
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > longest:
            raise DataError(f"{path}: found {size} bytes, expected at most {longest}; restore the file from a copy.")
        return file.read(longest)


def _check(path: Path, status: os.stat_result) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise DataError(
            f"{path}: found {_KINDS.get(kind, 'something else')}, expected a regular file; put the file itself there "
            "(`cp -rL` copies a folder with files in the place of links)."
        )
