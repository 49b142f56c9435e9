"""Nested observations become one dictionary, by keys joined with dots."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from envs import EnvError, EnvSpec, Rollout, make
from tests import varied_envs
from tests.varied_envs import id_of


@pytest.fixture(autouse=True, scope="module")
def _register():
    varied_envs.register()


def test_nested_parts_are_named_by_their_keys():
    env = make(EnvSpec(id_of("Nested")))
    assert isinstance(env.observation_space, spaces.Dict)
    assert {name: str(part) for name, part in env.observation_space.spaces.items()} == {
        "arm.angle": "Box(-1.0, 1.0, (2,), float64)",
        "arm.held": "MultiBinary(3)",
        "gear.0": "Discrete(3)",
        "gear.1": "Discrete(4, start=5)",
        "pair.0": "Discrete(2)",
        "pair.1": "Box(-1.0, 1.0, (2,), float32)",
    }
    whole = env.unwrapped
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    whole.observation_space.seed(0)
    inner = whole.observation_space.sample()
    assert observation["gear.1"] == inner["gear"][1]
    assert observation["pair.1"] is not None
    np.testing.assert_array_equal(observation["arm.angle"], inner["arm"]["angle"])


def test_a_key_may_name_a_part_or_a_dictionary_of_them():
    part = make(EnvSpec(id_of("Nested"), observation_key="arm.angle"))
    assert part.reset(seed=0)[0].shape == (2,)
    assert set(part.get_wrapper_attr("left_out")) == {"arm.held", "gear.0", "gear.1", "pair.0", "pair.1"}
    inner = make(EnvSpec(id_of("Nested"), observation_key="arm"))
    assert inner.observation_space.contains(inner.reset(seed=0)[0])
    assert set(inner.observation_space.spaces) == {"angle", "held"}
    with pytest.raises(EnvError, match=r"observation_key: found 'leg', expected one of \['arm.angle', 'arm.held'"):
        make(EnvSpec(id_of("Nested"), observation_key="leg"))


def test_plain_and_flat_observations_are_left_alone():
    for name in ("Numbers", "Choice", "Camera", "Partly"):
        env = make(EnvSpec(id_of(name)))
        assert env.observation_space is env.unwrapped.observation_space


def test_keys_that_clash_are_refused():
    with pytest.raises(EnvError, match=r"two parts of its observations are called 'arm.angle'"):
        make(EnvSpec(id_of("Clash")))


def test_episodes_side_by_side_are_flat_too():
    spec = EnvSpec(id_of("Nested"))
    with Rollout(spec, num_envs=2, seed=0) as rollout:
        episodes = rollout.run(lambda observation, state, first: (np.zeros((2, 2)), None), 3)
    assert len(episodes) == 2
    assert episodes[0].observation["pair.1"].shape == (4, 2)
    assert episodes[0].observation["gear.1"].shape == (4,)
