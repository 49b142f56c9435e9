from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from envs import EnvError, EnvSpec, make


def test_a_spec_survives_json() -> None:
    spec = EnvSpec(
        "PointMaze_UMaze-v3",
        kwargs={"continuing_task": False, "maze_map": ((1, 1), (1, 0))},
        reset_options={"goal_cell": np.array([3, 1])},
        observation_key="observation",
    )
    written = json.loads(json.dumps(spec.to_json()))
    assert written == {
        "id": "PointMaze_UMaze-v3",
        "kwargs": {"continuing_task": False, "maze_map": [[1, 1], [1, 0]]},
        "reset_options": {"goal_cell": [3, 1]},
        "observation_key": "observation",
    }
    assert EnvSpec.from_json(written) == spec
    assert EnvSpec("CartPole-v1").to_json() == {"id": "CartPole-v1"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"kwargs": {}}, "expected an object with an 'id'"),
        ({"id": "A-v0", "reset": {}}, r"unknown \['reset'\]"),
        ({"id": ""}, "environment id"),
        ({"id": "A-v0", "kwargs": [1]}, "kwargs: found"),
        ({"id": "A-v0", "kwargs": {"space": object()}}, r"kwargs\.space: found object"),
        ({"id": "A-v0", "observation_key": 3}, "observation_key: found 3"),
    ],
)
def test_a_bad_spec_is_refused_by_name(value: dict[str, object], message: str) -> None:
    with pytest.raises(EnvError, match=message):
        EnvSpec.from_json(value)


@pytest.mark.parametrize(
    ("id", "close"),
    [
        ("HalfCheeta-v5", "HalfCheetah-v5"),
        ("PointMaze_Umaze-v3", "PointMaze_UMaze-v3"),
        ("cube-singel-v0", "cube-single-v0"),
    ],
)
def test_an_unknown_id_names_its_neighbours(id: str, close: str) -> None:
    with pytest.raises(EnvError, match=f"{id}: unknown; did you mean .*{close}"):
        make(EnvSpec(id))


@pytest.mark.parametrize(("id", "extra"), [("PointMaze_Round-v3", "robotics"), ("cube-sextuple-play-v0", "ogbench")])
def test_a_missing_package_names_its_extra(id: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EnvError, match=rf'pip install "quiver-rl\[{extra}\]"'):
        make(EnvSpec(id))


def test_arguments_the_constructor_lacks_are_refused() -> None:
    with pytest.raises(EnvError, match=r"CartPole-v1, kwargs \{'wheels': 3\}.*wheels"):
        make(EnvSpec("CartPole-v1", kwargs={"wheels": 3}))


def test_one_key_of_a_dictionary_observation(countdown: str) -> None:
    whole = make(EnvSpec(countdown, kwargs={"dictionary": True}))
    assert set(whole.reset(seed=4)[0]) == {"joints", "goal"}

    part = make(EnvSpec(countdown, kwargs={"dictionary": True}, observation_key="goal"))
    assert part.observation_space.shape == (2,)
    assert part.reset(seed=4)[0].tolist() == [-3.0, -4.0]
    assert part.step(np.zeros(1, np.float32))[0].tolist() == [-2.0, -4.0]

    with pytest.raises(EnvError, match=r"found 'gaol', expected one of \['goal', 'joints'\]"):
        make(EnvSpec(countdown, kwargs={"dictionary": True}, observation_key="gaol"))
    with pytest.raises(EnvError, match="not a dictionary"):
        make(EnvSpec("CartPole-v1", observation_key="goal"))


def test_reset_options_reach_every_reset_as_arrays(countdown: str) -> None:
    env = make(EnvSpec(countdown, reset_options={"cell": [3, 1], "task": {"at": [0.5]}}))
    for _ in range(2):
        env.reset(seed=0, options={"cell": None, "other": 1})
        options = env.unwrapped.options  # type: ignore[attr-defined]
        assert isinstance(options["cell"], np.ndarray)
        assert options["cell"].tolist() == [3, 1]
        assert options["task"]["at"].tolist() == [0.5]
        assert options["other"] == 1


def test_a_point_maze_starts_and_ends_where_it_is_told() -> None:
    env = make(EnvSpec("PointMaze_UMaze-v3", reset_options={"goal_cell": [3, 1], "reset_cell": [1, 1]}))
    for seed in range(20):
        observation, _ = env.reset(seed=seed)
        assert np.abs(observation["achieved_goal"] - [-1.0, 1.0]).max() <= 0.25
        assert np.abs(observation["desired_goal"] - [-1.0, -1.0]).max() <= 0.25


def test_reset_options_that_would_be_ignored_or_fail_are_refused() -> None:
    with pytest.raises(EnvError, match=r"unknown \['gaol_cell'\]; it reads \['goal_cell', 'reset_cell'\]"):
        make(EnvSpec("PointMaze_UMaze-v3", reset_options={"gaol_cell": [3, 1]}))
    with pytest.raises(EnvError, match=r"unknown \['task'\]"):
        make(EnvSpec("pointmaze-medium-v0", reset_options={"task": 1}))
    for cell in ([2, 1], [9, 9]):  # a wall; outside
        env = make(EnvSpec("PointMaze_UMaze-v3", reset_options={"goal_cell": cell}))
        with pytest.raises(EnvError, match="refused reset_options"):
            env.reset(seed=0)


def test_ogbench_goes_by_the_names_of_environments_and_of_datasets() -> None:
    by_dataset = make(EnvSpec("pointmaze-medium-navigate-singletask-task3-v0"))
    by_id = make(EnvSpec("pointmaze-medium-singletask-task3-v0"))
    assert by_dataset.spec is not None
    assert by_dataset.spec.id == "pointmaze-medium-singletask-task3-v0"
    a, b = by_dataset.reset(seed=5), by_id.reset(seed=5)
    np.testing.assert_array_equal(a[0], b[0])
    goal_based = make(EnvSpec("pointmaze-medium-navigate-v0", kwargs={"max_episode_steps": 7}))
    assert goal_based.spec is not None
    assert (goal_based.spec.id, goal_based.spec.max_episode_steps) == ("pointmaze-medium-v0", 7)


def test_ogbench_depends_on_its_seed_and_leaves_the_global_generator_alone() -> None:
    """Its reset draws from np.random, which reset(seed=…) does not seed."""
    env = make(EnvSpec("pointmaze-medium-v0"))

    def start(seed: int) -> list[float]:
        observation, info = env.reset(seed=seed)
        return [*observation, *info["goal"]]

    np.random.seed(1)
    first, other = start(3), start(4)
    after = np.random.uniform()
    np.random.seed(1)
    assert after == np.random.uniform()
    assert start(3) == first != other


def test_making_prints_nothing() -> None:
    program = """
import sys
from envs import EnvSpec, make
make(EnvSpec("PointMaze_UMaze-v3")).reset(seed=0)
env = make(EnvSpec("cube-single-play-singletask-task2-v0"))
env.reset(seed=0)
env.step(env.action_space.sample())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_packages_load_only_when_asked_for() -> None:
    program = """
import sys
from envs import EnvSpec, make
make(EnvSpec("CartPole-v1"))
print([name for name in ("gymnasium_robotics", "ogbench", "mujoco", "torch", "ray") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
