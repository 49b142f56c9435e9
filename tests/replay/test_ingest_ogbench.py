"""OGBench files: no rewards inside, a final row in each trajectory, tasks from OGBench's own environments."""

import zipfile

import numpy as np
import pytest

import replay
from replay import spaces
from replay.errors import DataError
from replay.ingest import ingest
from replay.readers import Options, read
from replay.readers.npz import Npz

GOAL = (20.0, 20.0)
"""Of pointmaze-medium, task 1."""
AT_GOAL = (False, True, False, True, False, False, True)


def maze(path, **changes):
    """Trajectories of 3 transitions (rows 0 to 3) and 2 (rows 4 to 6); rows 1, 3 and 6 are at the goal."""
    where = np.array([GOAL if there else (0.0, 4.0 + row) for row, there in enumerate(AT_GOAL)], np.float32)
    columns = {
        "observations": where,
        "actions": np.linspace(-0.7, 0.7, 14, dtype=np.float32).reshape(7, 2),
        "terminals": np.array([0, 0, 0, 1, 0, 0, 1], bool),
        "qpos": where,
        "qvel": np.zeros_like(where),
        **changes,
    }
    np.savez_compressed(path, **{name: column for name, column in columns.items() if column is not None})
    return f"ogbench:{path}"


def test_without_a_task_rewards_are_zero(tmp_path):
    report = ingest(maze(tmp_path / "maze.npz"), tmp_path / "out")
    assert (report.episodes, report.transitions) == (2, 5)
    assert "reward: not in the source, 0 everywhere; name a single-task env to compute it" in report.notes
    dataset = replay.open(tmp_path / "out")
    assert dataset.spaces == spaces.Spaces(spaces.Box((2,), "float32"), spaces.Box((2,), "float32", (-1.0,), (1.0,)))
    first = dataset.episode(0)
    assert first.observation.tolist() == [[0, 4], [20, 20], [0, 6], [20, 20]]
    assert first.reward.tolist() == [0, 0, 0]
    assert first.truncated.tolist() == [0, 0, 1]
    assert dataset.episodes["success"].tolist() == [-1, -1]


@pytest.mark.parametrize(
    "env", ["pointmaze-medium-singletask-task1-v0", "pointmaze-medium-navigate-singletask-task1-v0"]
)
def test_a_task_gives_rewards_and_masks_that_do_not_end_trajectories(tmp_path, env):
    pytest.importorskip("ogbench")
    ingest(maze(tmp_path / "maze.npz"), tmp_path / "out", env=env)
    dataset = replay.open(tmp_path / "out")
    first, second = dataset.episode(0), dataset.episode(1)
    assert first.reward.tolist() == [-1, 0, -1]
    assert first.terminated.tolist() == [0, 1, 0]  # and the trajectory goes on
    assert second.reward.tolist() == [-1, -1]
    assert second.terminated.tolist() == [0, 0]
    assert dataset.episodes["success"].tolist() == [1, 0]
    assert dataset.provenance["env_spec"]["id"] == "pointmaze-medium-singletask-task1-v0"
    assert dataset.provenance["reward"]["task"] == 1
    assert dataset.provenance["reward"]["success_timing"] == "pre"


@pytest.mark.parametrize("block_rows", [1, 3, 100])
def test_rewards_may_belong_to_the_next_state(tmp_path, block_rows):
    pytest.importorskip("ogbench")
    options = Options(env="pointmaze-medium-singletask-task1-v0", success_timing="post", block_rows=block_rows)
    first, second = (episode for _, episode in read(maze(tmp_path / "maze.npz"), options).episodes)
    assert first.reward.tolist() == [0, -1, 0]
    assert first.terminated.tolist() == [1, 0, 1]
    assert first.truncated.tolist() == [0, 0, 0]
    assert second.reward.tolist() == [-1, 0]
    assert (first.success, second.success) == (True, True)


def test_wrong_environments_are_refused(tmp_path):
    pytest.importorskip("ogbench")
    source = maze(tmp_path / "maze.npz")
    with pytest.raises(DataError, match=r"no single task.*pointmaze-medium-singletask-v0"):
        ingest(source, tmp_path / "out", env="pointmaze-medium-v0")
    with pytest.raises(DataError, match=r"no environment .* Did you mean .*pointmaze-medium-singletask-task1-v0"):
        ingest(source, tmp_path / "out", env="pointmaze-medum-singletask-task1-v0")
    with pytest.raises(DataError, match=r"lacks qpos"):
        ingest(maze(tmp_path / "bare.npz", qpos=None), tmp_path / "out", env="pointmaze-medium-singletask-task1-v0")


def test_damaged_files_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"lacks terminals; found observations, actions, qpos, qvel"):
        ingest(maze(tmp_path / "a.npz", terminals=None), tmp_path / "out")
    with pytest.raises(DataError, match=r"different lengths"):
        ingest(maze(tmp_path / "b.npz", actions=np.zeros((6, 2), np.float32)), tmp_path / "out")
    with pytest.raises(DataError, match=r"observations: holds pickled objects"):
        ingest(maze(tmp_path / "c.npz", observations=np.array([{}] * 7)), tmp_path / "out")
    maze(tmp_path / "d.npz")
    data = (tmp_path / "d.npz").read_bytes()
    (tmp_path / "d.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"d.npz: is no .npz file"):
        ingest(f"ogbench:{tmp_path / 'd.npz'}", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_read_in_blocks(tmp_path, save):
    numbers = np.arange(70, dtype=np.float32).reshape(10, 7)
    save(tmp_path / "numbers.npz", numbers=numbers, flags=np.arange(10) % 2 == 0)
    with Npz(tmp_path / "numbers.npz") as npz:
        blocks = list(npz.blocks("numbers", 4))
        assert [len(block) for block in blocks] == [4, 4, 2]
        assert (np.concatenate(blocks) == numbers).all()
        assert np.concatenate(list(npz.blocks("flags", 3))).tolist() == [True, False] * 5


def test_a_damaged_member_is_named(tmp_path):
    np.savez(tmp_path / "numbers.npz", numbers=np.arange(1000.0))
    with zipfile.ZipFile(tmp_path / "numbers.npz") as archive:
        offset = archive.getinfo("numbers.npy").header_offset
    data = bytearray((tmp_path / "numbers.npz").read_bytes())
    data[offset + 4000] ^= 255
    (tmp_path / "numbers.npz").write_bytes(data)
    with Npz(tmp_path / "numbers.npz") as npz, pytest.raises(DataError, match=r"numbers: is damaged \(Bad CRC"):
        list(npz.blocks("numbers", 100))
