"""What holds for every source: hooks, refusals, and that nothing half-written stays behind."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest

import replay
from replay import spaces
from replay.errors import DataError
from replay.ingest import ingest


def log(path, episodes=4, steps=3):
    """Episode e, step t: observation (10 e + t), reward 1."""
    rows = np.arange(episodes * steps)
    observations = (10.0 * (rows // steps) + rows % steps).astype(np.float32)[:, None]
    with h5py.File(path, "w") as file:
        file["observations"] = observations
        file["next_observations"] = observations + 1
        file["actions"] = np.zeros((len(rows), 2), np.float32)
        file["rewards"] = np.ones(len(rows), np.float32)
        file["terminals"] = rows % steps == steps - 1
    return f"hdf5:{path}"


def far(episode):
    """A reward for being far: the next observation itself; a success beyond 20."""
    reached = episode.observation[1:, 0]
    return replace(episode, reward=reached, success=bool(reached[-1] > 20))


def test_a_reward_function_labels_every_episode(tmp_path):
    ingest(log(tmp_path / "log.hdf5"), tmp_path / "out", reward=far)
    dataset = replay.open(tmp_path / "out")
    assert dataset.episodes["return"].tolist() == [6, 36, 66, 96]
    assert dataset.episodes["success"].tolist() == [0, 0, 1, 1]
    assert dataset.provenance["reward"] == {"from": "function far"}
    with pytest.raises(DataError, match=r"returned NoneType, expected an Episode"):
        ingest(log(tmp_path / "log.hdf5"), tmp_path / "other", reward=lambda episode: None)


def test_a_dataset_folder_is_a_source(tmp_path):
    ingest(log(tmp_path / "log.hdf5"), tmp_path / "first", validation_fraction=0.5, collected_by="a robot")
    report = ingest(tmp_path / "first", tmp_path / "second", reward=far)
    first, second = replay.open(tmp_path / "first"), replay.open(tmp_path / "second")
    assert (report.episodes, report.transitions) == (4, 12)
    assert second.episodes["return"].tolist() == [6, 36, 66, 96]
    assert second.episodes["split"].tolist() == first.episodes["split"].tolist()
    assert second.episodes["source"].tolist() == ["hdf5:log"] * 4
    assert second.provenance["collected_by"] == "a robot"
    assert (
        second.spaces
        == first.spaces
        == spaces.Spaces(spaces.Box((1,), "float32"), spaces.Box((2,), "float32", (-1.0,), (1.0,)))
    )


def test_progress_and_report(tmp_path):
    seen = []
    report = ingest(log(tmp_path / "log.hdf5"), tmp_path / "out", progress=lambda *numbers: seen.append(numbers))
    assert seen == [(3, 12), (6, 12), (9, 12), (12, 12)]
    assert report.lines()[1].startswith("12 transitions in 4 episodes, ")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("rosbag:x", r"'rosbag' is no kind of source; expected minari:, ogbench:, hdf5:, parquet: or a dataset folder"),
        ("hdf5:", r"names no data"),
        ("x.npz", r"no dataset folder .* Write ogbench:x.npz"),
        ("nowhere", r"nowhere: is no dataset folder"),
    ],
)
def test_unknown_sources_are_refused(tmp_path, source, message):
    with pytest.raises(DataError, match=message):
        ingest(source, tmp_path / "out")


def test_an_existing_target_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=r"out: exists already; name another folder, or remove it first"):
        ingest("hdf5:absent", tmp_path / "out")


def test_options_that_mean_nothing_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"hdf5: does not use the option success_timing"):
        ingest(log(tmp_path / "log.hdf5"), tmp_path / "out", success_timing="pre")
    with pytest.raises(DataError, match=r"observations are no dictionary"):
        ingest(log(tmp_path / "log.hdf5"), tmp_path / "out", observation="arm")


def test_when_every_episode_is_damaged_there_is_no_dataset(tmp_path):
    source = log(tmp_path / "log.hdf5")
    with h5py.File(tmp_path / "log.hdf5", "a") as file:
        file["rewards"][...] = np.nan
    with pytest.raises(DataError, match=r"every episode is damaged; the first: .*episode 0"):
        ingest(source, tmp_path / "out", quarantine=True)
    assert [path.name for path in tmp_path.iterdir()] == ["log.hdf5"]


KILLED = """
import sys, time
from replay.ingest import ingest

def progress(done, total):
    if done == 9:
        print("written", flush=True)
        time.sleep(60)

ingest(sys.argv[1], sys.argv[2], progress=progress, shard_bytes=64)
"""


def test_a_killed_ingest_leaves_no_dataset_and_the_next_succeeds(tmp_path):
    source = log(tmp_path / "log.hdf5")
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, source, str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
    (partial,) = tmp_path.glob(".out.*.partial")
    assert not (tmp_path / "out").exists()
    assert list((partial / "shards").iterdir())  # it was in the middle of writing
    with pytest.raises(DataError, match=r"not a dataset"):
        replay.open(partial)

    assert ingest(source, tmp_path / "out").transitions == 12
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.hdf5", "out"]
    assert replay.open(tmp_path / "out", verify=True).num_transitions == 12
