"""GCBC on a corridor, where the action towards every goal is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import learners
from learners.errors import LearnerError
from replay import Box, DatasetWriter, Dict, Episode, Goals, Image, Request, Spaces

PLACES = 6
SPACES = Spaces(Box((PLACES,)), Box((1,), low=(-1.0,), high=(1.0,)))
EYE = np.eye(PLACES, dtype=np.float32)
SMALL: dict[str, Any] = {"hidden": (64, 64), "normalise_observation": False}


@pytest.fixture
def corridor(tmp_path: Path) -> Any:
    """Episodes that walk from one end to the other, half of them each way, and are at each place on their way."""
    flags = np.zeros(PLACES - 1, np.uint8)
    with DatasetWriter(tmp_path / "corridor", SPACES, provenance={"by": "a test"}, validation_fraction=0.0) as writer:
        for direction in (1, -1):
            action = np.full((PLACES - 1, 1), 0.5 * direction, np.float32)
            writer.add(Episode(EYE[::direction], action, np.zeros(PLACES - 1, np.float32), flags, flags))
        return writer.finish()


def test_it_learns_the_action_that_led_to_each_goal(corridor: Any) -> None:
    gcbc = learners.create("gcbc", SPACES, learning_rate=3e-3, loss="mse", **SMALL)
    for sequence in range(300):
        gcbc.update(corridor.sample(seed=0, sequence=sequence, count=64, request=gcbc.requires))
    for goal in range(PLACES):
        found, _ = gcbc.act(EYE, goal=EYE[goal])
        expected = 0.5 * np.sign(goal - np.arange(PLACES))
        elsewhere = np.arange(PLACES) != goal
        np.testing.assert_allclose(found[elsewhere, 0], expected[elsewhere], atol=0.1)


def test_its_knobs_are_those_of_the_request() -> None:
    knobs: dict[str, Any] = {
        "goal_current": 0.1,
        "goal_future": 0.2,
        "goal_final": 0.3,
        "goal_random": 0.4,
        "goal_discount": 0.9,
    }
    request = learners.create("gcbc", SPACES, **SMALL, **knobs).requires
    assert request == Request(goals=Goals(0.1, 0.2, 0.3, 0.4, discount=0.9))
    assert learners.create("gcbc", SPACES, **SMALL).requires.goals == Goals(future=1.0)


def test_a_goal_for_each_observation_or_one_for_all() -> None:
    gcbc = learners.create("gcbc", SPACES, **SMALL)
    every, _ = gcbc.act(EYE, goal=EYE[::-1])
    assert every.shape == (PLACES, 1)
    for place in range(PLACES):
        one, _ = gcbc.act(EYE[place], goal=EYE[PLACES - 1 - place])
        np.testing.assert_allclose(one, every[place], atol=1e-6)


def test_goals_are_pictures_where_observations_are() -> None:
    spaces = Spaces(Dict.of({"eye": Image((9, 8, 3))}), SPACES.action)
    gcbc = learners.create("gcbc", spaces, hidden=(16,), encoder_width=8)
    dark, bright = ({"eye": np.full((9, 8, 3), level, np.uint8)} for level in (0, 255))
    assert not np.array_equal(gcbc.act(dark, goal=bright)[0], gcbc.act(dark, goal=dark)[0])


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"goal_future": 0.5}, "goals: found shares of 0.5 in all"),
        ({"action_chunk": 3}, "action_chunk: found 3, expected 0: a goal is of a single step"),
        (
            {"goal_future": 0.0, "goal_final": 1.0, "goal_discount": 0.9},
            "goal_discount: found 0.9, but no goals follow",
        ),
    ],
)
def test_knobs_that_make_no_sense_are_refused(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(LearnerError, match=message):
        learners.create("gcbc", SPACES, **knobs)


def test_acting_needs_a_goal_of_the_observations_form() -> None:
    gcbc, bc = (learners.create(name, SPACES, **SMALL) for name in ("gcbc", "bc"))
    with pytest.raises(LearnerError, match="act: goal: found none, expected an observation"):
        gcbc.act(EYE)
    with pytest.raises(LearnerError, match=r"act: goal: observation: found shape \(3,\), expected \(6,\)"):
        gcbc.act(EYE, goal=np.zeros(3, np.float32))
    with pytest.raises(LearnerError, match="act: goal: found 2 for 6 observations, expected 1 or 6"):
        gcbc.act(EYE, goal=EYE[:2])
    with pytest.raises(LearnerError, match="act: task: found 'push', but this policy knows no tasks"):
        gcbc.act(EYE, goal=EYE[0], task="push")
    with pytest.raises(LearnerError, match="act: goal: found one, but this policy acts towards none"):
        bc.act(EYE, goal=EYE[0])


def test_a_batch_without_goals_is_refused(corridor: Any) -> None:
    gcbc = learners.create("gcbc", SPACES, **SMALL)
    with pytest.raises(LearnerError, match=r"batch.goal: found None, expected shape \(8, 6\)"):
        gcbc.update(corridor.sample(seed=0, sequence=0, count=8, request=Request()))
