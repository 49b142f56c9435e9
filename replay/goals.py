"""Goals: which observation each row is to reach, and the reward that this implies (hindsight relabelling).

Andrychowicz et al. 2017, arXiv 1707.01495, with the shares, the distances and the rewards of OGBench (Park et al. 2024,
arXiv 2410.20092). Drawing them is `replay.draw_goals`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from replay.errors import DataError
from replay.ranges import Range, Share, check_fields

Reward = Annotated[float, Range(-1e30, 1e30)]


@dataclass(frozen=True)
class Goals:
    """Shares of four kinds of goals, which sum to 1, and the reward of a row towards its goal.

    A row is at its goal where its own observation is the goal. There it has `goal_reward` and bootstraps no further;
    every other row has `step_reward` and bootstraps, also where the episode was recorded as terminated, since what
    ended it was another task. Raises `DataError` for shares that do not sum to 1.
    """

    current: Share = 0.0
    """The row's own observation."""
    future: Share = 1.0
    """One that follows in the row's episode."""
    final: Share = 0.0
    """The last one of the row's episode, after its last action."""
    random: Share = 0.0
    """The observation of any transition, drawn as transitions are."""
    discount: Share = 1.0
    """Of future goals: one k steps on has probability (1 - discount)·discount^(k-1), those beyond the episode's end
    falling on its last observation; with 1, every observation that follows is equally likely."""
    step_reward: Reward = -1.0
    goal_reward: Reward = 0.0

    def __post_init__(self) -> None:
        check_fields(self, DataError, lambda name: f"goals.{name}")
        total = math.fsum(self.shares)
        if abs(total - 1.0) > 1e-9:
            found = ", ".join(f"{name} {share:g}" for name, share in zip(KINDS, self.shares, strict=True))
            raise DataError(f"goals: found shares of {total:g} in all ({found}), expected 1.")

    @property
    def shares(self) -> tuple[float, float, float, float]:
        """In the order of `KINDS`."""
        return self.current, self.future, self.final, self.random


KINDS = ("current", "future", "final", "random")
