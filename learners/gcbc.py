"""Goal-conditioned behaviour cloning: to imitate what led to a goal (Ghosh et al. 2019, arXiv 1912.06088, without its
iterations; as OGBench has it, Park et al. 2024, arXiv 2410.20092).

Every observation that follows in an episode is a goal that its actions reached, so each action is cloned towards any of
them. Acting takes a goal: an observation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from learners.bc import BC, BCConfig
from learners.errors import LearnerError
from replay.batch import Request
from replay.errors import DataError
from replay.goals import Goals
from replay.ranges import Share


@dataclass(frozen=True)
class GCBCConfig(BCConfig):
    """Goals are OGBench's for this method: any later observation of the episode, all equally likely. Its authors train
    3 layers of 512 units on batches of 1024, with a spread that is fixed (`policy_std` 1)."""

    goal_current: Share = 0.0  # Share of goals that are the row's own observation.
    goal_future: Share = 1.0  # Share of goals that follow in the row's episode.
    goal_final: Share = 0.0  # Share of goals that are the last observation of the row's episode.
    goal_random: Share = 0.0  # Share of goals that are any observation of the data.
    goal_discount: Share = 1.0  # How fast later goals become rarer; 1 makes all that follow equally likely.

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.action_chunk:
            raise LearnerError(f"action_chunk: found {self.action_chunk}, expected 0: a goal is of a single step.")
        if self.goal_discount != 1.0 and not self.goal_future:
            raise LearnerError(
                f"goal_discount: found {self.goal_discount:g}, but no goals follow in the episode (goal_future 0); "
                "leave it out."
            )
        try:
            self.request()
        except DataError as error:
            raise LearnerError(str(error)) from error

    def request(self) -> Request:
        goals = Goals(
            self.goal_current, self.goal_future, self.goal_final, self.goal_random, discount=self.goal_discount
        )
        return replace(super().request(), goals=goals)


class GCBC(BC):
    """BC whose policy reads the goal beside the observation; the losses are its own."""

    Config = GCBCConfig
    config: GCBCConfig
