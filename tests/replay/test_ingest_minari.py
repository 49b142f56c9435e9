"""Minari datasets, written by minari itself."""

import io
import json

import minari
import numpy as np
import pytest
from gymnasium import spaces as gym
from minari.data_collector import EpisodeBuffer

import replay
from replay import spaces
from replay.errors import DataError
from replay.ingest import ingest

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari.*")

LENGTHS = (3, 1, 4)


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


def write(name, observation_space, observe, *, backend="hdf5", action_space=None, **options):
    """Episodes of 3, 1 and 4 steps; step t of episode e has reward 10 e + t."""
    action_space = action_space or gym.Box(-1, 1, (2,), np.float32)
    buffers = []
    for number, length in enumerate(LENGTHS):
        terminations = [step == length - 1 and number != 2 for step in range(length)]
        truncations = [step == length - 1 and number == 2 for step in range(length)]
        actions = [np.full(2, 0.1 * step, np.float32) for step in range(length)]
        if isinstance(action_space, gym.Discrete):
            actions = [step % action_space.n for step in range(length)]
        buffers.append(
            EpisodeBuffer(
                observations=observe(number, length + 1),
                actions=actions,
                rewards=[10.0 * number + step for step in range(length)],
                terminations=terminations,
                truncations=truncations,
                infos={"success": [number == 0] * (length + 1)},
            )
        )
    minari.create_dataset_from_buffers(
        name,
        buffers,
        observation_space=observation_space,
        action_space=action_space,
        data_format=backend,
        algorithm_name="by hand",
        **options,
    )


def states(number, rows):
    return [np.array([number, step, 0.5], np.float64) for step in range(rows)]


STATES = gym.Box(-np.inf, np.inf, (3,), np.float64)


@pytest.mark.parametrize("backend", ["hdf5", "arrow", "parquet"])
def test_episodes_arrive_whole_from_every_backend(tmp_path, backend):
    write("tests/states-v0", STATES, states, backend=backend)
    report = ingest("minari:tests/states-v0", tmp_path / "out", validation_fraction=0)
    assert (report.episodes, report.transitions) == (3, 8)
    assert report.notes == ["observation: float64 stored as float32"]

    dataset = replay.open(tmp_path / "out")
    assert dataset.spaces.observation == spaces.Box((3,), "float32")
    assert dataset.spaces.action == spaces.Box((2,), "float32", (-1.0,), (1.0,))
    assert dataset.episodes["length"].tolist() == [3, 1, 4]
    assert dataset.episodes["return"].tolist() == [3, 10, 86]
    assert dataset.episodes["terminated"].tolist() == [1, 1, 0]
    assert dataset.episodes["truncated"].tolist() == [0, 0, 1]
    assert dataset.episodes["success"].tolist() == [1, 0, 0]
    last = dataset.episode(2)
    assert last.observation.tolist() == [[2, step, 0.5] for step in range(5)]
    assert last.action.tolist() == np.repeat(np.float32(0.1) * np.arange(4, dtype=np.float32), 2).reshape(4, 2).tolist()
    assert last.reward.tolist() == [20, 21, 22, 23]
    assert dataset.provenance["algorithm_name"] == "by hand"
    assert dataset.provenance["counts"]["transitions"] == 8


def test_environment_and_reference_scores(tmp_path, root):
    write("tests/states-v0", STATES, states)
    spec = {"id": "Line-v0", "kwargs": {"length": 3, "far": float("inf")}, "max_episode_steps": 4}
    edit_metadata(root, "tests/states-v0", env_spec=json.dumps(spec), ref_min_score=-5.0, ref_max_score=20.0)
    ingest("minari:tests/states-v0", tmp_path / "out")
    dataset = replay.open(tmp_path / "out")
    assert dataset.reference_scores == (-5, 20)
    assert dataset.provenance["env_spec"] == {
        "id": "Line-v0",
        "kwargs": {"length": 3, "far": "Infinity"},
        "max_episode_steps": 4,
    }


def test_a_folder_may_be_named_instead_of_an_id(tmp_path, root):
    write("tests/states-v0", STATES, states)
    assert ingest(f"minari:{root / 'tests' / 'states-v0'}", tmp_path / "out").episodes == 3


@pytest.mark.parametrize("backend", ["hdf5", "arrow"])
def test_dictionaries_and_discrete_actions(tmp_path, backend):
    space = gym.Dict({"goal": gym.Box(0, 1, (2,), np.float32), "arm": gym.Box(-1, 1, (1,), np.float32)})

    def observe(number, rows):
        return {"goal": np.full((rows, 2), 0.5, np.float32), "arm": np.linspace(0, 1, rows, dtype=np.float32)[:, None]}

    write("tests/dict-v0", space, observe, backend=backend, action_space=gym.Discrete(3))
    ingest("minari:tests/dict-v0", tmp_path / "out")
    dataset = replay.open(tmp_path / "out")
    assert [key for key, _ in dataset.spaces.observation.items()] == ["arm", "goal"]
    assert dataset.spaces.action == spaces.Discrete(3)
    episode = dataset.episode(2)
    assert episode.observation["arm"][:, 0].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert episode.action.tolist() == [0, 1, 2, 0]

    ingest("minari:tests/dict-v0", tmp_path / "arm", observation="arm")
    only = replay.open(tmp_path / "arm")
    assert only.spaces.observation == spaces.Box((1,), "float32", (-1.0,), (1.0,))
    assert only.episode(2).observation[:, 0].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert only.provenance["observation_key"] == "arm"
    with pytest.raises(DataError, match=r"no key 'leg'; found arm, goal"):
        ingest("minari:tests/dict-v0", tmp_path / "leg", observation="leg")


@pytest.mark.parametrize("jpeg", [True, False])
def test_pictures_stay_encoded(tmp_path, jpeg):
    from PIL import Image

    rng = np.random.default_rng(0)
    shades = rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)
    write(
        "tests/eye-v0",
        gym.Box(0, 255, (40, 48, 3), np.uint8),
        lambda number, rows: [shades // (number + 1)] * rows,
        jpeg_encoding=jpeg,
    )
    report = ingest("minari:tests/eye-v0", tmp_path / "out")
    dataset = replay.open(tmp_path / "out")
    assert dataset.spaces.observation == spaces.Image((40, 48, 3), "jpeg" if jpeg else "png")
    stored = np.asarray(dataset.episode(1).observation)[0]
    expected = shades // 2
    if jpeg:
        assert report.notes == ["observation: stored by minari as lossy JPEG, kept as it is"]
        buffer = io.BytesIO()
        Image.fromarray(expected).save(buffer, format="JPEG")
        expected = np.asarray(Image.open(buffer))
    pixels = np.asarray(Image.open(io.BytesIO(stored))) if isinstance(stored, bytes) else stored
    assert (pixels == expected).all()


def edit_metadata(root, name, **changes):
    path = root / name / "data" / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_missing_steps_are_refused_and_nothing_is_left(tmp_path, root):
    write("tests/states-v0", STATES, states)
    edit_metadata(root, "tests/states-v0", total_steps=9)
    with pytest.raises(DataError, match=r"total_steps is 9, the episodes hold 8"):
        ingest("minari:tests/states-v0", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["minari"]


def test_long_arrow_episodes_are_refused_with_the_reason(tmp_path, root):
    write("tests/states-v0", STATES, states, backend="arrow")
    import pyarrow as pa

    folder = root / "tests/states-v0/data/1"
    (part,) = folder.glob("*.arrow")
    with pa.ipc.open_file(part) as reader:
        table = reader.read_all()
    long = pa.concat_tables([table] * 16_385)  # 32,770 rows: 32,769 steps
    with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, long.schema) as writer:
        writer.write_table(long)
    with pytest.raises(DataError, match=r"data/1: an episode of 32769 steps.*issue 351"):
        ingest("minari:tests/states-v0", tmp_path / "out")


def test_other_spaces_are_refused_by_name(tmp_path, root):
    write("tests/states-v0", STATES, states)
    edit_metadata(root, "tests/states-v0", action_space=json.dumps({"type": "MultiDiscrete", "nvec": [2, 2]}))
    with pytest.raises(DataError, match=r"action_space: MultiDiscrete is not supported"):
        ingest("minari:tests/states-v0", tmp_path / "out")


def test_an_unknown_dataset_is_refused_with_near_names(tmp_path):
    write("tests/states-v0", STATES, states)
    with pytest.raises(DataError, match=r"Did you mean tests/states-v0\?"):
        ingest("minari:tests/state-v0", tmp_path / "out")
