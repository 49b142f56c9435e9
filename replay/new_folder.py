"""A folder in the making: at a private name until it is whole, then at its own; or nothing."""

from __future__ import annotations

import errno
import glob
import os
import shutil
from pathlib import Path
from types import TracebackType

from replay.durable import private_folder, remove_private, sync
from replay.errors import DataError
from replay.locks import Lock
from replay.rename import rename_to_free_name


class NewFolder:
    """Makes the folder `path`; a context manager.

        with NewFolder("logs/maze") as new:
            (new.partial / "notes.txt").write_text("…")
            new.publish()

    Everything is written to `partial`, a fresh folder beside the target whose name nobody else has, and renamed when
    it is whole; without `publish`, or after an exception, it is removed. From `open` to `close` the lock
    `.<name>.lock` beside the target keeps other writers of the same target out. Only a process that is killed leaves
    its private folder and the lock file behind: the lock has ended with it, and the next writer removes both.

    `open` raises `LockedError`, which names the holder, where another writer is at work, and `DataError` for a target
    that exists or a disk that refuses.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        name = os.fspath(path)
        if not name or "\0" in name:
            raise DataError(f"folder: found {name!r}, expected a name; give the new folder one.")
        self.path = Path(path).absolute()
        self._lock: Lock | None = None
        self._partial: Path | None = None

    @property
    def partial(self) -> Path:
        """Where to write, while it is open."""
        if self._partial is None:
            raise DataError(f"{self.path}: is not being written; open the folder first.")
        return self._partial

    @property
    def is_open(self) -> bool:
        return self._lock is not None

    def open(self) -> NewFolder:
        if self.is_open:
            raise DataError(f"{self.path}: is open already; open it once.")
        self._check_free()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = Lock(self.path.parent / f".{self.path.name}.lock", str(self.path), remove=True)
            # Another writer may have finished between the look and the lock.
            self._check_free()
            # What writers left that were killed: whoever made it held the lock.
            remove_private(self.path.parent, glob.escape(self.path.name))
            self._partial = private_folder(self.path)
        except OSError as error:
            self.close()
            raise disk_error(self.path, error) from error
        except BaseException:
            self.close()
            raise
        return self

    def publish(self) -> None:
        """Through to the disk, then to its name. Raises `DataError` if that was taken meanwhile, and for a disk that
        refuses; `close` then removes what was written."""
        partial = self.partial
        try:
            for folder in (*(entry for entry in partial.iterdir() if entry.is_dir()), partial):
                sync(folder)
            rename_to_free_name(partial, self.path)
            self._partial = None
            sync(self.path.parent)
        except FileExistsError as error:
            raise DataError(f"{self.path}: was made by somebody else meanwhile; name another folder.") from error
        except OSError as error:
            raise disk_error(self.path, error) from error

    def close(self) -> None:
        """Remove what was not published, and let others write. May be called again."""
        if self._partial is not None:
            shutil.rmtree(self._partial, ignore_errors=True)
            self._partial = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> NewFolder:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_free(self) -> None:
        if os.path.lexists(self.path):
            raise DataError(f"{self.path}: exists already; name another folder, or remove it first.")


def disk_error(path: Path, error: OSError) -> DataError:
    """What to tell when the disk refuses."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DataError(f"{path}: the disk is full ({error.strerror}); free some space. Nothing was left behind.")
    return DataError(f"{path}: cannot be written ({error.strerror or error}). Nothing was left behind.")
