"""A small task that is solved by looking: an environment for the tests, its scripted policy, and datasets of both.

The id is `tests.pixel_reach:PixelReach-v0`: gymnasium imports this module, which registers it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

import envs
from cluster.recording import episode_of
from envs import Actor, EnvSpec, Policy
from replay import Box, DatasetWriter, Dict, Discrete, Image, Spaces

ID = "tests.pixel_reach:PixelReach-v0"
KEYS = ("pixels", "position")

MAX_STEP = 0.08
"""How far a step goes in each direction; the square is 1 wide."""
REACH = 0.1
"""The target is reached within this distance."""
DIRECTIONS = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], np.float64)
"""What the discrete actions 0 to 4 do: stay, right, left, down, up."""

GROUND, AGENT, TARGET = (np.array(colour, np.float64) for colour in ([20, 20, 30], [90, 220, 90], [230, 70, 60]))
RADIUS = 1 / 12
"""Of the discs that stand for agent and target."""


class PixelReach(gym.Env[Any, Any]):
    """An agent in the unit square moves to a target that only the picture shows.

    Observation: `pixels`, uint8 (size, size, 3), and `position`, float32 (2,), the agent's (x, y). `keys` names the
    parts of the dictionary; a name alone instead of a sequence makes that part the whole observation.
    Action: float32 (2,) in [-1, 1], a velocity, or one of five (`DIRECTIONS`) where `discrete`.
    Reward: 1 at the target, where the episode terminates, else 0; where `dense`, minus the distance at every step.
    The time limit of 30 steps is the registration's.
    """

    def __init__(
        self, keys: Sequence[str] | str = KEYS, discrete: bool = False, dense: bool = False, size: int = 24
    ) -> None:
        self._keys, self._discrete, self._dense = keys, discrete, dense
        self._parts: dict[str, spaces.Space[Any]] = {
            "pixels": spaces.Box(0, 255, (size, size, 3), np.uint8),
            "position": spaces.Box(0.0, 1.0, (2,), np.float32),
        }
        self.observation_space = self._select(self._parts, spaces.Dict)
        self.action_space = spaces.Discrete(5) if discrete else spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._size = size
        self.position = self.target = np.zeros(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        while True:
            self.position, self.target = self.np_random.uniform(0.1, 0.9, (2, 2))
            if self._distance() > 0.3:
                return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        velocity = DIRECTIONS[int(action)] if self._discrete else np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        self.position = np.clip(self.position + MAX_STEP * velocity, 0.0, 1.0)
        reached = self._distance() < REACH
        reward = -self._distance() if self._dense else float(reached)
        return self._observation(), reward, reached, False, {"success": reached}

    def _distance(self) -> float:
        return float(np.linalg.norm(self.position - self.target))

    def _observation(self) -> Any:
        parts = {
            "pixels": picture(self._size, self.position, self.target),
            "position": self.position.astype(np.float32),
        }
        return self._select(parts, dict)

    def _select(self, parts: dict[str, Any], dictionary: Any) -> Any:
        return parts[self._keys] if isinstance(self._keys, str) else dictionary({key: parts[key] for key in self._keys})


gym.register("PixelReach-v0", entry_point="tests.pixel_reach:PixelReach", max_episode_steps=30)


def picture(size: int, position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """uint8 (size, size, 3), rows downwards: the target, and the agent over it. Edges are blended, so that a move by
    less than a pixel is seen."""
    centres = (np.arange(size) + 0.5) / size
    image = np.broadcast_to(GROUND, (size, size, 3))
    for (x, y), colour in ((target, TARGET), (position, AGENT)):
        distance = np.hypot(centres[None, :] - x, centres[:, None] - y)
        cover = np.clip((RADIUS - distance) * size + 0.5, 0.0, 1.0)[:, :, None]
        image = cover * colour + (1 - cover) * image
    return np.rint(image).astype(np.uint8)


@dataclass(frozen=True)
class Towards(Policy):
    """Knows the target, and goes there with detours: some actions are random, velocities are noisy."""

    noise: float = 0.3
    """Standard deviation of Gaussian noise on a velocity."""
    random_probability: float = 0.6
    """Of a uniform action. With this many, one episode in ten or twenty does not arrive."""

    @property
    def description(self) -> dict[str, Any]:
        return {"collected_by": "scripted", "noise": self.noise, "random_probability": self.random_probability}

    def __call__(self, env: gym.Env[Any, Any], rng: np.random.Generator) -> Actor:
        inner = env.unwrapped
        assert isinstance(inner, PixelReach)

        def act(observation: Any, info: dict[str, Any]) -> Any:
            velocity = (inner.target - inner.position) / MAX_STEP
            discrete = isinstance(inner.action_space, spaces.Discrete)
            if rng.random() < self.random_probability:
                return rng.integers(5) if discrete else rng.uniform(-1.0, 1.0, 2)
            if discrete:
                return int(np.argmax(DIRECTIONS[1:] @ velocity)) + 1
            return np.clip(velocity, -1.0, 1.0) + self.noise * rng.standard_normal(2)

        return Actor(act)


def spec(**kwargs: Any) -> EnvSpec:
    """The environment by name, for `envs.make` and for the provenance of datasets."""
    return EnvSpec(ID, kwargs)


def dataset_spaces(keys: Sequence[str] | str = KEYS, discrete: bool = False, size: int = 24) -> Spaces:
    """The spaces of a dataset recorded in the environment, pictures kept as PNG."""
    parts: dict[str, Box | Discrete | Image] = {
        "pixels": Image((size, size, 3)),
        "position": Box((2,), "float32", (0.0,), (1.0,)),
    }
    observation = parts[keys] if isinstance(keys, str) else Dict.of({key: parts[key] for key in keys})
    return Spaces(observation, Discrete(5) if discrete else Box((2,), "float32", (-1.0,), (1.0,)))


def collect(
    path: str | Path,
    episodes: int,
    seed: int = 0,
    discrete: bool = False,
    *,
    keys: Sequence[str] | str = KEYS,
    dense: bool = False,
    size: int = 24,
    policy: Policy | None = None,
    **writer: Any,
) -> Path:
    """Write a dataset of `episodes` episodes, the first reset with `seed`, by `Towards()` or another policy.

    `writer`: options of `DatasetWriter`, such as shard_bytes or validation_fraction.
    """
    where, policy = spec(keys=keys, discrete=discrete, dense=dense, size=size), policy or Towards()
    provenance = {**envs.provenance(where, policy, episodes=episodes, seed=seed), "env_spec": where.to_json()}
    spaces = dataset_spaces(keys, discrete, size)
    with DatasetWriter(path, spaces, provenance=provenance, **writer) as out:
        for recorded in envs.collect(where, policy, episodes=episodes, seed=seed):
            out.add(episode_of(recorded, spaces, source=ID))
    return Path(path)
