"""HDF5 logs in D4RL's and robomimic's layouts."""

import json

import h5py
import numpy as np
import pytest

import replay
from replay import spaces
from replay.errors import DataError
from replay.ingest import ingest


def d4rl(path, **changes):
    """Two episodes, of 3 (terminated) and 2 (timed out) steps, then one step without an end."""
    observations = np.array([0, 1, 2, 10, 11, 20], np.float32)[:, None]
    columns = {
        "observations": observations,
        "next_observations": observations + 1,
        "actions": np.linspace(-1, 1, 12, dtype=np.float32).reshape(6, 2),
        "rewards": np.arange(6, dtype=np.float32),
        "terminals": np.array([0, 0, 1, 0, 0, 0], bool),
        "timeouts": np.array([0, 0, 0, 0, 1, 0], bool),
        **changes,
    }
    with h5py.File(path, "w") as file:
        file.attrs["env"] = "Line-v0"
        for name, column in columns.items():
            if column is not None:
                file[name] = column
    return f"hdf5:{path}"


def test_d4rl(tmp_path):
    report = ingest(d4rl(tmp_path / "log.hdf5"), tmp_path / "out", env="Line-v0", licence="CC-BY-4.0")
    assert (report.episodes, report.transitions, report.counts.dropped) == (3, 6, 0)
    dataset = replay.open(tmp_path / "out")
    assert dataset.episodes["length"].tolist() == [3, 2, 1]
    assert dataset.episodes["terminated"].tolist() == [1, 0, 0]
    assert dataset.episodes["truncated"].tolist() == [0, 1, 1]
    assert dataset.episodes["return"].tolist() == [3, 7, 5]
    assert dataset.episode(1).observation[:, 0].tolist() == [10, 11, 12]
    assert dataset.spaces.action == spaces.Box((2,), "float32", (-1.0,), (1.0,))
    provenance = dataset.provenance
    assert provenance["env_spec"]["id"] == "Line-v0"
    assert provenance["attributes"] == {"env": "Line-v0"}
    assert provenance["licence"] == "CC-BY-4.0"
    assert provenance["files"][0]["name"] == "log.hdf5"
    assert provenance["final_observation"].startswith("next_observation of the last row")


def test_without_next_observations_a_timeout_costs_a_transition(tmp_path):
    report = ingest(d4rl(tmp_path / "log.hdf5", next_observations=None), tmp_path / "out")
    assert (report.episodes, report.transitions) == (2, 4)
    assert (report.counts.dropped, report.counts.stand_ins) == (2, 1)
    dataset = replay.open(tmp_path / "out")
    assert dataset.episode(0).observation[:, 0].tolist() == [0, 1, 2, 2]
    assert dataset.episode(1).observation[:, 0].tolist() == [10, 11]
    assert "2 last transitions left out: their next observation is unknown" in report.lines()


def test_missing_rows_start_an_episode_and_are_counted(tmp_path):
    source = d4rl(tmp_path / "log.hdf5", timeouts=None)
    report = ingest(source, tmp_path / "out")
    assert (report.episodes, report.transitions, report.counts.discontinuities) == (3, 6, 1)
    assert "1 episodes cut where rows are missing" in report.lines()


def test_columns_under_other_names(tmp_path):
    source = d4rl(tmp_path / "log.hdf5", rewards=None)
    with h5py.File(tmp_path / "log.hdf5", "a") as file:
        file["infos/score"] = np.ones(6)
        file["infos/probability"] = np.linspace(0, 1, 6)
    with pytest.raises(DataError, match=r"no column for reward; found .*infos/score \(6,\)"):
        ingest(source, tmp_path / "out")
    ingest(source, tmp_path / "out", rename={"infos/score": "reward", "infos/probability": "behavior_logprob"})
    dataset = replay.open(tmp_path / "out")
    assert dataset.episodes["return"].tolist() == [3, 2, 1]
    assert dataset.episode(2).extras["behavior_logprob"].tolist() == [1]


@pytest.mark.parametrize(
    ("field", "name"), [("rewards", "reward"), ("observations", "observation"), ("actions", "action")]
)
def test_a_number_that_is_not_finite_is_refused_or_quarantined(tmp_path, field, name):
    source = d4rl(tmp_path / "log.hdf5")
    with h5py.File(tmp_path / "log.hdf5", "a") as file:
        file[field][3] = np.nan
    message = rf"log.hdf5: episode 1 \(rows 3 to 4\), {name}: NaN or infinite in 1 of . rows, first at step 0"
    with pytest.raises(DataError, match=message):
        ingest(source, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.hdf5"]

    report = ingest(source, tmp_path / "out", quarantine=True)
    assert (report.episodes, report.transitions, report.counts.quarantined) == (2, 4, 1)
    (reason,) = replay.open(tmp_path / "out").provenance["quarantined"]
    assert "episode 1 (rows 3 to 4)" in reason


def test_unequal_columns_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"different lengths.*'rewards': 5"):
        ingest(d4rl(tmp_path / "log.hdf5", rewards=np.zeros(5)), tmp_path / "out")


def test_actions_beyond_one_have_no_bounds(tmp_path):
    actions = np.linspace(-3, 2, 6, dtype=np.float32)[:, None]
    report = ingest(d4rl(tmp_path / "log.hdf5", actions=actions), tmp_path / "out")
    assert not replay.open(tmp_path / "out").spaces.action.bounded
    assert report.notes == ["action: no bounds in the source; from -3 to 2, outside [-1, 1]: left without bounds"]


def robomimic(path, *, following=True):
    """demo_2 of 2 steps and demo_10 of 3: in that order, though not by the alphabet."""
    with h5py.File(path, "w") as file:
        file.create_group("data").attrs["env_args"] = json.dumps({"env_name": "Lift"})
        for name, length in (("demo_10", 3), ("demo_2", 2)):
            demo = file.create_group(f"data/{name}")
            row = np.arange(length + 1, dtype=np.float64)
            picture = np.arange(length + 1, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 32, 32, 3), np.uint8)
            demo["actions"] = np.zeros((length, 7))
            demo["rewards"] = (np.arange(length) == length - 1).astype(np.float64)
            demo["dones"] = (np.arange(length) == length - 1).astype(np.int64)
            demo["obs/eef_pos"] = np.repeat(row[:-1, None], 3, axis=1)
            demo["obs/eye_image"] = picture[:-1]
            if following:
                demo["next_obs/eef_pos"] = np.repeat(row[1:, None], 3, axis=1)
                demo["next_obs/eye_image"] = picture[1:]
        file["mask/train"] = np.array([b"demo_10"])
        file["mask/valid"] = np.array([b"demo_2"])
        file["mask/20_percent"] = np.array([b"demo_2"])
    return f"hdf5:{path}"


def test_robomimic(tmp_path):
    report = ingest(robomimic(tmp_path / "low_dim.hdf5"), tmp_path / "out")
    assert (report.episodes, report.transitions) == (2, 5)
    dataset = replay.open(tmp_path / "out")
    assert dict(dataset.spaces.observation.items()) == {
        "eef_pos": spaces.Box((3,), "float32"),
        "eye_image": spaces.Image((32, 32, 3), "png"),
    }
    assert dataset.episodes["length"].tolist() == [2, 3]
    assert dataset.episodes["split"].tolist() == ["validation", "train"]
    assert dataset.episodes["task"].tolist() == ["Lift", "Lift"]
    assert dataset.episode(1).observation["eef_pos"][:, 0].tolist() == [0, 1, 2, 3]
    assert dataset.episode(1).terminated.tolist() == [0, 0, 1]
    assert "mask: 20_percent not kept; train, valid and test are splits" in report.notes


def test_robomimic_without_next_observations(tmp_path):
    report = ingest(robomimic(tmp_path / "low_dim.hdf5", following=False), tmp_path / "out", observation="eef_pos")
    assert (report.transitions, report.counts.stand_ins) == (5, 2)
    assert replay.open(tmp_path / "out").episode(1).observation[:, 0].tolist() == [0, 1, 2, 2]


def test_anything_else_is_refused_with_what_was_found(tmp_path):
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["states"] = np.zeros((4, 2))
    with pytest.raises(DataError, match=r"observation, action, reward, terminated; found states \(4, 2\)"):
        ingest(f"hdf5:{tmp_path / 'other.hdf5'}", tmp_path / "out")
    (tmp_path / "text.hdf5").write_text("no")
    with pytest.raises(DataError, match=r"text.hdf5: is no HDF5 file"):
        ingest(f"hdf5:{tmp_path / 'text.hdf5'}", tmp_path / "out")
    with pytest.raises(DataError, match=r"found nothing there, expected a file"):
        ingest(f"hdf5:{tmp_path / 'absent.hdf5'}", tmp_path / "out")
