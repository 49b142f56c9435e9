from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from envs import EnvError, Exploration, explore

BOX = spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, 10.0], np.float32))
"""Half ranges of 1 and 5."""


def steady(observation: Any, state: Any, first: Any) -> tuple[np.ndarray, Any]:
    return np.tile(np.array([[0.25, 4.0]], np.float32), (len(observation), 1)), state


def test_noise_is_in_halves_of_each_elements_range() -> None:
    act = explore(steady, BOX, Exploration(noise=0.2), np.random.default_rng(0))
    actions, state = act(np.zeros((10_000, 3)), "mine", None)
    assert state == "mine"
    spread = np.array([0.2, 1.0])
    # Four standard errors of the mean and of the standard deviation.
    assert (np.abs(actions.mean(0) - [0.25, 4.0]) < 4 * spread / 100).all()
    assert (np.abs(actions.std(0) - spread) < 4 * spread / np.sqrt(20_000)).all()
    assert abs(np.corrcoef(actions.T)[0, 1]) < 4 / 100


def test_rows_are_replaced_one_by_one() -> None:
    act = explore(steady, BOX, Exploration(random_probability=0.3), np.random.default_rng(0))
    actions, _ = act(np.zeros((10_000, 3)), None, None)
    random = (actions != [0.25, 4.0]).any(1)
    assert abs(random.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 10_000)
    drawn = actions[random]
    assert (drawn >= BOX.low).all()
    assert (drawn <= BOX.high).all()
    # Uniform: the mean of a range of 2 and 10, within four standard errors.
    assert (np.abs(drawn.mean(0) - [0.0, 5.0]) < 4 * np.array([2, 10]) / np.sqrt(12 * len(drawn))).all()


def test_random_actions_have_no_noise() -> None:
    act = explore(steady, BOX, Exploration(noise=5.0, random_probability=1.0), np.random.default_rng(0))
    actions, _ = act(np.zeros((1000, 3)), None, None)
    assert BOX.low[1] <= actions[:, 1].min() < actions[:, 1].max() <= BOX.high[1]


def test_discrete_actions_are_epsilon_greedy() -> None:
    def two(observation: Any, state: Any, first: Any) -> tuple[np.ndarray, Any]:
        return np.full(len(observation), 2), state

    act = explore(two, spaces.Discrete(4, start=1), Exploration(random_probability=0.4), np.random.default_rng(0))
    actions, _ = act(np.zeros((10_000, 3)), None, None)
    shares = np.bincount(actions, minlength=5) / 10_000
    # ε / n for each of 1, 2, 3, 4, and 1 - ε besides for the policy's.
    np.testing.assert_allclose(shares, [0.0, 0.1, 0.7, 0.1, 0.1], atol=4 * np.sqrt(0.7 * 0.3 / 10_000))


def test_it_is_a_function_of_its_generator_and_leaves_the_policys_array_alone() -> None:
    kept = np.array([[0.25, 4.0]])
    both = Exploration(noise=0.5, random_probability=0.5)
    one, other = (explore(lambda o, s, f: (kept, s), BOX, both, np.random.default_rng(3)) for _ in range(2))
    for _ in range(20):
        np.testing.assert_array_equal(one(np.zeros((1, 3)), None, None)[0], other(np.zeros((1, 3)), None, None)[0])
    assert kept.tolist() == [[0.25, 4.0]]


def test_nothing_asked_for_changes_and_draws_nothing() -> None:
    rng = np.random.default_rng(1)
    actions, _ = explore(steady, spaces.Box(-np.inf, np.inf, (2,)), Exploration(), rng)(np.zeros((3, 3)), None, None)
    assert actions.tolist() == [[0.25, 4.0]] * 3
    assert rng.random() == np.random.default_rng(1).random()


@pytest.mark.parametrize("noise", [-0.1, np.nan, np.inf])
def test_noise_must_be_finite(noise: float) -> None:
    with pytest.raises(EnvError, match=f"noise: found {noise}, expected a finite number of at least 0"):
        Exploration(noise=noise)


@pytest.mark.parametrize("probability", [-0.1, 1.1, np.nan])
def test_probabilities_are_probabilities(probability: float) -> None:
    with pytest.raises(EnvError, match=f"random_probability: found {probability}, expected a number in"):
        Exploration(random_probability=probability)


@pytest.mark.parametrize(
    "space", [spaces.Discrete(3), spaces.Box(0.0, np.inf, (2,)), spaces.Box(0, 9, (2,), np.int64)], ids=str
)
def test_noise_needs_a_range(space: spaces.Space[Any]) -> None:
    with pytest.raises(EnvError, match=r"expected a bounded Box of floats.*Set noise to 0"):
        explore(steady, space, Exploration(noise=0.1), np.random.default_rng(0))


def test_random_actions_need_bounds_or_a_number() -> None:
    with pytest.raises(EnvError, match="neither Discrete nor a bounded Box"):
        explore(steady, spaces.Box(0.0, np.inf, (2,)), Exploration(random_probability=0.1), np.random.default_rng(0))
