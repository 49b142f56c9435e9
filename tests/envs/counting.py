"""An environment whose every number says where it belongs, so that any step put in the wrong place shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from envs import EnvSpec, RecordedEpisode
from envs.stepper import VectorEnv

SPEC = EnvSpec("tests/Counting-v0")
"""A name for messages; the environments come from `vector`."""


class Counting(gym.Env[Any, Any]):
    """Observes (seed, episode, step, draw): the seed of its first reset, and a number drawn at each reset.

    Episode e lasts 1 + (seed + e) % 3 steps, and is truncated where e is even, else terminated. The reward is the
    action. Episodes 1, 4, 7, … succeed at their first step; all others say nothing of success.
    """

    action_space = gym.spaces.Box(-1e6, 1e6, (1,), np.float64)
    observation_space: gym.Space[Any] = gym.spaces.Box(-np.inf, np.inf, (4,), np.float64)

    def __init__(self) -> None:
        self.seed, self.episode, self.step_number, self.drawn = 0, -1, 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.seed, self.episode = seed, -1
        self.episode += 1
        self.step_number = 0
        self.drawn = int(self.np_random.integers(1000))
        return self._observe(), {"success": True}  # of a reset: it must never count

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.step_number < self._length(), "stepped on after the end"
        self.step_number += 1
        ended = self.step_number == self._length()
        info = {"success": self.step_number == 1} if self.episode % 3 == 1 else {}
        even = self.episode % 2 == 0
        return self._observe(), float(action[0]), ended and not even, ended and even, info

    def _length(self) -> int:
        return 1 + (self.seed + self.episode) % 3

    def _observe(self) -> Any:
        return np.array([self.seed, self.episode, self.step_number, self.drawn], np.float64)


class Parts(Counting):
    """The same as a dictionary of two parts."""

    observation_space = gym.spaces.Dict(
        {"names": gym.spaces.Box(0, 255, (2,), np.uint8), "rest": gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)}
    )

    def _observe(self) -> Any:
        # In float64, whatever the space says: a vector environment casts it, but not what ended an episode.
        whole = super()._observe()
        return {"names": whole[:2].astype(np.uint8), "rest": whole[2:]}


def numbered(observation: Any, state: Any, first: Any) -> tuple[np.ndarray, Any]:
    """The action is 100 times the episode, plus the step: rewards tell what was observed when it was chosen."""
    return 100.0 * observation[:, 1:2] + observation[:, 2:3], None


def side_by_side(
    mode: AutoresetMode, count: int = 3, env: Callable[[], gym.Env[Any, Any]] = Counting, processes: bool = False
) -> Callable[[], VectorEnv]:
    kind = AsyncVectorEnv if processes else SyncVectorEnv
    return lambda: kind([env] * count, autoreset_mode=mode)


def expected(seed: int, episode: int) -> dict[str, Any]:
    """What a recording of one episode must hold, with `numbered`."""
    length = 1 + (seed + episode) % 3
    drawn = np.random.default_rng(seed).integers(1000, size=episode + 1)[-1]
    last = [step == length - 1 for step in range(length)]
    return {
        "observation": [[seed, episode, step, drawn] for step in range(length + 1)],
        "action": [[100.0 * episode + step] for step in range(length)],
        "reward": [100.0 * episode + step for step in range(length)],
        "terminated": last if episode % 2 == 1 else [False] * length,
        "truncated": last if episode % 2 == 0 else [False] * length,
        "success": True if episode % 3 == 1 else None,
        "seed": seed if episode == 0 else None,
    }


def plain(episode: RecordedEpisode) -> dict[str, Any]:
    held = {name: value for name, value in vars(episode).items() if name != "versions"}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in held.items()}


def of(episodes: list[RecordedEpisode], seed: int) -> list[dict[str, Any]]:
    """Those of one environment, as lists and numbers."""
    return [plain(episode) for episode in episodes if episode.observation[0, 0] == seed]
