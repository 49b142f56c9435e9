"""A run's folder, held by one driver: the lock, what may be begun there, and what a refused run takes back."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from cluster import checkpoint, durable
from cluster.errors import DivergedError, RunError
from cluster.run_folder import RunFolder
from cluster.settings import PATH
from envs import EnvError
from learners.errors import LearnerError
from replay.errors import DataError
from replay.locks import Lock
from replay.online.journal import JOURNAL, STORE

LOCK = "run.lock"

_DATASET = ("dataset.json", STORE)
"""Files of which a dataset's folder has one."""
_TRIES = 100
"""To take the lock, while others make the folder and remove it. Some file systems, as /proc, take no file at all."""

REFUSALS = (DataError, EnvError, LearnerError, DivergedError)
"""What only another command can mend. After anything else that ends a run, it goes on with --resume."""


class Claim:
    """The folder of a run, new or resumed, which nobody else writes to until this ends; a context manager.

        with Claim(Path("runs/maze"), resume=False) as claim:
            …every check…
            claim.begin(config)
            …

    The lock is taken before anything else is touched, and ends with the process. Where the block is left before
    `begin`, the folder is then as it was: a refused command, or an interrupted one, leaves nothing behind. So it is
    where a new run is refused after it, before it has recorded anything.

    Raises `LockedError`, naming the holder, where another process has the folder; `RunError` for a new run where one
    has begun, for one to resume where there is none, and for a folder that links lead out of.
    """

    def __init__(self, run: Path, *, resume: bool) -> None:
        self.folder, self.resumed = RunFolder(run), resume
        self.before: dict[str, Any] | None = None
        """The configuration of the run that goes on."""
        self._made: list[Path] = []
        self._begun = False

    def __enter__(self) -> Claim:
        try:
            self._lock = self._take()
            try:
                self._check()
            except BaseException:
                self._lock.release()
                raise
        except BaseException:
            self._remove_folders()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and (not self._begun or self._refused(error)):
            self._take_back()
            if isinstance(error, KeyboardInterrupt) and not self.resumed:
                error.args = ("Nothing had begun, and nothing is left behind: give the same command again.",)
        self._lock.release()
        self._remove_folders()

    def begin(self, config: dict[str, Any]) -> None:
        """Every check has passed: from here on this is a run, or goes on being one."""
        self.folder.write_config(config)
        self._begun = True

    def _take(self) -> Lock:
        path = self.folder.path
        PATH.check(str(path), "--run")
        if not self.resumed and Path.cwd().is_relative_to(os.path.realpath(path)):
            raise RunError(
                f"--run {path}: holds the folder that you are in, expected a folder of its own; name another, such as "
                "runs/maze."
            )
        try:
            for _ in range(_TRIES):
                self._make_folders()
                with suppress(FileNotFoundError):
                    return Lock(path / LOCK, str(path), remove=True)
                # Another command was refused here, and has just removed the folder that it had made.
        except OSError as error:
            raise RunError(
                f"--run {path}: cannot be written ({error.strerror or error}); name another folder."
            ) from error
        raise RunError(f"--run {path}: no file can be made in it; name another folder.")

    def _check(self) -> None:
        folder = self.folder
        folder.check_places()
        self._present = {path for path in folder.written if path.exists()}
        if self.resumed:
            self.before = folder.read_config()
        elif dataset := next((name for name in _DATASET if os.path.lexists(folder.path / name)), None):
            raise RunError(
                f"--run {folder.path}: holds a dataset ({dataset}), expected a folder of its own: name another."
            )
        elif folder.config in self._present:
            raise RunError(
                f"{folder.path}: holds a run already. Continue it with --resume, or give --run another folder."
            )
        elif self._present:
            found = ", ".join(sorted(path.name for path in self._present))
            raise RunError(
                f"{folder.path}: holds {found} of a run whose config.json is missing. Restore that, or give --run "
                "another folder."
            )
        for name in ("config.json", "summary.json"):
            durable.remove_private(folder.path, f"{name}*")

    def _refused(self, error: BaseException | None) -> bool:
        """Whether a new run ends before there is anything of it to go on with."""
        folder = self.folder
        return (
            isinstance(error, REFUSALS)
            and not self.resumed
            and not checkpoint.available(folder.checkpoints)
            and not _holds_something(folder.metrics)
            and not _holds_something(folder.online / JOURNAL)
        )

    def _take_back(self) -> None:
        for path in self.folder.written:
            if path in self._present:
                continue
            with suppress(OSError):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()

    def _make_folders(self) -> None:
        path = self.folder.path
        for place in (*reversed(path.parents), path):
            try:
                place.mkdir()
                self._made.append(place)
            except FileExistsError:
                if not place.is_dir():
                    raise RunError(f"--run {path}: {place} is no folder; name another.") from None
            except OSError:
                if not place.is_dir():  # a read-only file system says so of folders that are there, too
                    raise

    def _remove_folders(self) -> None:
        """Those made for a run that has not begun; a folder that holds anything stays."""
        for place in reversed(self._made):
            with suppress(OSError):
                place.rmdir()


def _holds_something(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
