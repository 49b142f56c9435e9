"""A bound on how long an environment may take over one call, and words for one that does not come back from it."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from envs import watcher
from envs.errors import EnvError, EnvStalledError, is_number, shown

MISUSED = 2
"""The exit status of what can be put right."""


class Overdue(BaseException):
    """Raised inside a call that took too long. An environment's own `except Exception` does not stop it."""


@dataclass(frozen=True)
class Patience:
    """How long one call of an environment (its construction, a reset, a step) may take."""

    seconds: float = 600.0
    """After which the call is ended, by `EnvStalledError`; 0: never."""
    told_after: float = 60.0
    """After which standard error has a note of where it hangs."""
    grace: float = 10.0
    """Seconds for the call to end, after which the process is ended; after as many again it is killed."""
    tells_end: bool = True
    """Standard error has a line, too, where a call ends the process. Where somebody else tells that, it is not said."""
    remedy: str = ""
    """How to go on, where the process ends."""

    def __post_init__(self) -> None:
        for name in ("seconds", "told_after", "grace"):
            value = getattr(self, name)
            if not is_number(value) or not 0.0 <= value <= 1e9:
                raise EnvError(f"{name}: found {shown(value)}, expected a number of seconds, 0 to 1e9.")


class Watch:
    """Tells a process of its own (`envs.watcher`) which call is under way; a context manager around such calls.

        with watch:
            watch.begin("environment X, seed 3", 5)
            env.step(action)
            watch.end()

    That process costs a few milliseconds to start, at the first use, and a microsecond for each call. It ends with
    this one, or with `close`. Without patience nothing is watched. Inside, and in the main thread alone, a call that
    takes too long raises `Overdue`; one that listens to nothing, and any in another thread, ends the process with
    status 2, once `cleaning_up` has been called from a thread.
    """

    def __init__(self, patience: Patience | None, cleaning_up: Callable[[], None] | None = None) -> None:
        self._patience, self._cleaning_up = patience, cleaning_up
        self._shared: mmap.mmap | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._count, self._depth = 0, 0
        self._before: Any = None
        self._text, self._length = "", 0

    def begin(self, where: str, step: int) -> None:
        """A call begins. `step` is from 1 on, or one of the watcher's words for what is no step."""
        if self._shared is None:
            return
        if where != self._text:
            self._text = where
            text = _visible(f"{where}\0{self._patience.remedy if self._patience else ''}")
            self._shared[watcher.STATE.size : watcher.STATE.size + len(text)] = text
            self._length = len(text)
        self._count = (self._count | 1) + 2
        watcher.STATE.pack_into(self._shared, 0, self._count, step, 0, self._length)

    def end(self) -> None:
        """The call is over."""
        if self._shared is not None:
            self._count = (self._count + 1) & ~1
            watcher.COUNT.pack_into(self._shared, 0, self._count)

    def __enter__(self) -> Watch:
        if self._patience is None:
            return self
        if self._shared is None:
            self._start(self._patience)
        if self._depth == 0 and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(watcher.SIGNAL, self._handle)
        self._depth += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._patience is None:
            return
        self.end()
        self._depth -= 1
        if self._depth == 0 and self._before is not None:
            signal.signal(watcher.SIGNAL, self._before)
            self._before = None
        if isinstance(error, Overdue):
            raise EnvStalledError(str(error)) from None

    def close(self) -> None:
        """A later use starts it again."""
        process, self._process, self._shared = self._process, None, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            assert process.stdin is not None
            process.stdin.write(watcher.ENDED)
            process.stdin.close()
        process.wait()

    def _start(self, patience: Patience) -> None:
        with tempfile.TemporaryFile() as memory:
            memory.truncate(watcher.SIZE)
            self._shared = mmap.mmap(memory.fileno(), watcher.SIZE)
            status, told = os.pipe()
            limits = (patience.told_after, patience.seconds, patience.grace)
            command = [sys.executable, "-I", "-S", str(Path(watcher.__file__)), str(memory.fileno()), str(os.getpid())]
            command += [*map(repr, map(float, limits)), str(told), str(int(patience.tells_end))]
            # Until it ignores Ctrl-C, which reaches all processes of a terminal, it shall not be ended by it.
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    bufsize=0,
                    pass_fds=(memory.fileno(), told),
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
                os.close(told)
        threading.Thread(target=self._end_when_told, args=(status,), name="quiver_env_watch", daemon=True).start()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Raises `Overdue` for the call that the watcher has given up, if it is still under way."""
        if self._shared is not None:
            count, _, given_up, _ = watcher.STATE.unpack_from(self._shared, 0)
            if count % 2 and count == given_up:
                seconds = 0.0 if self._patience is None else self._patience.seconds
                where = watcher.place(self._shared)
                raise Overdue(
                    f"{where} has not come back for {seconds:g} s (--env-timeout; 0 waits for ever). Look at the "
                    "environment, and at what it waits for."
                )
        if callable(self._before):
            self._before(number, frame)

    def _end_when_told(self, status: int) -> None:
        """In a thread: the main one does not come back to hear of anything."""
        with open(status, "rb", buffering=0) as pipe:
            if pipe.read(1) != watcher.ENDED:
                return
        if self._cleaning_up is not None:
            with contextlib.suppress(Exception):
                self._cleaning_up()
        sys.stdout.flush()
        os._exit(MISUSED)


@contextlib.contextmanager
def watching(id: str, patience: Patience | None) -> Iterator[None]:
    """While an environment is made, and looked at, in here."""
    watch = Watch(patience)
    try:
        with watch:
            watch.begin(f"environment {id}", watcher.CONSTRUCTION)
            yield
    finally:
        watch.close()


def _visible(text: str) -> bytes:
    """In ASCII, without characters that a terminal obeys, and in as many bytes as there is room for."""
    plain = "".join(
        character if character.isprintable() or character == "\0" else repr(character)[1:-1] for character in text
    )
    return plain.encode("ascii", "backslashreplace")[: watcher.SIZE - watcher.STATE.size]
