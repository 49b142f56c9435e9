"""A lock on a name in the file system: it ends with its process, however that ends, and says who holds it."""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import os
import socket
import time
from pathlib import Path
from types import TracebackType

from replay.errors import DataError


class LockedError(DataError):
    """Another process holds the lock. The message names it."""


class Lock:
    """Holds the lock file at `path` until `release`, or until the process ends; a context manager.

    The file is made where there is none, and says who holds it: process, machine and since when. `release` removes it
    where `remove` is set. Raises `LockedError` at once where somebody else holds it, and `DataError` where the file is
    a link or the file system has no locks. `what` begins every message: the folder that is locked, as the user named
    it.
    """

    def __init__(self, path: Path, what: str, *, remove: bool = False) -> None:
        self.path, self._remove = path, remove
        self._descriptor: int | None = None
        while self._descriptor is None:
            self._descriptor = self._take(what)
        os.ftruncate(self._descriptor, 0)
        since = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        os.pwrite(self._descriptor, f"process {os.getpid()} on {socket.gethostname()}, since {since}\n".encode(), 0)

    def release(self) -> None:
        """Let others have it. May be called again."""
        if self._descriptor is None:
            return
        if self._remove:
            with contextlib.suppress(OSError):
                self.path.unlink()
        os.close(self._descriptor)
        self._descriptor = None

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _take(self, what: str) -> int | None:
        """A descriptor that holds the lock; None where the file was removed by its last holder meanwhile."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise DataError(f"{self.path}: is a link, expected a lock file; remove it.") from error
            raise
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise LockedError(
                f"{what}: is in use by {holder or 'another process'}; wait until it has ended, or end it first."
            ) from error
        except OSError as error:
            os.close(descriptor)
            raise DataError(f"{self.path}: the file system takes no locks ({error.strerror}).") from error
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(self.path, follow_symlinks=False)):
                return descriptor
        os.close(descriptor)
        return None


def _holder(descriptor: int) -> str:
    """Who holds the lock, or nothing: who has just taken it writes its name a moment later."""
    for _ in range(20):
        holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
        if holder:
            return holder
        time.sleep(0.01)
    return ""
