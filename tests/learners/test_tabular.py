"""The proof on a problem small enough to solve exactly: five states in a row, a reward of 1 at the end.

The first element of an action chooses the direction; the second does nothing. The log holds actions from two regions
only, one for each direction. Away from them the robot slips: the episode ends with nothing. No method is told.

So a method that maximises Q over all actions believes in values that nothing in the log supports and that its own
policy does not achieve, and one that keeps to the log must not. Both truths, the best value that the log's actions
allow and the value of the learned policy, are computed exactly here. (Actions have two elements because EDAC keeps
the directions of action gradients apart, and in one dimension a direction is only a sign.)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import learners
from learners.algorithm import Algorithm
from replay.batch import Batch
from replay.spaces import Box, Spaces

STATES = 5
DISCOUNT = 0.9
SPACES = Spaces(Box((STATES + 1,)), Box((2,), low=(-1.0,), high=(1.0,)))
Floats = NDArray[Any]


# --- The problem ---


def move(state: int, direction: float) -> tuple[float, int, bool]:
    """Reward, next state and whether the episode ends."""
    after = state + 1 if direction > 0 else max(state - 1, 0)
    return float(after == STATES), after, after == STATES


def step(state: int, action: Floats) -> tuple[float, int, bool]:
    """A move in the two regions of the log, and a little around them; further out the episode ends with nothing."""
    if 0.1 <= abs(action[0]) <= 0.7 and abs(action[1]) <= 0.5:
        return move(state, action[0])
    return 0.0, state, True


def narrow_log(seed: int) -> Batch[Floats]:
    """Eight actions of each region in every state."""
    random = np.random.default_rng(seed)
    rows = []
    for state in range(STATES):
        for direction in np.repeat([-1.0, 1.0], 8):
            action = np.array([direction * random.uniform(0.2, 0.6), random.uniform(-0.4, 0.4)])
            rows.append((state, action, *step(state, action), 1.0))
    return as_batch(rows)


def full_log() -> Batch[Floats]:
    """A kinder robot: an action on a grid over the whole box leads to the right with probability (1 + a₀)/2.

    Both outcomes are rows, one after the other, and weigh as much as they are likely.
    """
    rows = []
    for state in range(STATES):
        for first, second in itertools.product(np.linspace(-1, 1, 5), np.linspace(-1, 1, 3)):
            for direction in (-1, 1):
                rows.append((state, np.array([first, second]), *move(state, direction), (1 + direction * first) / 2))
    return as_batch(rows)


def as_batch(rows: list[tuple[Any, ...]]) -> Batch[Floats]:
    state, action, reward, after, end, weight = (np.array(column) for column in zip(*rows, strict=True))
    one_hot = np.eye(STATES + 1, dtype=np.float32)
    return Batch(
        observation=one_hot[state],
        action=action.astype(np.float32),
        reward=reward.astype(np.float32),
        discount=(DISCOUNT * (1.0 - end)).astype(np.float32),
        next_observation=one_hot[after],
        terminated=end.astype(np.uint8),
        truncated=np.zeros(len(rows), np.uint8),
        index=np.arange(len(rows)),
        weight=weight.astype(np.float32),
    )


# --- Its exact solutions ---


def solution(log: Batch[Floats], summary: Callable[[Floats], float], *, outcomes: int = 1) -> Floats:
    """Q of every action of a log with so many rows for each, where V(s) is the `summary` of the Qs in s.

    With `max` it is the best that the log's own actions allow.
    """
    state, after = log.observation[::outcomes].argmax(1), log.next_observation.argmax(1)
    value = np.zeros(STATES + 1)
    for _ in range(500):  # .9^500 is nothing
        q = (log.weight * (log.reward + log.discount * value[after])).reshape(-1, outcomes).sum(1)
        value[:STATES] = [summary(q[state == each]) for each in range(STATES)]
    return q


def expectile(values: Floats, level: float) -> float:
    """The root of Σ∣level − 1(q < v)∣·(q − v), by the fixed point of its weighted mean."""
    centre = values.mean()
    for _ in range(100):
        weight = np.where(values < centre, 1.0 - level, level)
        centre = (weight * values).sum() / weight.sum()
    return float(centre)


def achieved(policy: Floats) -> Floats:
    """The values (I − γP)⁻¹r of a policy, given as one action for each state."""
    transition, reward = np.zeros((STATES, STATES)), np.zeros(STATES)
    for state in range(STATES):
        reward[state], after, end = step(state, policy[state])
        if not end:
            transition[state, after] = 1.0
    return np.linalg.solve(np.eye(STATES) - DISCOUNT * transition, reward)


# --- Learning ---


def train(name: str, log: Batch[Floats], steps: int, *, seed: int = 0, **knobs: Any) -> Algorithm:
    """Every step takes the whole log."""
    algorithm = learners.create(
        name, SPACES, seed=seed, discount=DISCOUNT, hidden=(64, 64), normalise_observation=False, **knobs
    )
    for sequence in range(steps):
        algorithm.update(replace(log, key=(seed, sequence)))
    return algorithm


def believed_and_achieved(algorithm: Algorithm, log: Batch[Floats]) -> tuple[float, float]:
    """Q(s₀, π(s₀)) as learned, and the exact value of π in s₀."""
    policy, _ = algorithm.act(np.eye(STATES, STATES + 1, dtype=np.float32))
    believed = algorithm.diagnostics(log.rows(0, 1))["q_policy"]
    return float(believed), float(achieved(policy)[0])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The products are small: more threads are only slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


BEST = DISCOUNT ** (STATES - 1)
"""The value of s₀ when always going right: .6561."""


def test_the_exact_solution_is_that_of_going_right() -> None:
    log = narrow_log(seed=0)
    always_right = np.tile([0.4, 0.0], (STATES, 1))

    assert solution(log, np.max)[:16] == pytest.approx(np.repeat([DISCOUNT * BEST, BEST], 8))
    assert achieved(always_right) == pytest.approx(DISCOUNT ** np.arange(STATES - 1, -1, -1))
    assert achieved(2 * always_right) == pytest.approx(np.zeros(STATES))


UNCONSTRAINED = {"learning_rate": 1e-3, "polyak": 0.01, "lag_steps": 100, "samples": 32, "elites": 4}
CONSTRAINED = {
    # Advantages are about a tenth here, so the temperature is high.
    "iql": {"learning_rate": 1e-3, "polyak": 0.01, "expectile": 0.9, "temperature": 100.0},
    "cql": {
        "learning_rate": 1e-3,
        "policy_learning_rate": 1e-3,
        "polyak": 0.01,
        "conservative_weight": 1.0,
        "sampled_actions": 4,
    },
    "edac": {"learning_rate": 3e-3, "polyak": 0.01, "members": 10, "diversity": 1.0},
}


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["cross_entropy", "squared"])
def test_unconstrained_maximisation_overestimates(loss: str) -> None:
    log = narrow_log(seed=0)
    believed, true = believed_and_achieved(train("qtopt", log, 2000, loss=loss, **UNCONSTRAINED), log)

    assert believed > BEST + 0.05
    assert believed > true + 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CONSTRAINED))
def test_offline_methods_do_not_overestimate(name: str) -> None:
    log = narrow_log(seed=0)
    believed, true = believed_and_achieved(train(name, log, 2000, **CONSTRAINED[name]), log)

    assert true == pytest.approx(BEST)
    assert believed < BEST + 0.02


# Where the log covers every action there is nothing to be careful about: the value methods find the exact Q.
COVERED: dict[str, tuple[str, dict[str, Any], Callable[[Floats], float]]] = {
    "qtopt": ("qtopt", UNCONSTRAINED, np.max),
    "qtopt, squared loss": ("qtopt", {**UNCONSTRAINED, "loss": "squared"}, np.max),
    # Expectile .5 is the mean: the value of the behaviour. Others have an exact solution as well.
    "iql, behaviour": ("iql", {**CONSTRAINED["iql"], "expectile": 0.5}, np.mean),
    "iql, expectile .9": ("iql", CONSTRAINED["iql"], lambda values: expectile(values, 0.9)),
    # Without what makes them conservative, but for the smaller of two critics, and with hardly any entropy.
    "cql": (
        "cql",
        {
            **CONSTRAINED["cql"],
            "policy_learning_rate": 3e-3,
            "conservative_weight": 0.0,
            "sampled_actions": 1,
            "target_entropy": -6.0,
        },
        np.max,
    ),
    "edac": ("edac", {**CONSTRAINED["edac"], "members": 2, "diversity": 0.0, "target_entropy": -6.0}, np.max),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", list(COVERED))
def test_values_are_exact_where_the_log_covers_every_action(case: str) -> None:
    name, knobs, summary = COVERED[case]
    log = full_log()
    algorithm = train(name, log, 2500, **knobs)
    learned = [float(algorithm.diagnostics(log.rows(row, row + 1))["q_data"]) for row in range(0, len(log), 2)]

    assert np.abs(learned - solution(log, summary, outcomes=2)).max() < 0.05
