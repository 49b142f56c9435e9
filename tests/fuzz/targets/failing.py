"""Doors that do what none may do, run only by name: the proof that the fuzzer sees it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from tests.fuzz.mutations.bytes import in_files
from tests.fuzz.target import Target


def make(folder: Path) -> None:
    (folder / "input").write_bytes(bytes(range(200)))


def _changed(folder: Path) -> bool:
    return (folder / "input").read_bytes() != bytes(range(200))


def raises(folder: Path) -> Any:
    if _changed(folder):
        raise KeyError("a field that is not there")


def crashes(folder: Path) -> Any:
    if _changed(folder):
        os.kill(os.getpid(), signal.SIGSEGV)


def hangs(folder: Path) -> Any:
    if _changed(folder):
        time.sleep(3600)


def takes_memory(folder: Path) -> Any:
    if _changed(folder):
        bytearray(3 << 30)


def allocates(folder: Path) -> Any:
    return b"\1" * ((5 << 30) if _changed(folder) else 1)


def reads_wrongly(folder: Path) -> Any:
    return (folder / "input").read_bytes()


def complains_of_nothing(folder: Path) -> Any:
    from replay.errors import DataError

    if _changed(folder):
        raise DataError("something is wrong")


def leaves(folder: Path) -> Any:
    from replay.errors import DataError

    if _changed(folder):
        (folder.parent / ".out.partial").write_text("half")
        raise DataError(f"{folder}: is not good")


DOORS = (raises, crashes, hangs, takes_memory, allocates, reads_wrongly, complains_of_nothing, leaves)
TARGETS = [
    Target(f"failing.{door.__name__}", make, (in_files("input"),), door, guarded=True, by_name=True) for door in DOORS
]
