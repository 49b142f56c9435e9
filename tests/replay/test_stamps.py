"""A file is hashed once, and anew whenever it may have changed: whoever copies or changes it cannot bring a stamp."""

import multiprocessing
import os
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest

import replay
from replay import DataError, operations, shard, stamps
from replay.ingest import ingest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The folder of an empty cache. Files are remembered though they were written just now."""
    monkeypatch.delenv("QUIVER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setattr(stamps, "SETTLED", 0)
    another_process(monkeypatch)
    return tmp_path / "caches" / "quiver"


@pytest.fixture
def dataset(write, episode):
    return write([episode(number, 9) for number in range(4)])


@pytest.fixture
def hashed(monkeypatch):
    """How many files were hashed to be checked, so far."""
    found, real = [], shard._sha256
    monkeypatch.setattr(shard, "_sha256", lambda descriptor: found.append(descriptor) or real(descriptor))
    return found


def another_process(monkeypatch):
    """Forget what only this process knows."""
    monkeypatch.setattr(stamps, "_known", set())
    monkeypatch.setattr(stamps, "_read", {})


def read_all(path):
    return replay.open(path).sample(seed=0, sequence=0, count=200)


def flip(dataset_path, name="00002.core.arrow"):
    """Change one byte of the number 203, an observation and a reward of episode 2, and put the times back."""
    path = dataset_path / "shards" / name
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(file.read().index(np.float32(203).tobytes()))
        file.write(b"\xff")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_mtime_ns, path.stat().st_size) == (before.st_mtime_ns, before.st_size)


def contents(folder):
    return {path.relative_to(folder): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


def test_a_file_is_hashed_once_by_all_processes_of_a_user(dataset, hashed, monkeypatch):
    read_all(dataset.path)
    assert len(hashed) == 4
    another_process(monkeypatch)
    read_all(dataset.path)
    assert len(hashed) == 4


def test_reading_writes_nothing_into_the_folder(dataset):
    before = contents(dataset.path)
    read_all(dataset.path)
    replay.open(dataset.path, verify=True)
    assert contents(dataset.path) == before


@pytest.mark.parametrize("same_process", [True, False])
def test_a_byte_changed_in_place_is_found_though_the_times_are_put_back(dataset, monkeypatch, same_process):
    read_all(dataset.path)
    flip(dataset.path)
    if not same_process:
        another_process(monkeypatch)
    with pytest.raises(DataError, match=r"00002\.core\.arrow: found sha256 .* the content has changed"):
        read_all(dataset.path)


def test_a_copy_is_verified_anew(dataset, hashed, tmp_path):
    read_all(dataset.path)
    copy = shutil.copytree(dataset.path, tmp_path / "copy", copy_function=shutil.copy2)
    read_all(copy)
    assert len(hashed) == 8


@pytest.mark.parametrize(
    "make",
    [
        lambda parent, out: ingest(parent, out),
        lambda parent, out: operations.relabel(replay.open(parent), out, lambda episode: episode),
        lambda parent, out: operations.filter(replay.open(parent), out, "return > 50"),
        lambda parent, out: operations.copy(replay.open(parent), out),
        lambda parent, out: next(replay.open(parent).scan(count=100)),
        lambda parent, out: replay.open(parent).episode(2),
        lambda parent, out: replay.Store(replay.open(parent).view(), stage=out).stage(),
    ],
    ids=["ingest", "relabel", "filter", "copy", "scan", "episode", "stage"],
)
def test_a_damaged_copy_is_read_by_nothing_and_has_no_child_that_verifies(dataset, tmp_path, make):
    read_all(dataset.path)
    damaged = shutil.copytree(dataset.path, tmp_path / "damaged", copy_function=shutil.copy2)
    flip(damaged)
    with pytest.raises(DataError, match=r"damaged/shards/00002\.core\.arrow: found sha256"):
        make(damaged, tmp_path / "out")
    assert not (tmp_path / "out" / "dataset.json").exists()


@pytest.mark.parametrize("operation", ["merge", "split"])
def test_what_only_refers_to_a_damaged_parent_does_not_verify(dataset, tmp_path, operation):
    flip(dataset.path)
    parent = replay.open(dataset.path)
    if operation == "merge":
        child = operations.merge([parent, parent], tmp_path / "child")
    else:
        child = operations.split(parent, tmp_path / "child", {"train": 1.0})
    with pytest.raises(DataError, match=r"00002\.core\.arrow: found sha256"):
        replay.open(child.path, verify=True)
    with pytest.raises(DataError, match=r"00002\.core\.arrow: found sha256"):
        read_all(child.path)


def test_a_staged_copy_that_was_changed_is_made_again(dataset, tmp_path, monkeypatch):
    view, local = dataset.view(), tmp_path / "local"
    replay.Store(view, stage=local).populate()
    name = f"{view.files[2]['core'].sha256}.arrow"
    (local / "shards").symlink_to(local)  # where `flip` looks
    flip(local, name)
    another_process(monkeypatch)
    replay.Store(view, stage=local).populate()
    assert (local / name).read_bytes() == view.files[2]["core"].path.read_bytes()


def test_a_file_that_is_written_to_while_it_is_hashed_is_not_vouched_for(dataset, hashed, monkeypatch):
    real = shard._sha256

    def interrupted(descriptor):
        found = real(descriptor)
        os.utime(f"/proc/self/fd/{descriptor}")
        return found

    monkeypatch.setattr(shard, "_sha256", interrupted)
    for times in (1, 2):
        read_all(dataset.path)
        assert len(hashed) == 4 * times


def test_a_file_changed_a_moment_ago_is_not_vouched_for(dataset, hashed, monkeypatch):
    """Another change within one tick of the clock would not move its time."""
    monkeypatch.setattr(stamps, "SETTLED", 10**12)
    for times in (1, 2):
        read_all(dataset.path)
        assert len(hashed) == 4 * times


def test_the_cache_is_the_users_alone(dataset, cache):
    read_all(dataset.path)
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert stat.S_IMODE((cache / "stamps").stat().st_mode) == 0o600
    assert [path.name for path in cache.iterdir()] == ["stamps"]
    assert [len(line) for line in (cache / "stamps").read_bytes().splitlines()] == [64] * 4


@pytest.mark.parametrize(
    ("damage", "lost"),
    [(b"", 0), (b"x" * 64 + b"\n", 0), (b"\xff\n" * 9 + b"torn", 1), (b"\0" * 1000, 1)],
    ids=["empty", "no stamp", "torn", "zeros"],
)
def test_a_damaged_cache_vouches_for_nothing_and_is_written_on(dataset, cache, hashed, monkeypatch, damage, lost):
    """A line that was cut off takes the next one with it."""
    read_all(dataset.path)
    (cache / "stamps").write_bytes(damage)
    for expected in (8, 8 + lost, 8 + lost):
        another_process(monkeypatch)
        read_all(dataset.path)
        assert len(hashed) == expected


def no_home(cache, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(Path, "home", lambda: Path("relative"))


def missing_home(cache, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(cache / "nowhere"))


def a_file_in_its_place(cache, monkeypatch):
    cache.parent.write_text("")


def a_folder_that_others_may_write_to(cache, monkeypatch):
    cache.mkdir(parents=True)
    cache.chmod(0o777)


def a_file_that_others_may_write_to(cache, monkeypatch):
    cache.mkdir(parents=True, mode=0o700)
    (cache / "stamps").touch()
    (cache / "stamps").chmod(0o666)


def a_pipe(cache, monkeypatch):
    cache.mkdir(parents=True, mode=0o700)
    os.mkfifo(cache / "stamps")


def a_link(cache, monkeypatch):
    cache.mkdir(parents=True, mode=0o700)
    (cache / "stamps").symlink_to(cache.parent / "precious")


def a_linked_folder(cache, monkeypatch):
    (cache.parent / "precious").mkdir(parents=True, mode=0o700)
    cache.symlink_to(cache.parent / "precious")


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "spoil",
    [
        no_home,
        missing_home,
        a_file_in_its_place,
        a_folder_that_others_may_write_to,
        a_file_that_others_may_write_to,
        a_pipe,
        a_link,
        a_linked_folder,
    ],
)
def test_without_a_cache_each_process_checks_once(dataset, cache, hashed, monkeypatch, spoil):
    spoil(cache, monkeypatch)
    before = contents(cache.parent) if cache.parent.is_dir() else None
    for times in (1, 2):
        for _ in range(2):
            read_all(dataset.path)
        assert len(hashed) == 4 * times
        another_process(monkeypatch)
    assert (contents(cache.parent) if cache.parent.is_dir() else None) == before


def test_the_folder_can_be_named(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("QUIVER_CACHE", str(tmp_path / "mine"))
    read_all(dataset.path)
    assert (tmp_path / "mine" / "stamps").exists()
    assert not (tmp_path / "caches").exists()


def test_the_cache_keeps_the_newest(cache, monkeypatch):
    monkeypatch.setattr(stamps, "MOST", 10)
    status = os.stat("/")
    made = [stamps.stamp(status, str(number)) for number in range(25)]
    for found in made:
        stamps.remember(found, status, status.st_ctime_ns)
    assert len((cache / "stamps").read_bytes().splitlines()) <= 10
    another_process(monkeypatch)
    assert [stamps.is_known(found) for found in made[-4:]] == [True] * 4
    assert not stamps.is_known(made[0])


def test_processes_may_remember_at_once(cache):
    status = os.stat("/")
    made = [[stamps.stamp(status, f"{process} {number}") for number in range(500)] for process in range(3)]

    def remember(part):
        for found in part:
            stamps.remember(found, status, status.st_ctime_ns)

    fork = multiprocessing.get_context("fork")
    running = [fork.Process(target=remember, args=(part,)) for part in made]
    for process in running:
        process.start()
    for process in running:
        process.join()
        assert process.exitcode == 0
    assert all(stamps.is_known(found) for part in made for found in part)
