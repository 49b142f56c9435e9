"""A point that is pushed to the origin: the smallest environment that can be learned from four numbers."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

ID = "tests.point_reach:PointReach-v0"
FRAGILE = "tests.point_reach:FragileReach-v0"
STALLING = "tests.point_reach:StallingReach-v0"


class PointReach(gym.Env[np.ndarray, np.ndarray]):
    """Observes position and velocity, is pushed, and earns minus its distance; within 0.2 the episode terminates."""

    observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self._position = self.np_random.uniform(-1.0, 1.0, 2)
        self._velocity = np.zeros(2)
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._velocity = 0.5 * self._velocity + 0.2 * np.asarray(action, np.float64)
        self._position = self._position + self._velocity
        distance = float(np.linalg.norm(self._position))
        reached = distance < 0.2
        return self._observe(), -distance, reached, False, {"success": reached}

    def _observe(self) -> np.ndarray:
        return np.concatenate([self._position, self._velocity]).astype(np.float32)


class OneOfThem(PointReach):
    """The same, but the first process that steps one, which a file in `folder` tells, is an unlucky robot."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._steps = 0

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        mark = self._folder / "unlucky"
        try:
            with mark.open("x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            pass
        self._steps += 1
        if mark.read_text() == str(os.getpid()):
            self.misfortune()
        return super().step(action)

    def misfortune(self) -> None:
        """Before each of its steps."""


class FragileReach(OneOfThem):
    """Each third step fails."""

    def misfortune(self) -> None:
        if self._steps == 3:
            raise ConnectionError("the robot does not answer")


class StallingReach(OneOfThem):
    """The third step takes until there is a file `answer` in `folder`; the hundredth takes for ever."""

    def misfortune(self) -> None:
        while self._steps == 100 or (self._steps == 3 and not (self._folder / "answer").exists()):
            time.sleep(0.01)


gym.register("PointReach-v0", PointReach, max_episode_steps=12)
gym.register("FragileReach-v0", FragileReach, max_episode_steps=12)
gym.register("StallingReach-v0", StallingReach, max_episode_steps=12)
