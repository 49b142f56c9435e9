"""A lock on a name in the file system: it ends with its process, however that ends, and says who holds it."""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import os
import socket
import stat
import time
import weakref
from pathlib import Path
from types import TracebackType

from replay.durable import naming
from replay.errors import DataError


class LockedError(DataError):
    """Another process holds the lock. The message names it."""


class Lock:
    """Holds the lock file at `path` until `release`, or until the process ends; a context manager.

    The file is made where there is none, and says who holds it: process, machine and since when. `release` removes it
    where `remove` is set. Raises `LockedError` at once where somebody else holds it, and `DataError` where the file is
    a link or the file system has no locks. `what` begins every message: the folder that is locked, as the user named
    it. A child that the process forks does not hold the lock: it ends with this process alone.
    """

    def __init__(self, path: Path, what: str, *, remove: bool = False) -> None:
        self.path, self._remove = path, remove
        self._descriptor: int | None = None
        _close_in_children(self)
        while self._descriptor is None:
            self._descriptor = self._acquire(what)
        since = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        try:
            with naming(path):
                os.ftruncate(self._descriptor, 0)
                os.pwrite(
                    self._descriptor, f"process {os.getpid()} on {socket.gethostname()}, since {since}\n".encode(), 0
                )
        except BaseException:
            self.release()
            raise

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

    def _acquire(self, what: str) -> int | None:
        """A descriptor that holds the lock; None where the file was removed by its last holder meanwhile."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise DataError(f"{self.path}: is a link, expected a lock file; remove it.") from error
            raise
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            os.close(descriptor)
            raise DataError(f"{self.path}: is a pipe, a device or a hard link, expected a lock file; remove it.")
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
            raise DataError(
                f"{self.path}: the file system takes no locks ({error.strerror}), without which two writers could "
                "destroy each other's work; name a folder on another one."
            ) from error
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(self.path, follow_symlinks=False)):
                return descriptor
        os.close(descriptor)
        return None

    def _forget(self) -> None:
        """In a child: close its copy of the descriptor, which would keep the lock when this process is killed."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


_locks: weakref.WeakSet[Lock] | None = None
"""The locks of this process, once there is one."""


def _close_in_children(lock: Lock) -> None:
    global _locks
    if _locks is None:
        _locks = weakref.WeakSet()
        os.register_at_fork(after_in_child=_forget_all)
    _locks.add(lock)


def _forget_all() -> None:
    for lock in list(_locks or ()):
        lock._forget()


def _holder(descriptor: int) -> str:
    """Who holds the lock, or nothing: who has just taken it writes its name a moment later."""
    for _ in range(20):
        holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
        if holder:
            return holder
        time.sleep(0.01)
    return ""
