"""Flat Parquet tables."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import replay
from replay import spaces
from replay.errors import DataError
from replay.ingest import ingest


def table(**changes):
    """Episode 4 of 3 steps (terminated), episode 5 of 2, episode 6 of 1."""
    columns = {
        "observation": [[float(i), 0.0] for i in range(6)],
        "action": [[0.1 * i] for i in range(6)],
        "reward": [float(i) for i in range(6)],
        "terminated": [False, False, True, False, False, False],
        "episode_index": [4, 4, 4, 5, 5, 6],
        **changes,
    }
    return pa.table({name: column for name, column in columns.items() if column is not None})


def write(path, **changes):
    pq.write_table(table(**changes), path)
    return f"parquet:{path}"


def test_episodes_by_number_and_flags(tmp_path):
    source = write(tmp_path / "log.parquet", task=list("aaabbc"), success=[0, 0, 1, 0, 0, 0], station=[1] * 6)
    report = ingest(source, tmp_path / "out")
    assert (report.episodes, report.transitions, report.counts.dropped, report.counts.stand_ins) == (2, 4, 2, 1)
    assert "not ingested: station; give a name with --rename to keep one" in report.notes
    dataset = replay.open(tmp_path / "out")
    assert dataset.spaces.observation == spaces.Box((2,), "float32")
    assert dataset.episode(0).observation[:, 0].tolist() == [0, 1, 2, 2]
    assert dataset.episode(1).observation[:, 0].tolist() == [3, 4]
    assert dataset.episodes["task"].tolist() == ["a", "b"]
    assert dataset.episodes["success"].tolist() == [1, 0]


def test_next_observations_keep_every_transition(tmp_path):
    source = write(tmp_path / "log.parquet", next_observation=[[float(i + 1), 0.0] for i in range(6)])
    report = ingest(source, tmp_path / "out")
    assert (report.episodes, report.transitions) == (3, 6)


def test_lerobot_names_and_other_names(tmp_path):
    columns = {"reward": None, "terminated": None, "observation": None}
    source = write(
        tmp_path / "log.parquet",
        **columns,
        **{
            "observation.state": [[float(i)] for i in range(6)],
            "next.reward": [1.0] * 6,
            "next.done": [False, False, True, False, True, True],
            "torque": [[[1.0, 2.0], [3.0, float(i)]] for i in range(6)],
            "frame_index": [0, 1, 2, 0, 1, 0],
        },
    )
    report = ingest(source, tmp_path / "out", rename={"torque": "torque"})
    assert (report.episodes, report.transitions, report.counts.stand_ins) == (3, 6, 3)
    dataset = replay.open(tmp_path / "out")
    assert dict(dataset.spaces.observation.items()) == {"state": spaces.Box((1,), "float32")}
    assert dataset.episode(0).extras["torque"][2].tolist() == [[1, 2], [3, 2]]
    assert dataset.episodes["return"].tolist() == [3, 2, 1]


def test_a_gap_in_frame_index_starts_an_episode(tmp_path):
    source = write(
        tmp_path / "log.parquet",
        episode_index=[1] * 6,
        terminated=None,
        frame_index=[0, 1, 2, 7, 8, 9],
    )
    report = ingest(source, tmp_path / "out")
    assert (report.episodes, report.transitions, report.counts.discontinuities) == (2, 4, 1)


def test_many_files_in_order_and_an_episode_ends_with_its_file(tmp_path):
    (tmp_path / "logs").mkdir()
    for number in range(2):
        pq.write_table(
            table(episode_index=None, terminated=[False] * 6, observation=[[float(10 * number + i)] for i in range(6)]),
            tmp_path / "logs" / f"{number}.parquet",
            row_group_size=2,
        )
    report = ingest(f"parquet:{tmp_path}/logs/*.parquet", tmp_path / "out")
    assert (report.episodes, report.transitions) == (2, 10)
    assert replay.open(tmp_path / "out").episode(1).observation[:, 0].tolist() == [10, 11, 12, 13, 14, 15]


def test_pictures_stay_encoded(tmp_path):
    pictures = []
    for shade in range(6):
        buffer = io.BytesIO()
        Image.fromarray(np.full((8, 9, 3), shade, np.uint8)).save(buffer, format="PNG")
        pictures.append({"bytes": buffer.getvalue(), "path": "x.png"})
    changes = {"observation": None, "observation.eye": pictures, "observation.arm": [[0.5]] * 6}
    ingest(write(tmp_path / "log.parquet", **changes), tmp_path / "out")
    dataset = replay.open(tmp_path / "out")
    assert dict(dataset.spaces.observation.items())["eye"] == spaces.Image((8, 9, 3), "png")
    assert dataset.num_transitions == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action": None}, r"no column for action; found observation, reward"),
        ({"observation": None}, r"no column for observation"),
        ({"episode_index": None, "terminated": None}, r"nothing says where episodes end"),
        ({"action": [[0.0]] * 5 + [[0.0, 1.0]]}, r"log.parquet, action: lists of 1 to 2 elements"),
        ({"reward": [0.0] * 5 + [None]}, r"log.parquet, reward: 1 of 6 rows are null"),
        ({"reward": [0.0] * 3 + [np.inf] + [0.0] * 2}, r"episode 1 \(rows 3 to 4\), reward: NaN or infinite"),
        ({"episode_index": [4, 4, 5, 5, 4, 6]}, r"the rows of episode 4 do not lie together"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        ingest(write(tmp_path / "log.parquet", **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_of_different_kinds_are_refused(tmp_path):
    write(tmp_path / "a.parquet")
    write(tmp_path / "b.parquet", station=[1] * 6)
    with pytest.raises(DataError, match=r"b.parquet: columns differ from a.parquet's in station"):
        ingest(f"parquet:{tmp_path}/*.parquet", tmp_path / "out")
    with pytest.raises(DataError, match=r"no file matches"):
        ingest(f"parquet:{tmp_path}/*.pq", tmp_path / "out")
