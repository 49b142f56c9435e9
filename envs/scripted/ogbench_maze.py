"""The point of OGBench's mazes, which moves by its action: from waypoint to waypoint in straight lines."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from envs.policies import Actor, Perturbed, Policy
from envs.scripted.routes import Routes
from envs.spec import EnvSpec

_STEP = 0.2
"""How far an action of length 1 moves the point."""


@dataclass(frozen=True)
class OGBenchMazePolicy(Policy):
    """Goes to random goals from random starts, to the next goal once one is reached.

    In a single-task environment, whose start and goal are fixed, it goes to that goal.
    """

    ids: ClassVar[re.Pattern[str]] = re.compile(r"pointmaze-.+")
    family: ClassVar[str] = "OGBench pointmaze-*"

    @classmethod
    def perturbed(cls, noise: float | None, random_probability: float) -> Policy:
        return Perturbed(cls(), 0.5 if noise is None else noise, random_probability)

    @property
    def description(self) -> dict[str, Any]:
        return {"collected_by": "scripted", "policy": "waypoints", "stochastic": False}

    def prepare(self, spec: EnvSpec) -> EnvSpec:
        if "singletask" in spec.id.split("-"):
            return spec
        return replace(spec, kwargs={"terminate_at_goal": False, "max_episode_steps": 1000, **spec.kwargs})

    def __call__(self, env: gym.Env[Any, Any], rng: np.random.Generator) -> Actor:
        inner: Any = env.unwrapped
        routes = Routes(inner.maze_map == 0)
        roams = inner._reward_task_id is None

        def any_cell() -> tuple[int, int]:
            return routes.cells[rng.integers(len(routes.cells))]

        def act(observation: Any, info: dict[str, Any]) -> np.ndarray:
            xy = inner.get_xy()
            if roams and inner.compute_success():
                inner.set_goal(goal_xy=np.asarray(inner.ij_to_xy(any_cell())) + rng.uniform(-1.0, 1.0, 2))
            here, goal = inner.xy_to_ij(xy), inner.xy_to_ij(inner.cur_goal_xy)
            towards = routes.next(here, goal)
            waypoint = inner.cur_goal_xy if towards == goal else inner.ij_to_xy(towards)
            step = (np.asarray(waypoint) - xy) / _STEP
            return step / max(1.0, float(np.linalg.norm(step)))

        start, goal = any_cell(), any_cell()
        return Actor(act, {"task_info": {"init_ij": start, "goal_ij": goal}} if roams else None)
