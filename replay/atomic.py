"""Files that are written whole or not at all, and never through a link.

A name in a folder from somebody else may be a symbolic link to a file that the user values. So a file is written under
a name that nobody can know before, made anew (`O_EXCL | O_NOFOLLOW`), and renamed: that replaces whatever has the name,
a link itself and never what it points to.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def write_text(path: Path, text: str) -> None:
    """Replace the file at `path` by one that holds `text` (UTF-8), through to the disk. Raises `OSError`."""
    with private_file(path) as file:
        file.write(text.encode())


@contextmanager
def private_file(path: Path, permissions: int = 0o666) -> Iterator[BinaryIO]:
    """A new file under a private name beside `path`; at the end it is flushed to the disk and takes the name `path`.

    An exception inside the block removes it and leaves `path` as it was. `permissions` are reduced by the umask.
    """
    temporary = private_name(path)
    file = os.fdopen(create(temporary, permissions), "wb")
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync(path.parent)


def private_name(path: Path) -> Path:
    """A name beside `path` that nobody else has or knows: hidden, and ending in `.partial`."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")


def create(path: Path, permissions: int = 0o666) -> int:
    """The descriptor, for writing, of a file that is new. Raises `FileExistsError` where anything has the name, a link
    that leads nowhere among them."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, permissions)


def sync(path: Path) -> None:
    """Flush a file or folder to the disk; of a folder: the names in it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
