"""`PointReach` with a robot that now and then measures what is no number."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from tests.point_reach import OneOfThem, PointReach

ID = "tests.damaged_reach:DamagedReach-v0"
BLIND = "tests.damaged_reach:BlindReach-v0"


class DamagedReach(PointReach):
    """NaN, or what float32 cannot hold, in the second step of each of the episodes `first`, `first` + `every`, …"""

    def __init__(self, what: str, first: int, every: int) -> None:
        self._what, self._first, self._every = what, first, every
        self._episode = -1
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        self._episode += 1
        self._steps = 0
        return super().reset(seed=seed)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert np.isfinite(action).all(), "the policy was shown what is no number"
        observation, reward, _, _, info = super().step(action)
        self._steps += 1
        behind = self._episode - self._first
        if self._steps == 2 and behind >= 0 and behind % self._every == 0:
            if self._what == "observation":
                observation[1] = np.nan
            reward = {"reward": np.nan, "large reward": 1e39}.get(self._what, reward)
        return observation, reward, False, self._steps == 4, info


class BlindReach(OneOfThem):
    """The unlucky one measures nothing but NaN from its first step on."""

    _blind = False

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observation, *rest = super().step(action)
        return (np.full_like(observation, np.nan) if self._blind else observation), *rest

    def misfortune(self) -> None:
        self._blind = True


gym.register("DamagedReach-v0", DamagedReach)
gym.register("BlindReach-v0", BlindReach, max_episode_steps=12)
