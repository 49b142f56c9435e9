"""Flags are booleans, or exactly 0 and 1, wherever they come from; numbers are stored as they are, or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import replay
import replay.operations
from replay import Box, DataError, Discrete, Episode, Spaces
from replay.flags import as_flags
from replay.ingest import ingest

FLAT = {
    "observations": np.arange(6, dtype=np.float32)[:, None],
    "actions": np.zeros((6, 1), np.float32),
    "rewards": np.arange(6, dtype=np.float32),
    "terminals": np.array([0, 0, 1, 0, 0, 1], np.float32),
    "timeouts": np.zeros(6, bool),
}


def d4rl(path: Path, **changes: Any) -> str:
    with h5py.File(path, "w") as file:
        for name, column in {**FLAT, **changes}.items():
            file[name] = column
    return f"hdf5:{path}"


def robomimic(path: Path, dones: Any) -> str:
    with h5py.File(path, "w") as file:
        for number, flags in enumerate(([0, 0, 1], dones)):
            demo = file.create_group(f"data/demo_{number}")
            demo["dones"] = flags
            demo["obs/arm"], demo["actions"], demo["rewards"] = np.zeros((3, 2)), np.zeros((3, 1)), np.zeros(3)
    return f"hdf5:{path}"


def parquet(path: Path, **changes: Any) -> str:
    columns: dict[str, Any] = {
        "observation": [[float(i)] for i in range(6)],
        "action": [[0.0]] * 6,
        "terminated": [False, False, True] * 2,
        "episode_index": [4, 4, 4, 5, 5, 5],
    }
    pq.write_table(pa.table({n: c for n, c in {**columns, **changes}.items() if c is not None}), path)
    return f"parquet:{path}"


def npz(path: Path, terminals: Any) -> str:
    np.savez(path, observations=FLAT["observations"], actions=FLAT["actions"], terminals=terminals)
    return f"ogbench:{path}"


@pytest.mark.parametrize("values", [[False, True], [0, 1], [0.0, 1.0], [-0.0, 1.0], np.array([False, 1], object)])
def test_what_is_a_flag(values: Any) -> None:
    found = as_flags(np.asarray(values), "here")
    assert (found.tolist(), found.dtype) == ([0, 1], np.uint8)


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.0, np.nan], "nan"),
        ([0.0, 0.5], "0.5"),
        ([0.0, -1.0], "-1.0"),
        ([0, 2], "2"),
        (np.array([False, None], object), "None"),
        (np.array([False, "no"], object), "'no'"),
        (np.array([True, b"True"], object), "b'True'"),
    ],
)
def test_what_is_none(values: Any, shown: str) -> None:
    with pytest.raises(DataError, match=rf"here: found {shown} at row 8, expected a boolean, or exactly 0 or 1"):
        as_flags(np.asarray(values), "here", first=7)
    with pytest.raises(DataError, match=r"here: found 'no' at row 0"):
        as_flags(np.array(["no", "yes"]), "here")


BAD_SOURCES = {
    "d4rl terminals": (lambda p: d4rl(p, terminals=[0, 0, 1, 0, np.nan, 1]), r"f, terminals: found nan at row 4"),
    "d4rl timeouts": (lambda p: d4rl(p, timeouts=[0, 0.5, 0, 0, 0, 0]), r"f, timeouts: found 0.5 at row 1"),
    "d4rl text": (lambda p: d4rl(p, terminals=[b"no"] * 6), r"f, terminals: found text or objects \(object\)"),
    "d4rl pairs": (lambda p: d4rl(p, terminals=np.zeros((6, 2))), r"f, terminals: found shape \(6, 2\)"),
    "npz": (lambda p: npz(p.with_suffix(".npz"), [0, 0, 1, 0, 0.5, 1]), r"f.npz, terminals: found 0.5 at row 4"),
    "parquet without numbers": (
        lambda p: parquet(p, episode_index=None, terminated=[0.0, 0.0, 1.0, 0.0, np.nan, 1.0]),
        r"f, terminated: found nan at row 4",
    ),
}


@pytest.mark.parametrize("quarantine", [False, True])
@pytest.mark.parametrize("name", BAD_SOURCES)
def test_a_flag_that_nobody_can_tell_the_episode_of_is_refused(tmp_path: Path, name: str, quarantine: bool) -> None:
    make, message = BAD_SOURCES[name]
    source = make(tmp_path / "f")
    with pytest.raises(DataError, match=message):
        ingest(source, tmp_path / "out", quarantine=quarantine)
    assert len(list(tmp_path.iterdir())) == 1


BAD_EPISODES = {
    "robomimic": (lambda p: robomimic(p, [0, 0.5, 1]), r"f, data/demo_1/dones: found 0.5 at row 1"),
    "terminated": (
        lambda p: parquet(p, terminated=[0.0, 0.0, 1.0, 0.0, np.nan, 1.0]),
        r"f, terminated: found nan at row 4",
    ),
    "truncated": (lambda p: parquet(p, truncated=[0, 0, 0, 0, 2, 0]), r"f, truncated: found 2 at row 4"),
    "success": (
        lambda p: parquet(p, success=[0.0, 0.0, 1.0, 0.0, 0.0, 0.5]),
        r"f, success: found 0.5 at row 5",
    ),
}


@pytest.mark.parametrize("name", BAD_EPISODES)
def test_an_episode_with_such_a_flag_is_refused_or_left_out(tmp_path: Path, name: str) -> None:
    make, message = BAD_EPISODES[name]
    source = make(tmp_path / "f")
    with pytest.raises(DataError, match=message + r", expected .* ingest with quarantine"):
        ingest(source, tmp_path / "out")
    report = ingest(source, tmp_path / "out", quarantine=True)
    assert (report.episodes, report.counts.quarantined) == (1, 1)
    (reason,) = replay.open(tmp_path / "out").provenance["quarantined"]
    assert message.split(": ")[1] in reason
    assert replay.open(tmp_path / "out").episodes["terminated"].tolist() == [1]


def test_text_is_no_success(tmp_path: Path) -> None:
    source = parquet(tmp_path / "f", success=["True", "False", "False"] * 2)
    with pytest.raises(DataError, match=r"f, success: found 'True' at row 0"):
        ingest(source, tmp_path / "out")


def test_rows_of_a_later_file_are_named_by_that_file(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    parquet(tmp_path / "logs" / "a.parquet", truncated=[0] * 6)
    parquet(tmp_path / "logs" / "b.parquet", truncated=[0, 0, 0, 7, 0, 0])
    report = ingest(f"parquet:{tmp_path}/logs/*.parquet", tmp_path / "out", quarantine=True)
    assert (report.episodes, report.counts.quarantined) == (3, 1)
    assert "b.parquet, truncated: found 7 at row 3" in report.quarantined[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"episode_index": [4.0, 4.0, 4.5, 5.0, 5.0, 5.0]}, r"episode_index: found .*4.5.* at row 2, expected whole"),
        ({"frame_index": ["a", "b", "c"] * 2}, r"frame_index: found 'a' at row 0, expected whole numbers"),
    ],
)
def test_numbers_of_episodes_and_steps_are_whole(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ingest(parquet(tmp_path / "f", **changes), tmp_path / "out")


# --- Episodes that are handed over ---


SPACES = Spaces(Box((3,)), Box((2,), low=(-1.0,), high=(1.0,)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"terminated": np.array([0, np.nan, 0])}, r"here, terminated: found nan at step 1"),
        ({"truncated": np.array(["no", "no", "yes"])}, r"here, truncated: found 'no' at step 0"),
        ({"success": "False"}, r"here, success: found 'False', expected .* or None where it is unknown"),
        ({"success": 0.5}, r"here, success: found 0.5"),
        ({"success": float("nan")}, r"here, success: found nan"),
        ({"success": np.array([True])}, r"here, success: found array"),
    ],
)
def test_an_episode_with_flags_that_are_none_is_refused(episode: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        episode(0, 3, **changes).validate(SPACES, "here")


def test_what_a_reward_function_makes_of_flags_is_checked(tmp_path: Path, write: Any, episode: Any) -> None:
    data = write([episode(0, 3), episode(1, 3)])

    def harm(old: Episode) -> Episode:
        return replace(old, terminated=old.reward * 0.5) if old.reward[0] else old

    with pytest.raises(DataError, match=r"episode 1, terminated: found 50.0 at step 0"):
        ingest(data.path, tmp_path / "out", reward=harm)
    assert ingest(data.path, tmp_path / "out", reward=harm, quarantine=True).counts.quarantined == 1
    with pytest.raises(DataError, match=r"episode 1, terminated: found 50.0 at step 0"):
        replay.operations.relabel(data, tmp_path / "child", harm)


@pytest.mark.parametrize(("success", "stored"), [(None, -1), (True, 1), (np.bool_(False), 0), (1.0, 1), (0, 0)])
def test_success_is_kept_as_it_is(write: Any, episode: Any, success: Any, stored: int) -> None:
    assert write([episode(0, 3, success=success)]).episodes["success"].tolist() == [stored]


# --- Numbers ---


@pytest.mark.parametrize(
    ("space", "action", "message"),
    [
        (Discrete(2**63 + 1), np.array([0, 1, 2**63], np.uint64), r"found 9223372036854775808 at step 2, expected"),
        (Discrete(3), np.array([0, 1, 2**63], np.uint64), r"found 9223372036854775808 at step 2, expected"),
        (Box((), "int32"), np.array([0, 2**31, 1]), r"found 2147483648 at step 1, expected -2147483648 to 2147483647"),
        (Box((), "int8"), np.array([0, 1, 200], np.uint8), r"found 200 at step 2, expected -128 to 127"),
        (Box((2,), "uint8"), np.array([[0, 1]] * 2 + [[1, 256]], np.uint16), r"found 256 at step 2, expected 0 to 255"),
        (Discrete(3), np.array([0.0, 0.5, 1.0]), r"found 0.5 at step 1, expected a whole number"),
        (Discrete(3), np.array([0.0, 1.0, np.nan]), r"found nan at step 2, expected a whole number"),
        (Discrete(2**62), np.array([0.0, 1.0, 2.0**60]), r"found 1.*e\+18 at step 2, expected a whole number"),
        (Box((), "int32"), np.array([0.0, 1.0, 2.0]), r"found float64, expected int32"),
        (Box(()), np.array([0, 1, 2], "timedelta64[s]"), r"found timedelta64\[s\], expected float32"),
    ],
)
def test_numbers_that_would_be_stored_as_others_are_refused(
    episode: Any, space: Any, action: np.ndarray, message: str
) -> None:
    with pytest.raises(DataError, match=rf"here, action: {message}"):
        episode(0, 3, action=action).validate(Spaces(Box((3,)), space), "here")


def test_numbers_of_other_types_that_fit_are_kept(write: Any, episode: Any) -> None:
    whole = [np.array([0, 2, 1], kind) for kind in (np.uint64, np.int8, np.float32, np.float64)]
    data = write(
        [episode(n, 3, action=action) for n, action in enumerate(whole)], spaces=Spaces(Box((3,)), Discrete(3))
    )
    assert [data.episode(n).action.tolist() for n in range(4)] == [[0, 2, 1]] * 4


def test_unsigned_actions_of_a_log_beyond_int64_are_refused(tmp_path: Path) -> None:
    source = d4rl(tmp_path / "f", actions=np.array([0, 1, 0, 1, 0, 2**64 - 1], np.uint64))
    with pytest.raises(DataError, match=r"f, actions: found integers from 0 to 18446744073709551615, expected"):
        ingest(source, tmp_path / "out")
