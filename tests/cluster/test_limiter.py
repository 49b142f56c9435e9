"""Samples to inserts: who waits for whom, by hand."""

from __future__ import annotations

import pytest

from cluster.errors import RunError
from cluster.limiter import SamplesToInserts

LIMITER = SamplesToInserts(updates_per_step=2.0, start=100, slack=10.0)


def test_nobody_learns_before_there_is_enough() -> None:
    assert not LIMITER.may_learn(0, 4, 99)
    assert LIMITER.may_learn(0, 4, 100)


@pytest.mark.parametrize(
    ("asked", "stored", "may"),
    [
        (16, 100, True),  # 16 + 4 steps are worth 10 environment steps, and none beyond the start are there: ten ahead
        (17, 100, False),
        (17, 101, True),
        (220, 200, False),  # 224 / 2 = 112 are needed, 100 are there
        (216, 200, True),
    ],
)
def test_a_learner_that_is_ahead_waits(asked: int, stored: int, may: bool) -> None:
    assert LIMITER.may_learn(asked, 4, stored) is may


@pytest.mark.parametrize(
    ("asked", "stored", "under_way", "may"),
    [
        (0, 0, 0, True),  # before the start nothing holds them back
        (0, 80, 15, True),  # 80 + 15 + 5 is the start
        (0, 100, 0, True),  # five ahead
        (0, 100, 5, True),  # ten
        (0, 100, 6, False),  # eleven
        (2, 100, 6, True),  # two gradient steps are worth one
    ],
)
def test_runners_that_are_ahead_wait(asked: int, stored: int, under_way: int, may: bool) -> None:
    assert LIMITER.may_act(asked, stored, under_way, 5) is may


def test_between_the_bounds_one_of_them_can_always_move() -> None:
    """With the narrowest slack that is accepted, taking turns never stops."""
    limiter = SamplesToInserts(updates_per_step=3.0, start=7, slack=(8 / 3.0 + 10) / 2)
    limiter.check(8, 10)
    asked = stored = 0
    for _ in range(1_000):
        learns, acts = limiter.may_learn(asked, 8, stored), limiter.may_act(asked, stored, 0, 10)
        assert learns or acts
        asked, stored = (asked + 8, stored) if learns else (asked, stored + 10)
    assert stored - 7 == pytest.approx(asked / 3.0, abs=20)


def test_bounds_between_which_both_would_wait_are_refused() -> None:
    with pytest.raises(RunError, match=r"--slack: found 10, expected at least 12"):
        LIMITER.check(chunk_steps=8, rollout_steps=20)
    LIMITER.check(chunk_steps=8, rollout_steps=16)


def test_updates_are_counted_from_the_start() -> None:
    assert SamplesToInserts(0.1, 0, 100.0).updates(30) == 3
    assert LIMITER.updates(1_100) == 2_000


@pytest.mark.parametrize("updates", [0.0, -1.0, float("nan"), float("inf")])
def test_a_ratio_must_be_positive(updates: float) -> None:
    with pytest.raises(RunError, match=r"--updates-per-step: found"):
        SamplesToInserts(updates, 0, 10.0)


def test_a_start_cannot_be_negative() -> None:
    with pytest.raises(RunError, match=r"--learning-starts: found -1"):
        SamplesToInserts(1.0, -1, 10.0)
