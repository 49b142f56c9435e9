"""Densities of policies in the environment's units."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import learners
from learners.errors import LearnerError
from replay.spaces import Box, Discrete, Spaces

ROBOT = Spaces(Box((2,)), Box((1,), low=(-1.0,), high=(5.0,)))
"""One action from -1 to 5: the networks' 1 is 3 of it."""
CHOICES = Spaces(Box((2,)), Discrete(4, start=1))
OBSERVATION = np.array([0.3, -0.2], np.float32)
SMALL = {"hidden": (8,)}


def made(name, spaces=ROBOT, **knobs):
    return learners.create(name, spaces, seed=3, **knobs, **({} if name in ("lstd", "lspi") else SMALL))


def integral(algorithm, low: float, high: float, count: int = 20_001) -> float:
    """Of the density over actions, by the trapezoidal rule."""
    actions = np.linspace(low, high, count, dtype=np.float64)[:, None]
    density = np.exp(algorithm.log_prob(np.tile(OBSERVATION, (count, 1)), actions).astype(np.float64))
    return float(np.trapezoid(density, actions[:, 0]))


def moments(algorithm, count: int = 20_000) -> tuple[float, float]:
    """Of actions that are drawn."""
    actions, _ = algorithm.act(np.tile(OBSERVATION, (count, 1)), key=(0, 1), deterministic=False)
    return float(actions.mean()), float(actions.std())


def test_a_normal_density_by_hand():
    algorithm = made("bc", policy_std=0.5)
    mean, _ = algorithm.act(OBSERVATION)
    # A standard deviation is half of the networks' 1, which is 3 in the environment's units.
    found = algorithm.log_prob(OBSERVATION, mean + np.float32(1.5))
    assert found.shape == ()
    assert found == pytest.approx(-0.5 - 0.5 * math.log(2 * math.pi) - math.log(1.5), abs=1e-5)


def test_a_normal_density_integrates_to_one_and_is_that_of_draws():
    algorithm = made("iql", policy_std=0.1)
    assert integral(algorithm, -10.0, 14.0) == pytest.approx(1.0, abs=1e-4)
    mean, spread = moments(algorithm)
    assert mean == pytest.approx(float(algorithm.act(OBSERVATION)[0][0]), abs=0.02)
    assert spread == pytest.approx(0.3, rel=0.03)


@pytest.mark.parametrize("name", ["sac", "cql", "brac"])
def test_a_squashed_normal_density_integrates_to_one_and_is_that_of_draws(name):
    algorithm = made(name)
    assert integral(algorithm, -1.0, 5.0) == pytest.approx(1.0, abs=2e-3)
    actions = np.linspace(-1.0, 5.0, 4001)[:, None]
    density = np.exp(algorithm.log_prob(np.tile(OBSERVATION, (4001, 1)), actions).astype(np.float64))
    expected = np.trapezoid(density * actions[:, 0], actions[:, 0])
    mean, spread = moments(algorithm)
    assert mean == pytest.approx(expected, abs=5 * spread / math.sqrt(20_000))


def test_a_squashed_normal_density_by_hand():
    algorithm = made("sac")
    with torch.no_grad():
        for parameter in algorithm.policy.parameters():
            parameter.zero_()  # mean 0 and standard deviation 1
    # The middle of the range, where tanh has slope 1, and its quarter, where 1 - tanh² is 3/4.
    found = algorithm.log_prob(np.stack([OBSERVATION, OBSERVATION]), np.array([[2.0], [3.5]]))
    normal = -0.5 * math.log(2 * math.pi) - math.log(3)
    assert found.tolist() == pytest.approx([normal, normal - 0.5 * math.atanh(0.5) ** 2 - math.log(0.75)], abs=1e-5)


def test_actions_on_the_bounds_have_finite_densities():
    found = made("sac").log_prob(np.stack([OBSERVATION, OBSERVATION]), np.array([[-1.0], [5.0]]))
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", ["bc", "iql", "awac", "cql", "bcq", "qtopt", "lspi", "lstd"])
def test_probabilities_of_discrete_actions_sum_to_one_and_are_those_of_draws(name):
    algorithm = made(name, CHOICES)
    every = np.arange(1, 5)
    probability = np.exp(algorithm.log_prob(np.tile(OBSERVATION, (4, 1)), every).astype(np.float64))
    assert probability.sum() == pytest.approx(1.0, abs=1e-5)
    drawn, _ = algorithm.act(np.tile(OBSERVATION, (4000, 1)), key=(0, 1), deterministic=False)
    share = np.bincount(drawn - 1, minlength=4) / 4000
    # Four standard errors.
    assert (np.abs(share - probability) <= 4 * np.sqrt(probability * (1 - probability) / 4000) + 1e-9).all()


@pytest.mark.parametrize("name", ["td3", "td3bc", "rebrac", "bcq", "bear", "fql", "qtopt", "lstd", "lspi"])
def test_a_policy_without_a_density_says_so(name):
    assert made(name).log_prob(OBSERVATION, np.array([0.0])) is None
    assert made("bc", loss="mse").log_prob(OBSERVATION, np.array([0.0])) is None


@pytest.mark.parametrize(
    ("spaces", "action", "found"),
    [
        (ROBOT, np.zeros((2, 1)), r"found shape \(2, 1\), expected \(1,\)"),
        (ROBOT, np.array([np.nan]), "NaN or infinite"),
        (ROBOT, np.array(["left"]), "expected numbers"),
        (CHOICES, np.array(0), "found 0 to 0, expected 1 to 4"),
        (CHOICES, np.array(1.0), "expected integers"),
    ],
)
def test_what_is_no_action_is_refused(spaces, action, found):
    with pytest.raises(LearnerError, match=f"log_prob: action: .*{found}"):
        made("bc", spaces).log_prob(OBSERVATION, action)
