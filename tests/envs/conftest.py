"""An environment small enough to work out by hand."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

COUNTDOWN = "quiver-tests/Countdown-v0"


class Countdown(gym.Env[Any, Any]):
    """Lasts 2 + seed % 3 steps (for ever where `endless`); the observation is (steps left, seed).

    Each step's reward is 1 + 10 times the action that arrived. With `tells`, the info of a step says
    under that name whether exactly one step is left, so every episode succeeds on its way, not at its end.
    """

    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(
        self, tells: str = "", endless: bool = False, dictionary: bool = False, odd_only: bool = False
    ) -> None:
        self.tells, self.endless, self.dictionary, self.odd_only = tells, endless, dictionary, odd_only
        box = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.observation_space = gym.spaces.Dict({"joints": box, "goal": box}) if dictionary else box

    def _observation(self) -> Any:
        value = np.array([self.left, self.seed], dtype=np.float64)
        return {"joints": value, "goal": -value} if self.dictionary else value

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        assert seed is not None
        self.seed, self.left, self.options = seed, 2 + seed % 3, options
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert action.dtype == np.float32
        self.left -= 1
        success = self.left == 1 and (not self.odd_only or self.seed % 2 == 1)
        info = {self.tells: success} if self.tells else {}
        ended = self.left == 0 and not self.endless
        return self._observation(), 1.0 + 10.0 * float(action[0]), ended, False, info


@pytest.fixture(autouse=True)
def countdown() -> str:
    if COUNTDOWN not in gym.registry:
        gym.register(COUNTDOWN, entry_point=lambda **kwargs: Countdown(**kwargs))
    return COUNTDOWN
