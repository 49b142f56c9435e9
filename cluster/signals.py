"""Signals that end a command: SIGTERM and SIGHUP end it as Ctrl-C does, and a second one ends it at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SAME = 1.0
"""Seconds within which a second signal is the same one: `timeout` sends it to a process and again to its group."""


class EndingSignals:
    """While this is entered, each of `ENDING` raises `KeyboardInterrupt` in the main thread, so that all clean up.

    A further signal ends the process without that. What is ignored stays ignored: `nohup` wants no SIGHUP. Outside the
    main thread, where Python handles no signals, nothing changes.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        """The first signal that came."""
        self._since = 0.0
        self._process = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> EndingSignals:
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                before = signal.getsignal(number)
                if before not in (signal.SIG_IGN, None):
                    self._before[number] = before
                    signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    @property
    def status(self) -> int:
        """The exit status of a process that a signal ended: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
        return 128 + (signal.SIGINT if self.received is None else self.received)

    def describe(self) -> str:
        """What the signal did, in a few words."""
        if self.received in (None, signal.SIGINT):
            return "interrupted"
        return f"ended by {signal.Signals(self.received or signal.SIGINT).name}"

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            # A child that was forked, of an environment or a library: it ends as it would have without us.
            signal.signal(number, self._before[number])
            signal.raise_signal(number)
            return
        if self.received is None:
            self.received, self._since = number, time.monotonic()
            raise KeyboardInterrupt
        if time.monotonic() - self._since > SAME:
            os._exit(self.status)


@contextlib.contextmanager
def handlers_kept() -> Iterator[None]:
    """Whatever is called in here (Ray takes SIGTERM for itself) leaves the handlers of `ENDING` as they were.

    A SIGTERM that Ray answered meanwhile, by `SystemExit`, is given to the handler from before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING}

    def restore() -> None:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)

    try:
        yield
    except SystemExit as ending:
        restore()
        if ending.code == signal.SIGTERM:
            signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        restore()
