"""What a policy remembers between two calls, by hand: chunks that are played out, and the observations before."""

from __future__ import annotations

import numpy as np
import pytest

from learners.base.acting_state import ActingState, Past, Plan, beginnings, play, remember
from learners.errors import LearnerError


def flags(*values: int) -> np.ndarray:
    return np.array(values, bool)


# --- Where an episode begins ---


def test_without_a_state_every_row_begins() -> None:
    assert beginnings(None, None, 2).tolist() == [True, True]
    assert beginnings(flags(0, 0), None, 2).tolist() == [True, True]


def test_with_one_those_rows_that_are_marked() -> None:
    state = ActingState(plan=Plan(np.zeros((2, 3, 1)), np.zeros(2, np.int64)))
    assert beginnings(None, state, 2).tolist() == [False, False]
    assert beginnings(flags(0, 1), state, 2).tolist() == [False, True]
    assert beginnings(True, ActingState(Past(np.zeros((1, 2)), np.ones((1, 2), np.uint8))), 1).tolist() == [True]


@pytest.mark.parametrize(
    ("first", "state", "message"),
    [
        (flags(1, 1, 1), None, r"first: found bool \(3,\), expected one boolean for each of 2"),
        (np.ones(2), None, r"first: found float64 \(2,\), expected one boolean for each of 2"),
        (flags(1, 1), "mine", "state: found str, expected what the last `act` returned"),
        (flags(1, 1), ActingState(plan=Plan(np.zeros((3, 1)), np.zeros(3, int))), "is of 3 observations, found 2"),
    ],
)
def test_what_does_not_fit_is_refused(first: object, state: object, message: str) -> None:
    with pytest.raises(LearnerError, match=message):
        beginnings(first, state, 2)


# --- Chunks ---


def test_a_chunk_is_played_out_and_then_the_next_is_decided() -> None:
    """Two rows, chunks of 3; the second row's episode begins anew at step 2."""
    firsts = [flags(1, 1), flags(0, 0), flags(0, 1), flags(0, 0), flags(0, 0), flags(0, 0), flags(0, 0)]
    calls: list[int] = []
    plan, played = None, []
    for step, first in enumerate(firsts):

        def decide(step: int = step) -> np.ndarray:
            """The step that it is decided at in tens, the row in hundreds, the place in the chunk in ones."""
            calls.append(step)
            return np.array([[[100.0 * row + 10 * step + place] for place in range(3)] for row in range(2)])

        action, plan = play(plan, first, 3, decide)
        played.append(action[:, 0].tolist())
    assert [row for row, _ in played] == [0, 1, 2, 30, 31, 32, 60]
    assert [row for _, row in played] == [100, 101, 120, 121, 122, 150, 151]
    assert calls == [0, 2, 3, 5, 6]


# --- History ---


def test_a_history_begins_with_the_first_observation_repeated_and_masked() -> None:
    """Two rows that observe 1, 2, 3, 4 and 10, 20, 30, 40; the second begins anew at 30."""
    past, seen, masks = None, [], []
    for step, first in enumerate([flags(1, 1), flags(0, 0), flags(0, 1), flags(0, 0)], start=1):
        past = remember(past, np.array([[1.0 * step], [10.0 * step]]), first, history=2)
        seen.append(past.observation[..., 0].tolist())  # type: ignore[call-overload,index]
        masks.append(past.mask.tolist())
    assert [row for row, _ in seen] == [[1, 1, 1], [1, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert [row for _, row in seen] == [[10, 10, 10], [10, 10, 20], [30, 30, 30], [30, 30, 40]]
    assert [row for row, _ in masks] == [[0, 0, 1], [0, 1, 1], [1, 1, 1], [1, 1, 1]]
    assert [row for _, row in masks] == [[0, 0, 1], [0, 1, 1], [0, 0, 1], [0, 1, 1]]


def test_dictionaries_are_remembered_part_by_part() -> None:
    one = {"arm": np.array([[1.0, 2.0]]), "camera": np.full((1, 2, 2, 3), 7, np.uint8)}
    past = remember(None, one, flags(1), history=1)
    past = remember(past, {"arm": np.array([[3.0, 4.0]]), "camera": one["camera"] + 1}, flags(0), history=1)
    assert isinstance(past.observation, dict)
    assert past.observation["arm"].tolist() == [[[1, 2], [3, 4]]]
    assert past.observation["camera"].shape == (1, 2, 2, 2, 3)
    assert past.observation["camera"].dtype == np.uint8
    assert past.observation["camera"][0, :, 0, 0, 0].tolist() == [7, 8]
