"""Damaged datasets are refused with the file's name, never sampled."""

import shutil

import numpy as np
import pytest

import replay
from replay import DataError


@pytest.fixture
def dataset(write, episode):
    return write([episode(number, 9) for number in range(4)])


def shard(dataset, number=2):
    return dataset.shards[number]["core"].path


def flip(path, position=None):
    """Change one byte: at `position`, or of the number 203, which is an observation and a reward of episode 2."""
    data = bytearray(path.read_bytes())
    data[data.index(np.float32(203).tobytes()) if position is None else position] ^= 0xFF
    path.write_bytes(data)


def sample_all(dataset):
    return dataset.sample(seed=0, sequence=0, count=200)


def test_a_missing_file(dataset):
    shard(dataset).unlink()
    with pytest.raises(DataError, match=r"00002\.core\.arrow: the file is missing"):
        replay.open(dataset.path)


def test_a_truncated_file(dataset):
    path = shard(dataset)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=rf"00002\.core\.arrow: found {size - 100} bytes, expected {size}"):
        replay.open(dataset.path)


def test_a_file_of_the_right_size_that_is_not_arrow(dataset):
    path = shard(dataset)
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(DataError, match=r"00002\.core\.arrow: not a whole Arrow file"):
        replay.open(dataset.path)


def test_a_changed_byte_is_found_when_the_shard_is_first_used_or_on_request(dataset):
    flip(shard(dataset))
    with pytest.raises(DataError, match=r"00002\.core\.arrow: found sha256 .* the content has changed"):
        replay.open(dataset.path, verify=True)
    with pytest.raises(DataError, match=r"00002\.core\.arrow: found sha256 .* the content has changed"):
        sample_all(replay.open(dataset.path))


def test_a_copy_of_another_shard_is_refused(dataset):
    shutil.copy(shard(dataset, 1), shard(dataset))
    with pytest.raises(DataError, match="the content has changed"):
        sample_all(replay.open(dataset.path))


@pytest.mark.parametrize("table", ["shards.arrow", "episodes.arrow"])
def test_a_changed_table(dataset, table):
    flip(dataset.path / table, -300)
    with pytest.raises(DataError, match=rf"{table}: found sha256"):
        replay.open(dataset.path)


def test_a_dataset_whose_writing_never_ended(dataset):
    (dataset.path / "dataset.json").unlink()
    with pytest.raises(DataError, match=r"no dataset\.json in it"):
        replay.open(dataset.path)


def test_a_refused_shard_leaves_the_store_usable(dataset):
    view = dataset.view()
    store = replay.Store(view)
    rows = replay.locate(view, view.starts[:-1])
    hidden = shard(dataset).with_suffix(".away")
    shard(dataset).rename(hidden)
    with pytest.raises(DataError, match="missing"):
        store.gather(rows, replay.Request())
    assert store.gather(rows.take([0, 1, 3]), replay.Request()).reward.tolist() == [0, 100, 300]
    hidden.rename(shard(dataset))
    assert store.gather(rows, replay.Request()).reward.tolist() == [0, 100, 200, 300]
