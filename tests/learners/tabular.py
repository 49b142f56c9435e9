"""A problem small enough to solve exactly, for the proof that a method learns: five states, a reward of 1 at the end.

The first element of an action chooses the direction; the second does nothing. The log holds actions from two regions
only, one for each direction. Away from them the robot slips: the episode ends with nothing. No method is told.

So a method that maximises Q over all actions believes in values that nothing in the log supports and that its own
policy does not achieve, and one that keeps to the log must not. Both truths, the best value that the log's actions
allow and the value of the learned policy, are computed exactly here. (Actions have two elements because EDAC keeps
the directions of action gradients apart, and in one dimension a direction is only a sign.)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
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
    """The action logged after each is any of the next state's, as if the robot had stopped there and gone on later."""
    state, action, reward, after, end, weight = (np.array(column) for column in zip(*rows, strict=True))
    one_hot = np.eye(STATES + 1, dtype=np.float32)
    each = len(rows) // STATES
    following = after * each + np.random.default_rng(0).integers(each, size=len(rows))
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
        extras={
            "next_action": action[np.where(end, np.arange(len(rows)), following)].astype(np.float32),
            "has_next_action": 1 - end.astype(np.uint8),
        },
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


def train(
    name: str, log: Batch[Floats], steps: int, *, seed: int = 0, spaces: Spaces = SPACES, **knobs: Any
) -> Algorithm:
    """Every step takes the whole log."""
    known = {entry.name for entry in fields(learners.config_class(name))}
    usual = {"discount": DISCOUNT, "hidden": (64, 64), "normalise_observation": False}
    usual = {knob: value for knob, value in usual.items() if knob in known}
    algorithm = learners.create(name, spaces, seed=seed, **usual, **knobs)
    for sequence in range(steps):
        algorithm.update(replace(log, key=(seed, sequence)))
    return algorithm


def believed_and_achieved(algorithm: Algorithm, log: Batch[Floats]) -> tuple[float, float]:
    """Q(s₀, π(s₀)) as learned, and the exact value of π in s₀."""
    policy, _ = algorithm.act(np.eye(STATES, STATES + 1, dtype=np.float32))
    believed = algorithm.diagnostics(log.rows(0, 1))["q_policy"]
    return float(believed), float(achieved(policy)[0])


BEST = DISCOUNT ** (STATES - 1)
"""The value of s₀ when always going right: .6561."""
