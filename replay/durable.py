"""Files that are written whole or not at all, and never through a link.

A name in a folder from somebody else may be a symbolic link to a file that the user values. So a file is written under
a name that nobody can know before, made anew (`O_EXCL | O_NOFOLLOW`), and renamed: that replaces whatever has the name,
a link itself and never what it points to.
"""

from __future__ import annotations

import errno
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

    An exception inside the block removes it and leaves `path` as it was. `permissions` are reduced by the umask. An
    `OSError` names `path`, also where the system tells no name (a full disk) or that of the private file.
    """
    temporary = private_name(path)
    with naming(path, temporary):
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


_ON_WRITING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What the system says of a descriptor that is written to, without a name: no room, a quota, a limit, a bad disk."""


@contextmanager
def naming(path: Path, private: Path | None = None) -> Iterator[None]:
    """An `OSError` of writing to `path` that leaves the block names it: so do those that name no file, or `private`,
    which stands for it."""
    try:
        yield
    except OSError as error:
        nameless = error.filename is None and error.errno in _ON_WRITING
        if nameless or (private is not None and error.filename in (str(private), private)):
            error.filename = str(path)
        raise


def private_name(path: Path) -> Path:
    """A name beside `path` that nobody else has or knows: hidden, and ending in `.partial`."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")


def create(path: Path, permissions: int = 0o666) -> int:
    """The descriptor, for writing and reading, of a file that is new. Raises `FileExistsError` where anything has the
    name, a link that leads nowhere among them."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, permissions)


def sync(path: Path) -> None:
    """Flush a file or folder to the disk; of a folder: the names in it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
