"""Rewards that the data does not hold as `reward`: those that a goal implies, and those of a task."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from replay.batch import Batch, Request
from replay.errors import DataError
from replay.gather.plan import Plan
from replay.rows import Rows


def check_asked(rows: Rows, request: Request) -> None:
    """Raises `DataError` for rows that were drawn without what the request asks for."""
    for name, asked, found in (("goals", request.goals, rows.reached), ("tasks", request.tasks, rows.task)):
        if asked is not None and found is None:
            raise DataError(
                f"request.{name}: the rows were drawn without; draw them with this request. An ordered pass has none."
            )


def towards_goals(batch: Batch[np.ndarray], reached: np.ndarray, request: Request) -> Batch[np.ndarray]:
    """The batch with the reward, the discount and the flags that goals imply: `reached` is uint8 (B,)."""
    goals = request.goals
    assert goals is not None
    at_goal = reached > 0
    reward = np.where(at_goal, np.float32(goals.goal_reward), np.float32(goals.step_reward))
    return replace(
        batch,
        reward=request.scaled(reward),
        discount=np.where(at_goal, np.float32(0.0), np.float32(request.discount)),
        terminated=at_goal.astype(np.uint8),
        truncated=(batch.terminated | batch.truncated) & ~at_goal,
    )


def read_reward(plan: Plan, at: np.ndarray, rows: Rows, steps: np.ndarray | None = None) -> np.ndarray:
    """float32 (B,), or (B, T) that many `steps` on: the reward of the data, or of the task that each row is trained
    as."""
    if not plan.rewards or rows.task is None:
        return plan.addresses.read("reward", at, steps)
    columns = [plan.addresses.read(name, at, steps).astype(np.float32) for name in plan.rewards]
    found: np.ndarray = np.stack(columns)[rows.task, np.arange(len(rows))]
    return found
