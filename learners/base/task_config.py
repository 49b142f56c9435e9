"""The knobs of methods that learn several tasks at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from learners.base.config import CommonConfig
from learners.errors import LearnerError
from replay.batch import Request
from replay.errors import DataError
from replay.ranges import Range, Share, shown
from replay.tasks import MOST_TASKS, Tasks

Names = Annotated[tuple[str, ...], Range(entries=MOST_TASKS)]


@dataclass(frozen=True)
class TaskConfig(CommonConfig):
    """Every network reads the task beside the observation, as a one-hot vector (MT-Opt, Kalashnikov et al. 2021, arXiv
    2104.08212)."""

    tasks: Names = ()  # The tasks, as episodes are tagged; the reward of task T is the data's column reward.T.
    task_rewards: Names = ()  # The column of each task's reward, where it is another; reward is the data's own.
    impersonation: Share = 0.0  # Share of rows that are trained as another task than their episode's.
    balance_tasks: bool = False  # Draw as many rows of successful as of failed episodes of each task.

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("task_rewards", "impersonation", "balance_tasks"):
            if getattr(self, name) and not self.tasks:
                raise LearnerError(f"{name}: found {shown(getattr(self, name))} without tasks; name some.")
        try:
            self._tasks()
        except DataError as error:
            raise LearnerError(str(error)) from error

    def request(self) -> Request:
        return replace(super().request(), tasks=self._tasks())

    def _tasks(self) -> Tasks | None:
        if not self.tasks:
            return None
        return Tasks(self.tasks, self.task_rewards, self.impersonation, self.balance_tasks)
