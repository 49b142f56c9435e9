"""What `make` puts around environments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from envs.errors import EnvError
from envs.randomness import LegacyRandomness

Env = gym.Env[Any, Any]

_RESET_OPTIONS = {
    "gymnasium_robotics.envs.maze.": {"goal_cell", "reset_cell"},
    "ogbench.": {"task_id", "task_info", "render_goal"},
}
"""Module to the options its environments read. They ignore others, so that a misspelt one would go unnoticed."""


class FixedResetOptions(gym.Wrapper[Any, Any, Any, Any]):
    """Gives the same options to every reset."""

    def __init__(self, env: Env, id: str, options: Mapping[str, Any]) -> None:
        super().__init__(env)
        modules = [base.__module__ for base in type(env.unwrapped).__mro__]
        for prefix, known in _RESET_OPTIONS.items():
            surplus = sorted(set(options) - known)
            if surplus and any(module.startswith(prefix) for module in modules):
                raise EnvError(f"environment {id}, reset_options: unknown {surplus}; it reads {sorted(known)}.")
        self._id = id
        self._options = {name: _arrays(value) for name, value in options.items()}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        options = {**(options or {}), **self._options}
        try:
            return self.env.reset(seed=seed, options=options)
        except (AssertionError, IndexError, KeyError, TypeError) as error:
            raise EnvError(
                f"environment {self._id}: refused reset_options {options} ({error!r}). Cells are counted "
                "[row, column] from 0, the outer wall included."
            ) from error


class SelectObservation(gym.ObservationWrapper[Any, Any, Any]):
    """One part of a dictionary observation, as a plain array."""

    def __init__(self, env: Env, id: str, key: str) -> None:
        super().__init__(env)
        space = env.observation_space
        if not isinstance(space, spaces.Dict):
            raise EnvError(
                f"environment {id}, observation_key: observations are {space}, not a dictionary; leave it out."
            )
        if key not in space.spaces:
            raise EnvError(f"environment {id}, observation_key: found {key!r}, expected one of {sorted(space.spaces)}.")
        self._key = key
        self.observation_space = space[key]

    def observation(self, observation: Any) -> Any:
        return observation[self._key]


class OwnRandomness(gym.Wrapper[Any, Any, Any, Any]):
    """Makes an OGBench environment a function of its seed (see `LegacyRandomness`)."""

    def __init__(self, env: Env) -> None:
        super().__init__(env)
        inner = env.unwrapped
        self._randomness = LegacyRandomness(np.random.SeedSequence().generate_state(1).item())
        # Arms compute both spaces at every look, and their reset samples from the fresh, unseeded one.
        with self._randomness.lent():
            self.observation_space = env.observation_space
        self.action_space = space = inner.action_space
        if isinstance(getattr(type(inner), "action_space", None), property):
            inner.__class__ = type(type(inner).__name__, (type(inner),), {"action_space": space})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self._randomness = LegacyRandomness(seed)
            self.action_space.seed(seed)
        with self._randomness.lent():
            return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        with self._randomness.lent():
            return self.env.step(action)


def _arrays(value: Any) -> Any:
    """JSON's lists as the arrays that environments index with."""
    if isinstance(value, Mapping):
        return {name: _arrays(item) for name, item in value.items()}
    return np.asarray(value) if isinstance(value, list) else value
