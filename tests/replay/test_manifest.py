"""The manifest: what is written about a dataset is read back, and vouches for its files."""

import json

import numpy as np
import pytest

import replay
from replay import Box, DataError, Dict, Discrete, Image, Spaces


def edit(dataset, **changes):
    path = dataset.path / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_everything_is_read_back(write, episode):
    spaces = Spaces(
        Box((3,), "float32", (-np.inf, 0.0, -1.0), (np.inf, 1.0, np.inf)), Box((2,), "float32", (-1.0,), (1.0,))
    )
    dataset = replay.open(
        write([episode(0, 3)], spaces=spaces, provenance={"licence": "CC0"}, reference_scores=(1.5, 20)).path
    )
    assert dataset.spaces == spaces
    assert dataset.provenance == {"licence": "CC0"}
    assert dataset.reference_scores == (1.5, 20.0)
    assert [c.name for c in dataset.columns] == ["observation", "action", "reward", "terminated", "truncated"]


def test_every_kind_of_space_is_read_back(tmp_path, episode, write):
    spaces = Spaces(Dict.of({"a": Box((), "int16"), "b": Discrete(4, 1), "c": Image((2, 2, 1))}), Discrete(2))
    parts = {"a": np.zeros(2, np.int16), "b": np.ones(2, np.int64), "c": np.zeros((2, 2, 2, 1), np.uint8)}
    dataset = write([episode(0, 1, observation=parts, action=np.array([1]))], spaces=spaces)
    assert replay.open(dataset.path).spaces == spaces
    assert {c.group for c in dataset.columns} == {"core", "image.c"}


def test_no_dataset(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        replay.open(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no dataset\.json in it"):
        replay.open(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "zarr"}, "not a dataset manifest"),
        ({"version": 99}, "version 99, this program reads 1"),
        ({"counts": {}}, "not a whole manifest"),
        ({"counts": {"episodes": 5, "transitions": 3, "rows": 4, "shards": 1}}, "found 1 episodes"),
        ({"counts": {"episodes": 1, "transitions": 3, "rows": 4, "shards": 2}}, "shard 1 has files for"),
        ({"columns": [{"name": "reward", "dtype": "bool", "shape": [], "kind": "tensor", "group": "core"}]}, "'bool'"),
        ({"spaces": {"observation": {"type": "text"}, "action": {"type": "text"}}}, r"spaces\.observation.*'text'"),
    ],
)
def test_an_edited_manifest_is_refused(write, episode, changes, message):
    dataset = write([episode(0, 3)])
    edit(dataset, **changes)
    with pytest.raises(DataError, match=message):
        replay.open(dataset.path)


def test_a_column_that_the_files_lack_is_refused(write, episode):
    dataset = write([episode(0, 3)])
    record = json.loads((dataset.path / "dataset.json").read_text())
    spaces, statistics = record["spaces"], record["statistics"]
    columns = [column.to_json() for column in dataset.columns]
    columns[1]["shape"] = [3]
    edit(dataset, columns=columns)
    with pytest.raises(DataError, match="columns action do not fit the spaces"):
        replay.open(dataset.path)
    numbers = {"count": 3, **{key: [0, 0, 0] for key in ("mean", "std", "min", "max")}}
    edit(
        dataset,
        columns=columns,
        spaces={**spaces, "action": {**spaces["action"], "shape": [3]}},
        statistics={**statistics, "action": numbers},
    )
    with pytest.raises(DataError, match=r"core\.arrow: column 'action': found .*\[2\].*expected .*\[3\]"):
        replay.open(dataset.path)
