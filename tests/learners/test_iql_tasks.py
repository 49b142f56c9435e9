"""IQL on two tasks whose rewards are opposite, in a corridor that is solved exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import learners
from learners.algorithm import Algorithm
from learners.errors import LearnerError
from replay import Batch, Box, Discrete, Request, Spaces, Tasks

PLACES, DISCOUNT = 4, 0.8
TASKS = ("left", "right")
SPACES = Spaces(Box((PLACES,)), Discrete(2))
EYE = np.eye(PLACES, dtype=np.float32)
KNOBS: dict[str, Any] = {"tasks": TASKS, "hidden": (32,), "normalise_observation": False, "discount": DISCOUNT}


def walk(place: int, action: int) -> int:
    return int(np.clip(place + (1 if action else -1), 0, PLACES - 1))


def reward(task: int, after: int) -> float:
    """1 at the end that the task is named after."""
    return float(after == (PLACES - 1) * task)


def log() -> Batch[Any]:
    """Every action in every place, as each task."""
    rows = [(place, action, task) for task in (0, 1) for place in range(PLACES) for action in (0, 1)]
    place, action, task = (np.array(column) for column in zip(*rows, strict=True))
    after = np.array([walk(p, a) for p, a, _ in rows])
    rewards = np.array([reward(t, n) for t, n in zip(task, after, strict=True)], np.float32)
    flags = np.zeros(len(rows), np.uint8)
    discount = np.full(len(rows), DISCOUNT, np.float32)
    return Batch(EYE[place], action, rewards, discount, EYE[after], flags, flags, np.arange(len(rows)), task=task)


def solution(task: int) -> np.ndarray:
    """Q (places, actions) of acting at random in one task: the value that expectile .5 regresses on."""
    after = np.array([[walk(place, action) for action in (0, 1)] for place in range(PLACES)])
    rewards = np.array([[reward(task, place) for place in row] for row in after])
    mean = np.eye(PLACES)[after].mean(1)
    value = np.linalg.solve(np.eye(PLACES) - DISCOUNT * mean, rewards.mean(1))
    return rewards + DISCOUNT * value[after]


@pytest.fixture(scope="module")
def learned() -> Iterator[Algorithm]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    made = learners.create("iql", SPACES, expectile=0.5, temperature=100.0, learning_rate=1e-2, polyak=0.1, **KNOBS)
    rows = log()
    for sequence in range(400):
        made.update(replace(rows, key=(0, sequence)))
    yield made
    torch.set_num_threads(threads)


def test_each_task_has_its_own_values(learned: Algorithm) -> None:
    rows = log()
    found = [float(learned.diagnostics(rows.rows(row, row + 1))["q_data"]) for row in range(len(rows))]
    np.testing.assert_allclose(np.reshape(found, (2, PLACES, 2)), [solution(0), solution(1)], atol=0.05)


def test_each_task_has_its_own_policy(learned: Algorithm) -> None:
    for number, task in enumerate(TASKS):
        assert learned.act(EYE, task=task)[0].tolist() == [number] * PLACES


def test_its_knobs_are_those_of_the_request() -> None:
    knobs = {"task_rewards": ("reward", "other"), "impersonation": 0.5, "balance_tasks": True}
    found = learners.create("iql", SPACES, **{**KNOBS, **knobs}).requires
    assert found == Request(discount=DISCOUNT, tasks=Tasks(TASKS, ("reward", "other"), 0.5, True))
    assert learners.create("iql", SPACES).requires.tasks is None


def test_without_tasks_nothing_stands_beside_observations() -> None:
    plain, with_tasks = (learners.create("iql", SPACES, **{**KNOBS, "tasks": tasks}) for tasks in ((), TASKS))
    shapes, wider = ({name: tuple(p.shape) for name, p in made.state_dict().items()} for made in (plain, with_tasks))
    differing = [(shapes[name], wider[name]) for name in shapes if shapes[name] != wider[name]]
    # The first layers of the value, of both critics and of the policy, and of the target of the critics.
    assert len(differing) == 4
    assert {PLACES, PLACES + len(TASKS)} <= {size for pair in differing for shape in pair for size in shape}


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"impersonation": 0.5}, "impersonation: found 0.5 without tasks; name some"),
        ({"task_rewards": ("reward",)}, "task_rewards: found .'reward',. without tasks"),
        ({"tasks": ("a", "a")}, "tasks.names: found a more than once"),
        ({"tasks": "push"}, "tasks: found 'push', expected up to 1000 entries"),
    ],
)
def test_knobs_that_make_no_sense_are_refused(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(LearnerError, match=message):
        learners.create("iql", SPACES, **knobs)


def test_acting_needs_the_name_of_a_task() -> None:
    made = learners.create("iql", SPACES, **KNOBS)
    with pytest.raises(LearnerError, match="act: task: found none, expected one of left, right"):
        made.act(EYE)
    with pytest.raises(LearnerError, match="act: task: found 'up', expected one of left, right"):
        made.act(EYE, task="up")
