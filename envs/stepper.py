"""One way to step vector environments, whatever their autoreset mode (farama.org/Vector-Autoreset-Mode)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from envs.errors import EnvError
from envs.evaluate import SUCCESS, told_success

VectorEnv = gym.vector.VectorEnv[Any, Any, Any]

_MODES = [mode.value for mode in AutoresetMode]


@dataclass(frozen=True)
class Outcome:
    """What came of one environment's action."""

    observation: Any
    """The one after the action, also where a reset has followed: an array or a dictionary of them, the caller's own."""
    reward: float
    terminated: bool
    truncated: bool
    success: bool | None
    """What the step's info told of it; None where it said nothing."""


class Stepper:
    """A vector environment whose episodes come out alike in every mode; `begin` and `step` take turns."""

    def __init__(self, vector: VectorEnv, where: str) -> None:
        """Raises `EnvError`, naming `where`, for a mode that gymnasium lacks, and for observations that are neither
        arrays nor a dictionary of arrays."""
        # Without metadata gymnasium assumes NEXT_STEP, its default since 1.0 (`gymnasium.utils.performance`).
        mode = vector.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        try:
            self._mode = AutoresetMode(mode)
        except ValueError:
            raise EnvError(
                f"{where}: metadata autoreset_mode: found {mode!r}, expected one of {_MODES}. Set it to the "
                "gymnasium.vector.AutoresetMode that the vector environment follows."
            ) from None
        self._where = where
        self._types = _types(vector.single_observation_space, where)
        self._vector = vector
        self._num_envs = vector.num_envs
        self.latest: Any = None
        """What a policy sees next, (B, ...) or a dictionary of such arrays; None before the first reset."""
        self._over = np.zeros(self._num_envs, dtype=np.bool_)

    def reset(self, seed: int | None = None) -> None:
        """Every environment begins anew, environment i from `seed + i` or with its own generator."""
        observation, _ = self._vector.reset(seed=seed)
        self.latest = _batch(observation)
        self._over = np.zeros(self._num_envs, dtype=np.bool_)

    def begin(self) -> None:
        """Resets those that have ended, where the mode leaves it to us."""
        if self._mode is AutoresetMode.DISABLED and self._over.any():
            observation, _ = self._vector.reset(options={"reset_mask": self._over.copy()})
            self.latest = _batch(observation)
            self._over[:] = False

    def under_way(self, i: int) -> bool:
        """Whether the next step is one of environment i, not its reset."""
        return not self._over[i]

    def row(self, i: int) -> Any:
        """Environment i's part of `latest`, a copy."""
        return self._own(self.latest, i)

    def step(self, actions: Any) -> list[Outcome | None]:
        """What came of each environment's action; None for one that was reset instead, its action ignored.

        `begin` comes before each step. Raises `EnvError` for a step without the final observation that the mode
        SAME_STEP promises.
        """
        observation, rewards, terminated, truncated, infos = self._vector.step(actions)
        resetting, same_step = self._over, self._mode is AutoresetMode.SAME_STEP
        self.latest = _batch(observation)
        done = np.logical_or(terminated, truncated)
        # A step that was a reset has ended nothing, whatever it may say.
        self._over = np.zeros_like(done) if same_step else done & ~resetting
        outcomes: list[Outcome | None] = []
        for i in range(self._num_envs):
            if resetting[i]:
                outcomes.append(None)
                continue
            final = same_step and bool(done[i])
            outcomes.append(
                Outcome(
                    self._own(self._final(infos), i) if final else self.row(i),
                    float(rewards[i]),
                    bool(terminated[i]),
                    bool(truncated[i]),
                    # After a reset in the same step, infos are the reset's.
                    _told(infos.get("final_info", {}) if final else infos, i, self._where),
                )
            )
        return outcomes

    def _final(self, infos: Mapping[str, Any]) -> Any:
        if "final_obs" not in infos:
            raise EnvError(
                f"{self._where}: an episode ended and the infos hold {sorted(infos)}, expected 'final_obs' as the mode "
                "SAME_STEP promises: the observation that ended it is lost. Put it there, or use another mode."
            )
        return infos["final_obs"]

    def _own(self, observations: Any, i: int) -> Any:
        """Row i, copied, in the types of the space: vectors reuse their buffers, and a final observation comes as the
        environment gave it."""
        found = observations if isinstance(observations, Mapping) else observations[i]
        if not isinstance(self._types, dict):
            return np.array(found, dtype=self._types)
        # Final observations are one object for each environment; others one array for each part.
        if found is observations:
            found = {name: found[name][i] for name in self._types}
        return {name: np.array(found[name], dtype=dtype) for name, dtype in self._types.items()}


def _batch(observation: Any) -> Any:
    if isinstance(observation, Mapping):
        return {name: np.asarray(part) for name, part in observation.items()}
    return np.asarray(observation)


def _told(infos: Mapping[str, Any], i: int, where: str) -> bool | None:
    """What the infos of all say of environment i: where there is a mask, only those in it said anything."""
    said = {name: infos[name][i] for name in SUCCESS if name in infos and _masked(infos, name, i)}
    return told_success(said, f"{where}, number {i}")


def _masked(infos: Mapping[str, Any], name: str, i: int) -> bool:
    return f"_{name}" not in infos or bool(infos[f"_{name}"][i])


def _types(space: spaces.Space[Any], where: str) -> Any:
    """The type of an observation, or of each part of a dictionary."""
    if isinstance(space, spaces.Dict):
        return {name: _type(part, f"{where}, observation {name}") for name, part in space.spaces.items()}
    return _type(space, f"{where}, observation")


def _type(space: spaces.Space[Any], where: str) -> np.dtype[Any]:
    if isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        assert space.dtype is not None
        return space.dtype
    raise EnvError(
        f"{where}: {space} cannot be recorded, expected Box, Discrete, MultiDiscrete, MultiBinary or a Dict of those. "
        "Flatten it in a wrapper, or name a part of it as observation_key."
    )
