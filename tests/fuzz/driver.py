"""Deals mutations to processes, and sees when one of them ends or does not answer."""

from __future__ import annotations

import importlib
import itertools
import math
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path

from tests.fuzz.outcomes import Job, Outcome, Result
from tests.fuzz.target import Target
from tests.fuzz.worker import Worker, base_name

_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Limits:
    workers: int = 2
    hang: float = 10.0
    """Seconds after which a mutation counts as a hang."""
    memory: int = 1 << 30
    """Bytes that a mutation may take."""
    seconds: float = 600.0
    """After which no further mutation begins."""


class _Hand:
    """A worker's process, and what it has to do."""

    def __init__(self, number: int, work: Path, targets: dict[str, Target], limits: Limits) -> None:
        self.home = work / f"worker-{number}"
        self._targets, self._limits, self._bases = targets, limits, work / "bases"
        self.job: Job | None = None
        self._start()

    def _start(self) -> None:
        self.orders, theirs = _FORK.Pipe()
        self.process = _FORK.Process(target=self._work, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()

    def _work(self, orders: Connection) -> None:
        self.orders.close()
        Worker(self.home, self._bases, self._targets, self._limits.memory).serve(orders, self._limits.hang)

    def give(self, job: Job) -> None:
        self.job, self.began = job, math.inf
        self.orders.send(job)

    def late(self) -> bool:
        return self.job is not None and time.monotonic() - self.began > self._limits.hang

    def answer(self) -> Result | None:
        """The result; None where the mutation begins only now. Where the process has ended, that is a result, and
        another process takes its place."""
        assert self.job is not None
        try:
            result = self.orders.recv()
            if result is None:
                self.began = time.monotonic()
                return None
            assert isinstance(result, Result)
        except EOFError:
            self.process.join()
            code = self.process.exitcode or 0
            how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
            result = self._ended(Outcome.CRASH, how)
        self.job = None
        return result

    def stop_late(self) -> Result:
        self.process.kill()
        self.process.join()
        result = self._ended(Outcome.HANG, "no answer")
        self.job = None
        return result

    def _ended(self, outcome: Outcome, how: str) -> Result:
        assert self.job is not None
        log = (self.home / "log").read_text(errors="replace") if (self.home / "log").exists() else ""
        frames = [line.strip() for line in log.splitlines() if line.strip().startswith("File ")]
        ours = [f for f in frames if any(f"/{part}/" in f for part in ("replay", "learners", "envs", "cluster"))]
        place = ours[0] if ours else frames[0] if frames else ""
        change = (self.home / "change").read_text(errors="replace") if (self.home / "change").exists() else ""
        self.orders.close()
        self._start()
        return Result(self.job, outcome, change, log[-1500:], f"{how} {place}", max(0.0, time.monotonic() - self.began))

    def end(self) -> None:
        self.process.kill()
        self.process.join()


def fuzz(
    targets: Sequence[Target],
    jobs: Iterable[Job],
    work: Path,
    limits: Limits,
    told: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """The result of each job, in the order in which they came. `work` is an empty folder to work in."""
    by_name = {target.name: target for target in targets}
    for module in sorted({module for target in targets for module in target.modules}):
        importlib.import_module(module)
    os.environ["QUIVER_CACHE"] = str(work / "cache")
    make_bases(targets, work / "bases")
    hands = [_Hand(number, work, by_name, limits) for number in range(limits.workers)]
    results: list[Result] = []
    ends = time.monotonic() + limits.seconds
    # A target's mutations go to one process, which then opens the good input once; who has none left takes others'.
    of_hand = {target.name: number % len(hands) for number, target in enumerate(targets)}
    waiting: list[deque[Job]] = [deque() for _ in hands]
    for job in jobs:
        waiting[of_hand[job.target]].append(job)

    def take(result: Result) -> None:
        results.append(result)
        told(result)

    try:
        while True:
            for hand, own in zip(hands, waiting, strict=True):
                left = own or max(waiting, key=len)
                if hand.job is None and left and time.monotonic() < ends:
                    hand.give(left.popleft())
            busy = {hand.orders: hand for hand in hands if hand.job is not None}
            if not busy:
                return results
            ready = wait(list(busy), timeout=0.2)
            for orders, hand in busy.items():
                if orders in ready and (result := hand.answer()) is not None:
                    take(result)
            for hand in hands:
                if hand.late():
                    take(hand.stop_late())
    finally:
        for hand in hands:
            hand.end()


def deal(targets: Sequence[Target], seed: int, count: int) -> Iterator[Job]:
    """`count` jobs, dealt to all targets in turn by their shares: whatever ends early has tried all of them."""
    numbers = {target.name: 0 for target in targets}
    for done in itertools.count(1):
        for target in targets:
            while numbers[target.name] < target.share * done:
                if sum(numbers.values()) == count:
                    return
                yield Job(target.name, seed, numbers[target.name])
                numbers[target.name] += 1


def make_bases(targets: Sequence[Target], bases: Path) -> None:
    """Writes the good input of each target, in a process of its own: what it starts is not forked."""
    makers = {base_name(target): target.make for target in targets}
    log = bases.with_name("bases.log")
    process: ForkProcess = _FORK.Process(target=_make, args=(makers, bases, log))
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(f"a good input could not be made:\n{log.read_text()}")


def _make(makers: dict[str, Callable[[Path], None]], bases: Path, log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    for name, make in makers.items():
        shutil.rmtree(bases / name, ignore_errors=True)
        (bases / name).mkdir(parents=True)
        make(bases / name)
