"""How files come onto the disk: whole or not at all, and never through a link.

A name in a folder from somebody else may be a symbolic link to a file that the user values. So a file is written under
a name that nobody can know before, made anew (`O_EXCL | O_NOFOLLOW`), and renamed: that replaces whatever has the name,
a link itself and never what it points to. A folder is made in the same way (`replay/new_folder.py`), and a file that
records are appended to takes each of them whole or not at all (`Appended`).
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import secrets
import shutil
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


def private_folder(path: Path) -> Path:
    """An empty folder beside `path`, under a private name, to be renamed to it. Raises `OSError`."""
    private = private_name(path)
    private.mkdir()
    return private


def remove_private(folder: Path, names: str = "*") -> None:
    """What killed processes left in a folder under the private names of `names`, a pattern as in a shell. Whoever calls
    it is the only one that writes them. A link is none of them and stays, and none is followed.

    (Earlier versions gave no token to a private name.)"""
    private = re.compile(rf"\.{fnmatch.translate(names)[:-2]}(\.[0-9a-f]{{16}})?\.partial")
    with os.scandir(folder) as entries:
        left = [entry for entry in entries if private.fullmatch(entry.name) and not entry.is_symlink()]
    for entry in left:
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            Path(entry.path).unlink(missing_ok=True)


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


class Appended:
    """A file that content is appended to. What `append` could not write as a whole is not in it.

    Every `OSError` names the file.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        """`descriptor`: of the file at `path`, opened with `APPENDING`; it is closed by `close`."""
        self.path = path
        self._descriptor = descriptor

    def size(self) -> int:
        """Bytes."""
        return os.fstat(self._descriptor).st_size

    def append(self, content: bytes) -> None:
        """Raises `OSError` where there is no room; the file is then as it was."""
        before, left = self.size(), memoryview(content)
        try:
            with naming(self.path):
                while left:  # once, unless the disk is full
                    left = left[os.write(self._descriptor, left) :]
        except BaseException:
            with suppress(OSError):
                os.ftruncate(self._descriptor, before)
            raise

    def truncate(self, size: int) -> None:
        """Cut off what lies behind the first `size` bytes."""
        with naming(self.path):
            os.ftruncate(self._descriptor, size)

    def sync(self) -> None:
        """Through to the disk."""
        with naming(self.path):
            os.fsync(self._descriptor)

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
        """May be called again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


APPENDING = os.O_RDWR | os.O_APPEND
"""How a file is opened that is appended to."""
_BLOCK = 2**16
