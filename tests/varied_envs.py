"""Environments that observe what is no plain array of numbers, each for three steps, and one that has options."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

PREFIX = "quiver-tests/Varied"
UNIT = spaces.Box(-1.0, 1.0, (2,), np.float32)
PICTURE = spaces.Box(0, 255, (3, 32, 40), np.uint8)
NESTED = spaces.Dict(
    {
        "arm": spaces.Dict({"angle": spaces.Box(-1.0, 1.0, (2,), np.float64), "held": spaces.MultiBinary(3)}),
        "gear": spaces.MultiDiscrete([3, 4], start=[0, 5]),
        "pair": spaces.Tuple((spaces.Discrete(2), UNIT)),
    }
)
SPACES: dict[str, spaces.Space[Any]] = {
    "Choice": spaces.Discrete(5, start=2),
    "Nested": NESTED,
    "Picture": PICTURE,
    "Camera": spaces.Dict({"eye": PICTURE, "state": UNIT}),
    "Partly": spaces.Dict({"words": spaces.Text(5), "state": UNIT}),
    "Clash": spaces.Dict({"arm": spaces.Dict({"angle": UNIT}), "arm.angle": UNIT}),
    "Text": spaces.Text(5),
    "Sequence": spaces.Sequence(UNIT),
    "Graph": spaces.Graph(UNIT, None),
    "Empty": spaces.Dict({}),
    "Numbers": UNIT,
}
ACTIONS: dict[str, spaces.Space[Any]] = {
    "Pairs": spaces.MultiDiscrete([3, 3]),
    "Switches": spaces.MultiBinary(3),
    "Both": spaces.Tuple((UNIT, spaces.Discrete(2))),
    "Named": spaces.Dict({"arm": UNIT}),
    "Wide": spaces.Box(-2.0, 2.0, (2,), np.float32),
    "Few": spaces.Discrete(2),
    "Many": spaces.Discrete(4),
}
"""Of environments that observe `Numbers`."""


class Varied(gym.Env[Any, Any]):
    """What it observes is drawn from its space, with the seed of the reset."""

    def __init__(self, name: str) -> None:
        self.observation_space = SPACES.get(name, UNIT)
        self.action_space = ACTIONS.get(name, UNIT)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.left = 3
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.left -= 1
        return self.observation_space.sample(), 1.0, self.left == 0, False, {}


def id_of(name: str) -> str:
    return f"{PREFIX}{name}-v0"


def register() -> None:
    """So that ids may be asked for by anyone in this process."""
    for name in {**SPACES, **ACTIONS}:
        if id_of(name) not in gym.registry:
            gym.register(id_of(name), entry_point=lambda name=name: Varied(name))
