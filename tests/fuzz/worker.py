"""A process that tries one mutation after the other. Where one of them ends it, another process goes on."""

from __future__ import annotations

import faulthandler
import hashlib
import os
import re
import resource
import shutil
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.fuzz.outcomes import Job, Outcome, Result
from tests.fuzz.target import Target, UnchangedError

ROOT = Path(__file__).parents[2]


class Worker:
    """Has a folder to itself, with `job` in it: the mutated input, and what its door writes beside it."""

    def __init__(self, home: Path, bases: Path, targets: dict[str, Target], memory: int) -> None:
        self._home, self._bases, self._targets, self._memory = home, bases, targets, memory
        self._job = home / "job"
        self._contents: dict[str, str] = {}

    def serve(self, orders: Connection, hang: float) -> None:
        """Takes jobs and answers with results until it is told None."""
        self._home.mkdir(parents=True, exist_ok=True)
        log = os.open(self._home / "log", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        for descriptor in (1, 2):
            os.dup2(log, descriptor)
        faulthandler.enable(log)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        while (job := orders.recv()) is not None:
            os.ftruncate(log, 0)
            self.open_good_input(job)
            orders.send(None)  # from here on, time counts
            # Before the driver ends the process: it reads where the process stood.
            faulthandler.dump_traceback_later(0.9 * hang, file=log)
            orders.send(self.do(job))
            faulthandler.cancel_dump_traceback_later()

    def open_good_input(self, job: Job) -> None:
        """Once for each target: what it holds is what mutated inputs are compared with."""
        self._content(self._targets[job.target])

    def do(self, job: Job) -> Result:
        target = self._targets[job.target]
        original = self._content(target)
        folder, change = self._mutated(target, Random(f"{job.seed}/{job.target}/{job.number}"))
        (self._home / "change").write_text(change, errors="replace")  # for whoever finds the process gone
        before, began = _listing(self._job), time.monotonic()
        _forget_peak()
        held = _status("VmRSS")
        # What libraries have taken for themselves meanwhile is not this mutation's.
        resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + 2 * self._memory, resource.RLIM_INFINITY))
        try:
            found = digest(target.open(folder))
        except BaseException as error:
            outcome, what, kind = self._judge(target, error, before, folder)
        else:
            what = kind = ""
            outcome = Outcome.EQUAL if found == original else Outcome.WRONG if target.guarded else Outcome.OTHER
        grown = _status("VmHWM") - held
        if grown > self._memory:
            outcome, kind = Outcome.MEMORY, f"{grown >> 20} MiB taken ({outcome}) {kind}"
        return Result(job, outcome, change, what, kind, time.monotonic() - began)

    def _judge(self, target: Target, error: BaseException, before: set[str], folder: Path) -> tuple[Outcome, str, str]:
        from cluster import cli
        from cluster.plain_text import plain_text

        if isinstance(error, SystemExit) and error.code == 2:
            return Outcome.REFUSED, "usage", ""
        if isinstance(error, MemoryError):
            return Outcome.MEMORY, _trace(error), f"MemoryError {_place(error)}"
        if not isinstance(error, cli.expected()):
            return Outcome.TRACEBACK, _trace(error), f"{type(error).__name__} {_place(error)}"
        message = plain_text(cli.message(error))
        if not target.writes and (left := sorted(_listing(self._job) - before)):
            return Outcome.LEFT, f"{message}\nleft behind: {left}", f"{left[0]} {_place(error)}"
        wanted = target.names or re.escape(str(folder))
        lines = message.split("\n")
        if not all(re.search(wanted, line) for line in lines) or max(map(len, lines)) > 2000:
            return Outcome.UNCLEAR, message, f"{type(error).__name__} {_place(error)}"
        return Outcome.REFUSED, message, ""

    def _content(self, target: Target) -> str:
        """What the door gives for the good input."""
        if target.name not in self._contents:
            self._contents[target.name] = digest(target.open(self._fresh(target)))
        return self._contents[target.name]

    def _mutated(self, target: Target, random: Random) -> tuple[Path, str]:
        """A fresh input with one change, of those that apply to it; what was done."""
        for _ in range(20):
            folder = self._fresh(target)
            try:
                return folder, random.choice(target.mutations)(folder, random)
            except UnchangedError:
                continue
        return self._fresh(target), "nothing"

    def _fresh(self, target: Target) -> Path:
        os.chdir(self._home)  # a door may have gone elsewhere
        shutil.rmtree(self._job, ignore_errors=True)
        self._job.mkdir(parents=True)
        shutil.copytree(self._bases / base_name(target), self._job / "input", symlinks=True)
        return self._job / "input"


def base_name(target: Target) -> str:
    return f"{target.make.__module__}.{target.make.__qualname__}"


def digest(content: Any) -> str:
    """A hash of what was read: of text, bytes, numbers, arrays, and lists and dictionaries of them."""
    hashed = hashlib.sha256()

    def take(value: Any) -> None:
        hashed.update(type(value).__name__.encode())
        if isinstance(value, dict):
            for key in sorted(value, key=repr):
                take(key)
                take(value[key])
        elif isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
            hashed.update(f"{len(value)}".encode())
            for entry in value:
                take(entry)
        elif isinstance(value, np.ndarray | np.generic):
            hashed.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
        else:
            hashed.update(value if isinstance(value, bytes) else repr(value).encode("utf-8", "surrogatepass"))

    take(content)
    return hashed.hexdigest()


def _listing(folder: Path) -> set[str]:
    """Names of all that lies in a folder, but for what Python caches of modules."""
    return {
        os.path.relpath(os.path.join(where, name), folder)
        for where, folders, files in os.walk(folder)
        for name in (*folders, *files)
        if "__pycache__" not in where and name != "__pycache__"
    }


def _place(error: BaseException) -> str:
    """The last line of ours that it passed, and where it comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if any(f.filename.startswith(f"{ROOT}/{part}/") for part in _PACKAGES)]
    inner = ours[-1] if ours else frames[-1]
    return f"at {os.path.relpath(inner.filename, ROOT)}:{inner.lineno} ({inner.name})"


_PACKAGES = ("replay", "learners", "envs", "cluster")


def _trace(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error, limit=-6))
    except Exception:
        return f"{type(error).__name__} that cannot be shown"


def _status(name: str) -> int:
    """Bytes, by this process's status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    return 0


def _forget_peak() -> None:
    """VmHWM begins anew."""
    Path("/proc/self/clear_refs").write_text("5")
