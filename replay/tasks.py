"""Tasks: which task each row is trained as, and the column that its reward is taken from.

Impersonation and balance are those of MT-Opt (Kalashnikov et al. 2021, arXiv 2104.08212). Drawing is
`replay.draw_tasks`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Annotated

from replay.errors import DataError
from replay.ranges import Range, Share, check_fields
from replay.records import listed

MOST_TASKS = 1_000
REWARD = "reward."
"""Begins the name of the column of a task's reward, where nothing else is said."""


@dataclass(frozen=True)
class Tasks:
    """The tasks of a request, numbered from 0 in the order of `names`. An episode's own task is its tag `task`.

    Raises `DataError` for no task, one that is named twice, and settings that have no effect.
    """

    names: Annotated[tuple[str, ...], Range(entries=MOST_TASKS)]
    rewards: Annotated[tuple[str, ...], Range(entries=MOST_TASKS)] = ()
    """The column that holds each task's reward at every step, for the rows of any task; `reward` is the dataset's own.
    Where none are given, task `push` has the extra column `reward.push`."""
    impersonation: Share = 0.0
    """Share of rows that are trained as another task than their episode's, any of the others being equally likely."""
    balance: bool = False
    """Draw as many rows of successful as of failed episodes of each task, where it has both. The tasks keep the shares
    that they have without."""

    def __post_init__(self) -> None:
        check_fields(self, DataError, lambda name: f"tasks.{name}")
        if not self.names:
            raise DataError("tasks.names: found none, expected at least one.")
        if twice := [name for name, count in Counter(self.names).items() if count > 1]:
            raise DataError(f"tasks.names: found {listed(twice)} more than once, expected each task once.")
        if self.rewards and len(self.rewards) != len(self.names):
            raise DataError(
                f"tasks.rewards: found {len(self.rewards)} columns for {len(self.names)} tasks, expected one for each, "
                f"or none for {REWARD}TASK."
            )
        if self.impersonation and len(self.names) == 1:
            raise DataError(
                f"tasks.impersonation: found {self.impersonation:g} with one task, {listed(self.names)}; there is no "
                "other to be trained as."
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Of their rewards, by their numbers."""
        return self.rewards or tuple(f"{REWARD}{name}" for name in self.names)
