"""The same for discrete actions: six states in a chain, a reward of 1 for leaving it at its end, four ways to move.

In every state one of the four actions is broken: it ends the episode with nothing. The log never holds it, so nothing
tells a method but its absence. Jumps are good wherever they work, and a method that maximises over all actions takes
them in the states where they do not. Going back is logged twice as often as anything else: imitation does not arrive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learners.algorithm import Algorithm
from replay.batch import Batch
from replay.spaces import Box, Discrete, Spaces
from tests.learners import tabular

STATES = 6
DISCOUNT = 0.9
BACK, STAY, ON, JUMP = ACTIONS = (1, 2, 3, 4)  # Not from 0, which is what forgets an offset.
LEADS = {BACK: -1, STAY: 0, ON: 1, JUMP: 2}
COPIES = {BACK: 2, STAY: 1, ON: 1, JUMP: 1}
BROKEN = (JUMP, BACK, ON, JUMP, STAY, JUMP)
"""In each state."""
SPACES = Spaces(Box((STATES + 1,)), Discrete(len(ACTIONS), start=BACK))
BEST = DISCOUNT**3
"""The value of the first state by the log's actions: on to 1, a jump to 3, on to 4, a jump to the end."""
Array = NDArray[Any]


# --- The problem ---


def move(state: int, action: int) -> tuple[float, int, bool]:
    """Reward, next state and whether the episode ends, where nothing is broken."""
    after = min(max(state + LEADS[action], 0), STATES)
    return float(after == STATES), after, after == STATES


def step(state: int, action: int) -> tuple[float, int, bool]:
    return (0.0, state, True) if action == BROKEN[state] else move(state, action)


def partial_log() -> Batch[Array]:
    """Every action that works."""
    pairs = [(state, action) for state in range(STATES) for action in ACTIONS if action != BROKEN[state]]
    return as_batch([(*pair, *step(*pair)) for pair in pairs for _ in range(COPIES[pair[1]])])


def full_log() -> Batch[Array]:
    """Every action, of a chain in which none is broken."""
    return as_batch([(state, action, *move(state, action)) for state in range(STATES) for action in ACTIONS])


def as_batch(rows: list[tuple[int, int, float, int, bool]]) -> Batch[Array]:
    state, action, reward, after, end = (np.array(column) for column in zip(*rows, strict=True))
    one_hot = np.eye(STATES + 1, dtype=np.float32)
    return Batch(
        observation=one_hot[state],
        action=action.astype(np.int64),
        reward=reward.astype(np.float32),
        discount=(DISCOUNT * (1.0 - end)).astype(np.float32),
        next_observation=one_hot[after],
        terminated=end.astype(np.uint8),
        truncated=np.zeros(len(rows), np.uint8),
        index=np.arange(len(rows)),
    )


# --- Its exact solutions ---


def solution(log: Batch[Array], summary: Callable[[Array], float] = np.max) -> Array:
    """Q of every row, where V(s) is the `summary` of the Qs of the log in s: with the maximum, the best of the log."""
    state, after = log.observation.argmax(1), log.next_observation.argmax(1)
    value = np.zeros(STATES + 1)
    for _ in range(500):  # .9^500 is nothing
        q = log.reward + log.discount * value[after]
        value[:STATES] = [summary(q[state == each]) for each in range(STATES)]
    return q


def frequencies(log: Batch[Array]) -> Array:
    """How often each action is taken in each state, (S, n): what imitation learns."""
    counts = np.zeros((STATES, len(ACTIONS)))
    np.add.at(counts, (log.observation.argmax(1), log.action - BACK), 1.0)
    return counts / counts.sum(1, keepdims=True)


def achieved(policy: Array) -> Array:
    """The values (I − γP)⁻¹r of a policy, given as one action for each state."""
    transition, reward = np.zeros((STATES, STATES)), np.zeros(STATES)
    for state in range(STATES):
        reward[state], after, end = step(state, int(policy[state]))
        if not end:
            transition[state, after] = 1.0
    return np.linalg.solve(np.eye(STATES) - DISCOUNT * transition, reward)


# --- Learning ---


def train(name: str, log: Batch[Array], steps: int, **knobs: Any) -> Algorithm:
    """As in `tests.learners.tabular`, on these spaces."""
    return tabular.train(name, log, steps, spaces=SPACES, **knobs)


def chosen(algorithm: Algorithm) -> Array:
    """The policy's action in each state."""
    return algorithm.act(np.eye(STATES, STATES + 1, dtype=np.float32))[0]


def believed(algorithm: Algorithm, log: Batch[Array], name: str = "q_policy") -> Array:
    """Q at the policy's action (or with `q_data` at the logged one) as learned, for every row of a log."""
    return np.array([float(algorithm.diagnostics(log.rows(i, i + 1))[name]) for i in range(len(log))])
