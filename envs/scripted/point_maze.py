"""The point mass of gymnasium-robotics' mazes: waypoints and a PD controller."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from envs.policies import Actor, Perturbed, Policy
from envs.scripted.routes import Cell, Routes
from envs.spec import EnvSpec

_WALL = 1


@dataclass(frozen=True)
class PointMazePolicy(Policy):
    """Heads for the centre of the next cell on the shortest way, and in the goal's cell for the goal.

    Follows the goal that the environment has now, so in a continuing task it goes from goal to goal.
    The point is pushed by a force: `proportional` pulls to the waypoint, `derivative` brakes.
    """

    proportional: float = 10.0
    derivative: float = 1.0

    ids: ClassVar[re.Pattern[str]] = re.compile(r"PointMaze_.+")
    family: ClassVar[str] = "gymnasium-robotics PointMaze_*"

    @classmethod
    def perturbed(cls, noise: float | None, random_probability: float) -> Policy:
        return Perturbed(cls(), 0.5 if noise is None else noise, random_probability)

    @property
    def description(self) -> dict[str, Any]:
        return {"collected_by": "scripted", "policy": "waypoints", "stochastic": False}

    def prepare(self, spec: EnvSpec) -> EnvSpec:
        # Left alone, a continuing task keeps its goal and the point would wait there until the limit.
        return replace(spec, kwargs={"reset_target": True, **spec.kwargs})

    def __call__(self, env: gym.Env[Any, Any], rng: np.random.Generator) -> Actor:
        inner: Any = env.unwrapped
        maze = inner.maze
        routes = Routes(np.array([[cell != _WALL for cell in row] for row in maze.maze_map]))

        def cell_of(xy: np.ndarray) -> Cell:
            i, j = maze.cell_xy_to_rowcol(xy)
            return int(i), int(j)

        def act(observation: Any, info: dict[str, Any]) -> np.ndarray:
            position, velocity = inner.data.qpos[:2], inner.data.qvel[:2]
            here, goal = cell_of(position), cell_of(inner.goal)
            towards = routes.next(here, goal)
            waypoint = inner.goal if towards == goal else maze.cell_rowcol_to_xy(np.array(towards))
            push = self.proportional * (waypoint - position) - self.derivative * velocity
            return np.clip(push, -1.0, 1.0)

        return Actor(act)
