"""Minari datasets whose observations are no plain arrays, written by minari itself."""

import json

import numpy as np
import pytest
from gymnasium import spaces as gym

import replay
from replay import images, spaces
from replay.errors import DataError
from replay.ingest import ingest
from tests.replay.test_ingest_minari import STATES, edit_metadata, root, states, write

__all__ = ["root"]  # the fixture
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari.*", "ignore::UserWarning:gymnasium.*")
BACKENDS = pytest.mark.parametrize("backend", ["hdf5", "arrow"])
UNIT = gym.Box(-1, 1, (2,), np.float32)


def observer(space):
    """`observe` of `write`, of samples: each column is a list, as minari's own collector gives it."""

    def columns(part, samples):
        if isinstance(part, gym.Dict):
            return {key: columns(inner, [sample[key] for sample in samples]) for key, inner in part.spaces.items()}
        if isinstance(part, gym.Tuple):
            return tuple(columns(inner, [sample[i] for sample in samples]) for i, inner in enumerate(part.spaces))
        return samples

    def observe(number, rows):
        space.seed(number)
        return columns(space, [space.sample() for _ in range(rows)])

    return observe


NESTED = gym.Dict(
    {
        "arm": gym.Dict({"angle": UNIT, "held": gym.MultiBinary(3)}),
        "gear": gym.MultiDiscrete([3, 4]),
        "pair": gym.Tuple((gym.Discrete(2), UNIT)),
    }
)
FLAT = {
    "arm.angle": spaces.Box((2,), "float32", (-1.0,), (1.0,)),
    "arm.held": spaces.Box((3,), "int8", (0.0,), (1.0,)),
    "gear.0": spaces.Discrete(3),
    "gear.1": spaces.Discrete(4),
    "pair.0": spaces.Discrete(2),
    "pair.1": spaces.Box((2,), "float32", (-1.0,), (1.0,)),
}


@BACKENDS
def test_nested_parts_are_named_by_their_keys(tmp_path, backend):
    observe = observer(NESTED)
    write("tests/nested-v0", NESTED, observe, backend=backend)
    ingest("minari:tests/nested-v0", tmp_path / "out", validation_fraction=0)
    dataset = replay.open(tmp_path / "out")
    assert dict(dataset.spaces.observation.items()) == FLAT
    found, expected = dataset.episode(2).observation, observe(2, 5)
    np.testing.assert_array_equal(found["arm.angle"], np.stack(expected["arm"]["angle"]))
    np.testing.assert_array_equal(found["arm.held"], np.stack(expected["arm"]["held"]))
    np.testing.assert_array_equal(found["gear.1"], np.stack(expected["gear"])[:, 1])
    np.testing.assert_array_equal(found["pair.0"], np.stack(expected["pair"][0]))
    np.testing.assert_array_equal(found["pair.1"], np.stack(expected["pair"][1]))

    report = ingest("minari:tests/nested-v0", tmp_path / "arm", observation="arm")
    assert dict(replay.open(tmp_path / "arm").spaces.observation.items()) == {
        "angle": FLAT["arm.angle"],
        "held": FLAT["arm.held"],
    }
    assert "not ingested: gear.0, gear.1, pair.0, pair.1; 'arm' alone is kept" in report.notes


@BACKENDS
@pytest.mark.parametrize(
    ("space", "kept"),
    [
        (gym.MultiBinary((2, 2)), spaces.Box((2, 2), "int8", (0.0,), (1.0,))),
        (gym.MultiDiscrete([2, 5]), spaces.Dict.of({"0": spaces.Discrete(2), "1": spaces.Discrete(5)})),
        (gym.Discrete(3, start=4), spaces.Discrete(3, start=4)),
    ],
    ids=str,
)
def test_choices_and_switches_alone(tmp_path, backend, space, kept):
    observe = observer(space)
    write("tests/alone-v0", space, observe, backend=backend)
    ingest("minari:tests/alone-v0", tmp_path / "out", validation_fraction=0)
    dataset = replay.open(tmp_path / "out")
    assert dataset.spaces.observation == kept
    found = dataset.episode(0).observation
    found = np.stack([found[key] for key in sorted(found)], axis=1) if isinstance(found, dict) else found
    np.testing.assert_array_equal(found, np.stack(observe(0, 4)))


@BACKENDS
def test_pictures_with_their_channels_first_are_turned(tmp_path, backend):
    space = gym.Box(0, 255, (3, 32, 40), np.uint8)
    observe = observer(space)
    write("tests/eye-v0", space, observe, backend=backend)
    report = ingest("minari:tests/eye-v0", tmp_path / "out", validation_fraction=0)
    assert report.notes == ["observation: pictures come channels first, (3, 32, 40); kept as (32, 40, 3)"]
    dataset = replay.open(tmp_path / "out")
    assert dataset.spaces.observation == spaces.Image((32, 40, 3))
    stored = np.stack([images.decode(picture, (32, 40, 3), "") for picture in dataset.episode(1).observation])
    np.testing.assert_array_equal(stored, np.moveaxis(np.stack(observe(1, 2)), 1, -1))


def test_a_part_that_is_not_supported_may_lie_beside_the_one_that_is_kept(tmp_path):
    space = gym.Dict({"words": gym.Text(4), "state": UNIT, "eye": gym.Box(0, 255, (3, 32, 40), np.uint8)})
    write("tests/mixed-v0", space, observer(space))
    with pytest.raises(DataError, match=r"observation_space\.words: Text is not supported; .*--observation KEY"):
        ingest("minari:tests/mixed-v0", tmp_path / "all")
    report = ingest("minari:tests/mixed-v0", tmp_path / "out", observation="state")
    assert replay.open(tmp_path / "out").spaces.observation == spaces.Box((2,), "float32", (-1.0,), (1.0,))
    assert report.notes == [
        "not ingested: words, a Text",
        "not ingested, and pictures it seems: eye; 'state' alone is kept",
    ]
    with pytest.raises(DataError, match=r"words: Text is not supported"):
        ingest("minari:tests/mixed-v0", tmp_path / "words", observation="words")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["minari", "out"]


@pytest.mark.parametrize(
    ("field", "space", "message"),
    [
        ("observation_space", {"type": "Text"}, r"observation_space: Text is not supported; expected Box"),
        ("observation_space", {"type": "Graph"}, r"Graph is not supported"),
        ("observation_space", {"type": "Dict", "subspaces": {}}, r"a dictionary without parts"),
        ("observation_space", {"type": "MultiDiscrete", "nvec": [2] * 300}, r"MultiDiscrete of 300 entries"),
        (
            "observation_space",
            {
                "type": "Dict",
                "subspaces": {
                    "a": {"type": "Dict", "subspaces": {"b": {"type": "Discrete", "n": 2}}},
                    "a.b": {"type": "Discrete", "n": 2},
                },
            },
            r"two parts are called 'a\.b'",
        ),
        ("observation_space", {"type": "Discrete", "n": 0}, r"found 0 choices from 0, expected at least one"),
        ("observation_space", {"type": "Box", "shape": [3], "dtype": "float32", "low": [0], "high": [1, 1]}, r"bounds"),
        ("observation_space", ["Box"], r"is not as minari writes it"),
        ("observation_space", None, r"is not as minari writes it"),
        (
            "action_space",
            {"type": "MultiBinary", "n": 3},
            r"action_space: MultiBinary is not supported; expected Box or",
        ),
        ("action_space", {"type": "Dict", "subspaces": {}}, r"action_space: Dict is not supported"),
        ("action_space", {"type": "Tuple", "subspaces": []}, r"action_space: Tuple is not supported"),
        ("action_space", 3, r"is not as minari writes it"),
    ],
)
def test_other_spaces_are_refused_by_name(tmp_path, root, field, space, message):
    write("tests/states-v0", STATES, states)
    edit_metadata(root, "tests/states-v0", **{field: json.dumps(space)})
    with pytest.raises(DataError, match=message):
        ingest("minari:tests/states-v0", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["minari"]


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (gym.Dict({"a": STATES}), r"episode_0, observations: found one array, expected a group as declared"),
        (gym.MultiDiscrete([2, 2]), r"found shape \(4, 3\), expected rows of 2 choices"),
    ],
)
def test_what_is_stored_otherwise_than_declared_is_refused(tmp_path, root, declared, message):
    from minari.serialization import serialize_space

    write("tests/states-v0", STATES, states)
    edit_metadata(root, "tests/states-v0", observation_space=serialize_space(declared))
    with pytest.raises(DataError, match=message):
        ingest("minari:tests/states-v0", tmp_path / "out")


def test_a_part_that_is_missing_is_named(tmp_path, root):
    space = gym.Dict({"a": UNIT, "b": UNIT})
    write("tests/two-v0", space, observer(space))
    import h5py

    with h5py.File(root / "tests/two-v0/data/main_data.hdf5", "a") as file:
        del file["episode_1/observations/b"]
    with pytest.raises(DataError, match=r"episode_1, observations: found the parts a; expected a, b as declared"):
        ingest("minari:tests/two-v0", tmp_path / "out")


def test_an_array_that_was_never_filled_is_refused_before_it_is_read(tmp_path, root):
    write("tests/states-v0", STATES, states)
    import h5py

    with h5py.File(root / "tests/states-v0/data/main_data.hdf5", "a") as file:
        del file["episode_1/rewards"]
        file["episode_1"].create_dataset("rewards", (10**11,), np.float64, chunks=(1024,))
    with pytest.raises(DataError, match=r"episode_1/rewards: says that it holds 800 GB in a file of"):
        ingest("minari:tests/states-v0", tmp_path / "out")


def test_infos_that_are_left_out_are_named(tmp_path, root):
    write("tests/states-v0", STATES, states)
    import h5py

    with h5py.File(root / "tests/states-v0/data/main_data.hdf5", "a") as file:
        file["episode_0/infos/qpos"] = np.zeros(4)
        file["episode_0/infos/frames"] = np.zeros((4, 2, 2), np.uint8)
    report = ingest("minari:tests/states-v0", tmp_path / "out")
    assert "not ingested: infos/frames, infos/qpos" in report.notes


def test_what_is_neither_a_group_nor_an_array_is_refused(tmp_path, root):
    write("tests/states-v0", STATES, states)
    import h5py

    with h5py.File(root / "tests/states-v0/data/main_data.hdf5", "a") as file:
        del file["episode_1/rewards"]
        file["episode_1/rewards"] = np.dtype("f8")
    with pytest.raises(DataError, match=r"episode_1/rewards: found Datatype, expected an array"):
        ingest("minari:tests/states-v0", tmp_path / "out")


def test_infinities_in_the_metadata_are_text_or_refused(tmp_path, root):
    write("tests/states-v0", STATES, states)
    edit_metadata(root, "tests/states-v0", algorithm_name=float("inf"))
    ingest("minari:tests/states-v0", tmp_path / "out")
    assert replay.open(tmp_path / "out").provenance["algorithm_name"] == "Infinity"
    edit_metadata(root, "tests/states-v0", ref_min_score=0.0, ref_max_score=float("inf"))
    with pytest.raises(DataError, match=r"reference scores 0\.0 and inf, expected finite numbers"):
        ingest("minari:tests/states-v0", tmp_path / "scores")


def test_jpeg_files_of_different_lengths_are_read(tmp_path):
    space = gym.Box(0, 255, (32, 40, 3), np.uint8)
    fills = [np.zeros((32, 40, 3), np.uint8), space.sample()]
    write("tests/eye-v0", space, lambda number, rows: [fills[row % 2] for row in range(rows)])
    ingest("minari:tests/eye-v0", tmp_path / "out", validation_fraction=0)
    first, second = replay.open(tmp_path / "out").episode(1).observation
    assert len(first) < len(second)
    assert images.decode(first, (32, 40, 3), "").max() == 0
