"""A lock belongs to one process, names it, and ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from replay.errors import DataError
from replay.locks import Lock, LockedError

HOLD = """
import sys, pathlib
from replay.locks import Lock
lock = Lock(pathlib.Path(sys.argv[1]), "runs/a")
print("held", flush=True)
sys.stdin.read()
"""


def hold(path: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_another_process_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    holder = hold(tmp_path / "lock")
    try:
        with pytest.raises(LockedError, match=rf"runs/a: is in use by process {holder.pid} on .*, since 20"):
            Lock(tmp_path / "lock", "runs/a")
    finally:
        holder.kill()
        holder.wait()


def test_it_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    holder = hold(tmp_path / "lock")
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with Lock(tmp_path / "lock", "runs/a"):
        assert f"process {os.getpid()} on " in (tmp_path / "lock").read_text()


def test_released_it_can_be_taken_again_and_is_removed_if_asked(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    for remove in (False, True):
        lock = Lock(path, "runs/a", remove=remove)
        with pytest.raises(LockedError, match=f"in use by process {os.getpid()} on "):
            Lock(path, "runs/a")
        lock.release()
        lock.release()
        assert path.exists() is not remove


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("mine")
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    with pytest.raises(DataError, match="lock: is a link"):
        Lock(tmp_path / "lock", "runs/a")
    assert (tmp_path / "target").read_text() == "mine"


FORK = """
import multiprocessing, os, pathlib, sys, time
from replay.locks import Lock
lock = Lock(pathlib.Path(sys.argv[1]), "runs/a")
def live():
    print(os.getpid(), flush=True)  # told by the child itself, whose handlers of the fork have run
    time.sleep(60)
multiprocessing.get_context("fork").Process(target=live).start()
sys.stdin.read()
"""


def test_a_child_that_outlives_the_process_does_not_hold_it(tmp_path: Path) -> None:
    """As the environments' processes do, whose driver was killed in the middle of a step."""
    holder = subprocess.Popen(
        [sys.executable, "-c", FORK, str(tmp_path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    with pytest.raises(LockedError, match=f"process {holder.pid}"):
        Lock(tmp_path / "lock", "runs/a")
    holder.kill()
    holder.wait()
    try:
        os.kill(child, 0)  # it lives
        Lock(tmp_path / "lock", "runs/a").release()
    finally:
        os.kill(child, signal.SIGKILL)
