"""A row of the tables: an input that is bad, and what is said of it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

SECONDS = 10.0
"""Of the processor: a refusal takes less."""
PATIENCE = 60
"""Seconds by the clock, however busy the machine is."""


@dataclass(frozen=True)
class Material:
    """Good things that bad inputs are made of; nobody writes to them."""

    data: Path
    """A dataset of Pendulum-v1: six episodes of four steps."""
    run: Path
    """A run of bc, trained on it for eight steps, with two checkpoints."""
    fine: Path
    """A fine-tuning run of iql."""


Prepare = Callable[[Path, Material], Any]
"""Puts what is bad into the fresh folder in which the command runs."""


@dataclass(frozen=True)
class Row:
    name: str
    words: str
    """The command line, as for a shell; `{data}`, `{run}` and `{fine}` are those of the material."""
    says: str
    """What a line of the message matches: it names file, option or field, and what to do."""
    prepare: Prepare | None = None
    status: int = 2
    lines: int = 1
    """One for each mistake."""


class _TooLongError(BaseException):
    pass


def complaint(row: Row, material: Material, folder: Path) -> str:
    """What is wrong with how the row's input is refused; nothing, mostly. `folder` is empty."""
    from cluster import cli

    if row.prepare is not None:
        row.prepare(folder, material)
    words = [word.format(**vars(material)) for word in shlex.split(row.words)]
    before, said, began = listing(folder), io.StringIO(), time.process_time()
    try:
        with _within(folder), contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            status: Any = cli.main(words)
    except SystemExit as error:
        status = error.code
    except _TooLongError:
        return f"took more than {PATIENCE} s"
    except Exception as error:
        return f"raised {type(error).__name__}: {str(error)[:200]}"
    if (seconds := time.process_time() - began) > SECONDS:
        return f"took {seconds:.0f} s"
    return _judged(row, status, said.getvalue()) or ("" if listing(folder) == before else _left(before, folder))


def listing(folder: Path) -> set[tuple[str, int]]:
    """Every path below a folder, and its size."""
    return {
        (os.path.relpath(path, folder), os.lstat(path).st_size)
        for where, folders, files in os.walk(folder)
        for name in (*folders, *files)
        if (path := os.path.join(where, name)) and name != "__pycache__" and "__pycache__" not in where
    }


def _judged(row: Row, status: Any, said: str) -> str:
    if status != row.status:
        return f"exit status {status}, and said {said[-300:]!r}"
    if "Traceback" in said:
        return f"said {said[-300:]!r}"
    # Notes may come before it.
    _, found, message = said.rpartition("error: ")
    if found:
        lines = message.strip().splitlines()
        if len(lines) != row.lines:
            return f"{len(lines)} lines: {message[:300]!r}"
        said = message
    # A usage message is a box, which breaks its lines.
    plain = re.sub(r"[\s│╭╮╰╯─]+", " ", said)
    return "" if re.search(row.says, plain) else f"said {plain[-300:]!r}"


def _left(before: set[tuple[str, int]], folder: Path) -> str:
    changed = sorted(name for name, _ in listing(folder) ^ before)
    return f"left behind or changed: {', '.join(changed[:5])}"


@contextlib.contextmanager
def _within(folder: Path) -> Iterator[None]:
    """In the folder, and no longer than `PATIENCE`."""
    here = Path.cwd()

    def late(number: int, frame: FrameType | None) -> None:
        raise _TooLongError

    old = signal.signal(signal.SIGALRM, late)
    signal.alarm(PATIENCE)
    os.chdir(folder)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
        os.chdir(here)


def table(command: str, *rows: tuple[Any, ...]) -> list[Row]:
    """Rows of one command line, each (name, further words, message), and what `Row` has besides."""
    return [Row(name, f"{command} {words}", says, *rest) for name, words, says, *rest in rows]
