"""A folder in the making: nobody sees it before it is whole, and nobody else writes to its name meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import replay
from replay import Box, DataError, DatasetWriter, OnlineStore, Spaces, operations
from replay import rename as renaming
from replay.ingest import ingest
from replay.locks import LockedError
from replay.new_folder import NewFolder
from replay.rename import rename_to_free_name

SPACES = Spaces(Box((3,)), Box((2,)))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with NewFolder(tmp_path / "deep" / "made") as new:
        (new.partial / "file").write_text("whole")
        assert not new.path.exists()
        new.publish()
        assert (new.path / "file").read_text() == "whole"
    assert names(tmp_path / "deep") == ["made"]

    def stopped() -> None:
        with NewFolder(tmp_path / "other") as new:
            (new.partial / "file").write_text("half")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        stopped()
    assert names(tmp_path) == ["deep"]
    with pytest.raises(DataError, match="made: is not being written; open the folder first"):
        _ = new.partial


def test_a_second_writer_is_told_who_holds_the_name(tmp_path: Path) -> None:
    held = rf"made: is in use by process {os.getpid()} on .*, since 20.*; wait until it has ended"
    with NewFolder(tmp_path / "made"), NewFolder(tmp_path / "made.too"):
        with pytest.raises(LockedError, match=held), NewFolder(tmp_path / "made"):
            pass
        with pytest.raises(LockedError, match=held):
            ingest("hdf5:absent", tmp_path / "made")
        with pytest.raises(LockedError, match=held):
            OnlineStore.create(tmp_path / "made", SPACES, provenance={})
        with pytest.raises(LockedError, match=held), DatasetWriter(tmp_path / "made", SPACES, provenance={}):
            pass
    assert names(tmp_path) == []


def test_every_operation_asks_for_the_name_before_it_works(tmp_path: Path, write, episode, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    data = write([episode(0, 3), episode(1, 2)])

    def work(*_: object, **__: object) -> None:
        raise AssertionError("it worked before it asked")

    monkeypatch.setattr(operations, "_statistics", work)
    monkeypatch.setattr(operations, "check_files", work)
    attempts: list[Callable[[Path], object]] = [
        lambda out: operations.merge([data, data], out),
        lambda out: operations.filter(data, out, "length > 2"),
        lambda out: operations.split(data, out, {"train": 1.0}),
        lambda out: operations.relabel(data, out, work),  # type: ignore[arg-type]
        lambda out: operations.copy(data, out),
    ]
    with NewFolder(tmp_path / "made"):
        for attempt in attempts:
            with pytest.raises(LockedError, match="made: is in use by process"):
                attempt(tmp_path / "made")
    assert names(tmp_path) == ["data"]


def test_a_name_that_is_taken_meanwhile_stays_what_it_is(tmp_path: Path) -> None:
    """An empty folder too, which a plain rename would replace without a word."""
    for number, take in enumerate((Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere"))):
        path = tmp_path / f"made-{number}"
        with NewFolder(path) as new:
            (new.partial / "file").touch()
            take(path)
            with pytest.raises(DataError, match=r"made-.: was made by somebody else meanwhile; name another folder"):
                new.publish()
    assert names(tmp_path) == ["made-0", "made-1", "made-2"]
    assert names(tmp_path / "made-0") == []


@pytest.mark.parametrize("native", [True, False])
def test_rename_fails_where_there_is_anything(tmp_path: Path, native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not native:  # a file system without RENAME_NOREPLACE
        monkeypatch.setattr(renaming, "_rename_no_replace", lambda source, target: False)
    source = tmp_path / "source"
    source.mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("empty", "file", "link"):
        with pytest.raises(FileExistsError):
            rename_to_free_name(source, tmp_path / name)
    rename_to_free_name(source, tmp_path / "target")
    assert names(tmp_path) == ["empty", "file", "link", "target"]


def test_without_such_a_rename_what_comes_between_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renaming, "_rename_no_replace", lambda source, target: False)
    rename = os.rename

    def late(source: Path, target: Path) -> None:
        (target / "theirs").touch()
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    (tmp_path / "source").mkdir()
    with pytest.raises(FileExistsError):
        rename_to_free_name(tmp_path / "source", tmp_path / "target")
    assert names(tmp_path / "target") == ["theirs"]


def test_leftovers_are_removed_and_links_are_not_followed(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "precious").touch()
    for name in (".made.0123456789abcdef.partial", ".made.partial"):
        (tmp_path / name).symlink_to(mine)
    dead = tmp_path / ".made.fedcba9876543210.partial"
    dead.mkdir()
    (dead / "link").symlink_to(mine)
    other = tmp_path / ".made.too.0123456789abcdef.partial"  # another dataset's, which may be at work
    other.mkdir()
    with NewFolder(tmp_path / "made") as new:
        assert not dead.exists()
        assert not new.partial.is_symlink()
        new.publish()
    assert (mine / "precious").exists()
    assert other.exists()
    (tmp_path / ".planted.lock").symlink_to(mine / "precious")
    with pytest.raises(DataError, match=r"planted.lock: is a link"), NewFolder(tmp_path / "planted"):
        pass


WRITE = """
import sys
import numpy as np
from replay import Box, DataError, DatasetWriter, Episode, Spaces

out, mark = sys.argv[1], float(sys.argv[2])
last = np.array([0, 0, 1], np.uint8)
one = Episode(np.full((4, 3), mark, np.float32), np.zeros((3, 2), np.float32), np.zeros(3, np.float32), 0 * last, last)
print("ready", flush=True)
sys.stdin.readline()
try:
    with DatasetWriter(out, Spaces(Box((3,)), Box((2,))), provenance={}, shard_bytes=1) as writer:
        for _ in range(20):
            writer.add(one)
        sys.stdin.readline()
        writer.finish()
except DataError as error:
    sys.exit(str(error))
"""


def writing(out: Path, mark: int) -> subprocess.Popen[str]:
    """A process that is about to write 20 episodes of observations `mark`, when it is told, and to finish, when it is
    told again."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(out), str(mark)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go on\n")
    process.stdin.flush()


def test_of_two_processes_at_once_one_writes_and_the_other_is_told(tmp_path: Path) -> None:
    for attempt in range(2):
        out = tmp_path / f"data-{attempt}"
        both = [writing(out, mark) for mark in (1, 2)]
        for process in both:
            tell(process)
        wait_until(lambda both=both: any(process.poll() is not None for process in both))
        loser, winner = sorted((0, 1), key=lambda number: both[number].poll() is None)
        told = both[loser].communicate()[1]
        assert (both[loser].returncode, both[winner].poll()) == (1, None)
        assert f"{out}: is in use by process {both[winner].pid} on " in told
        tell(both[winner])
        both[winner].communicate()
        assert both[winner].returncode == 0
        found = replay.open(out, verify=True)
        assert found.num_episodes == 20
        assert {float(found.episode(number).observation.mean()) for number in range(20)} == {winner + 1.0}
    assert names(tmp_path) == ["data-0", "data-1"]


def test_without_a_word_to_each_other_one_dataset_is_whole(tmp_path: Path) -> None:
    """Both as fast as they can: one may be done before the other begins."""
    both = [writing(tmp_path / "data", mark) for mark in (1, 2)]
    for process in both:
        tell(process)
        tell(process)
    told = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1], told
    assert "data: is in use by process" in "".join(told) or "data: exists already" in "".join(told)
    found = replay.open(tmp_path / "data", verify=True)
    assert len({float(found.episode(number).observation.mean()) for number in range(20)}) == 1
    assert names(tmp_path) == ["data"]


def test_a_writer_that_is_killed_blocks_nobody(tmp_path: Path, write, episode) -> None:  # type: ignore[no-untyped-def]
    process = writing(tmp_path / "data", 1)
    tell(process)
    wait_until(lambda: len(list(tmp_path.glob(".data.*.partial/shards/*"))) > 5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(names(tmp_path)) == 2
    assert write([episode(0, 3)]).num_episodes == 1
    assert names(tmp_path) == ["data"]


def wait_until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.005)
