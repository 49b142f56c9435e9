"""An environment that keeps every action that it was given, so that what played a policy's actions can be looked at."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

ID = "tests.taped_env:Taped-v0"
TAPES: list[list[float]] = []
"""The actions of each episode, in the order in which episodes began; `clear` it first."""


class Taped(gym.Env[np.ndarray, np.ndarray]):
    """Observes the number of the step. Episodes of 2, 5, 8, 3, 6, … steps: 2 + 3·(seed + episodes since then) modulo 7
    more."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self._number = seed if seed is not None else self._number + 1
        self._tape: list[float] = []
        TAPES.append(self._tape)
        return np.zeros(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._tape.append(float(action[0]))
        steps = len(self._tape)
        return np.full(1, steps, np.float32), 1.0, steps == 2 + 3 * self._number % 7, False, {}


gym.register("Taped-v0", Taped)
