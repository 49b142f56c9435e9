"""What `make` puts around environments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
                f"environment {self._id}: refused reset_options {options} ({error!r}). Cells of a maze are counted "
                "[row, column] from 0, the outer wall included."
            ) from error


def is_flat(space: spaces.Space[Any]) -> bool:
    """Whether observations are one array, or a dictionary of arrays under names."""
    if isinstance(space, spaces.Dict):
        return all(isinstance(key, str) and not _children(part) for key, part in space.spaces.items())
    return not _children(space)


class FlatObservations(gym.ObservationWrapper[Any, Any, Any]):
    """Nested dictionaries and tuples as one dictionary, by their keys joined with dots: `{"arm": {"angle": x}, "goal":
    (y, z)}` as `{"arm.angle": x, "goal.0": y, "goal.1": z}`. A MultiDiscrete is taken as a tuple of choices.

    Datasets name their columns by the same rule (`replay.spaces.flattened`).
    """

    def __init__(self, env: Env, id: str) -> None:
        """Raises `EnvError` for keys that clash, such as those of `{"arm": {"angle": x}, "arm.angle": y}`."""
        super().__init__(env)
        self._whole = env.observation_space
        flat: dict[str, spaces.Space[Any]] = {}
        for name, leaf in _leaves(self._whole):
            if name in flat:
                raise EnvError(
                    f"environment {id}: two parts of its observations are called {name!r} once nested keys are joined; "
                    "rename one in a wrapper."
                )
            flat[name] = leaf
        self.observation_space = spaces.Dict(flat)

    def observation(self, observation: Any) -> Any:
        return dict(_values(self._whole, observation))


class SelectObservation(gym.ObservationWrapper[Any, Any, Any]):
    """One part of a dictionary observation, as a plain array; or, by the key of a nested dictionary, what is in it."""

    def __init__(self, env: Env, id: str, key: str) -> None:
        super().__init__(env)
        space = env.observation_space
        if not isinstance(space, spaces.Dict):
            raise EnvError(
                f"environment {id}, observation_key: observations are {space}, not a dictionary; leave it out."
            )
        self._key = key
        self._inner = [name for name in space.spaces if name.startswith(f"{key}.")]
        if key in space.spaces:
            self._inner = []
            self.observation_space = space[key]
        elif self._inner:
            self.observation_space = spaces.Dict({name.removeprefix(f"{key}."): space[name] for name in self._inner})
        else:
            raise EnvError(f"environment {id}, observation_key: found {key!r}, expected one of {sorted(space.spaces)}.")
        self.left_out = {name: part for name, part in space.spaces.items() if name not in (*self._inner, key)}
        """What nobody behind this sees."""

    def observation(self, observation: Any) -> Any:
        if not self._inner:
            return observation[self._key]
        return {name.removeprefix(f"{self._key}."): observation[name] for name in self._inner}


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


_MOST_CHOICES = 256
"""Entries of a MultiDiscrete that become a part each; larger ones are grids."""


def _children(space: spaces.Space[Any]) -> list[tuple[Any, spaces.Space[Any]]]:
    """The parts of a space by key or number; none of a leaf."""
    if isinstance(space, spaces.Dict):
        return list(space.spaces.items())
    if isinstance(space, spaces.Tuple):
        return list(enumerate(space.spaces))
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.size <= _MOST_CHOICES:
        choices = zip(space.nvec.ravel(), space.start.ravel(), strict=True)
        return [(i, spaces.Discrete(int(n), start=int(start))) for i, (n, start) in enumerate(choices)]
    return []


def _leaves(space: spaces.Space[Any]) -> Iterator[tuple[str, spaces.Space[Any]]]:
    for key, part in _children(space):
        if _children(part):
            yield from ((f"{key}.{rest}", leaf) for rest, leaf in _leaves(part))
        else:
            yield str(key), part


def _values(space: spaces.Space[Any], value: Any) -> Iterator[tuple[str, Any]]:
    """As `_leaves`, of an observation."""
    if isinstance(space, spaces.MultiDiscrete):
        value = np.asarray(value).ravel()
    for key, part in _children(space):
        if _children(part):
            yield from ((f"{key}.{rest}", leaf) for rest, leaf in _values(part, value[key]))
        else:
            yield str(key), value[key]


def _arrays(value: Any) -> Any:
    """JSON's lists as the arrays that environments index with."""
    if isinstance(value, Mapping):
        return {name: _arrays(item) for name, item in value.items()}
    return np.asarray(value) if isinstance(value, list) else value
