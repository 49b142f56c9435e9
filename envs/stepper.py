"""One way to step vector environments, whatever their autoreset mode (farama.org/Vector-Autoreset-Mode)."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from envs.errors import EnvError, EnvFailedError, shown
from envs.guard import FAILURE, REMEDY, STEP, SUCCESS, Blaming, judge, told_success
from envs.watch import Watch
from envs.watcher import RESET

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
    """A vector environment whose episodes come out alike in every mode; `begin` and `step` take turns.

    A reset and a step raise `EnvFailedError` for whatever the vector environment raises, and for what no vector
    environment may give. `watch` is told of each call.
    """

    def __init__(self, vector: VectorEnv, where: str, watch: Watch | None = None) -> None:
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
        self._judge = judge(vector.single_observation_space, (self._num_envs,))
        self._watch = Watch(None) if watch is None else watch
        self._steps = 0
        self._beside = where
        self._calling = Blaming(self._told)
        self.latest: Any = None
        """What a policy sees next, (B, ...) or a dictionary of such arrays; None before the first reset."""
        self._over = np.zeros(self._num_envs, dtype=np.bool_)

    def reset(self, seed: int | None = None) -> None:
        """Every environment begins anew, environment i from `seed + i` or with its own generator."""
        self._beside = f"{self._where}, {self._num_envs} side by side"
        if seed is not None:
            self._beside += f" since seed {seed}"
            self._steps = 0
        self._reset(seed=seed)
        self._over = np.zeros(self._num_envs, dtype=np.bool_)

    def begin(self) -> None:
        """Resets those that have ended, where the mode leaves it to us."""
        if self._mode is AutoresetMode.DISABLED and self._over.any():
            self._reset(options={"reset_mask": self._over.copy()})
            self._over[:] = False

    def _reset(self, **how: Any) -> None:
        self._watch.begin(self._beside, RESET)
        with self._calling:
            found = self._vector.reset(**how)
        self._watch.end()
        if not isinstance(found, tuple) or len(found) != 2:
            raise self._wrong("reset gave", found, "(observations, infos)")
        self.latest = self._batch(found[0])
        self._infos(found[1])

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
        self._steps += 1
        self._watch.begin(self._beside, self._steps)
        with self._calling:
            found = self._vector.step(actions)
        self._watch.end()
        if not isinstance(found, tuple) or len(found) != 5:
            raise self._wrong("step gave", found, STEP)
        resetting, same_step = self._over, self._mode is AutoresetMode.SAME_STEP
        self.latest = self._batch(found[0])
        rewards = self._each("rewards", found[1], "biuf")
        terminated, truncated = (
            self._each(name, part, "b") for name, part in zip(("terminated", "truncated"), found[2:4], strict=True)
        )
        infos = self._infos(found[4])
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
                    self._final(infos, i) if final else self.row(i),
                    float(rewards[i]),
                    bool(terminated[i]),
                    bool(truncated[i]),
                    # After a reset in the same step, infos are the reset's.
                    self._success(infos.get("final_info", {}) if final else infos, i),
                )
            )
        return outcomes

    def _final(self, infos: Mapping[str, Any], i: int) -> Any:
        """The observation that ended an episode, from before the reset that followed in the same step."""
        if "final_obs" not in infos:
            raise EnvFailedError(
                f"{self._where}: an episode ended and the infos hold {sorted(infos)}, expected 'final_obs' as the mode "
                "SAME_STEP promises: the observation that ended it is lost. Put it there, or use another mode."
            )
        with self._calling:
            return self._own(infos["final_obs"], i)

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

    # --- What the vector environment gave ---

    def _batch(self, found: Any) -> Any:
        with self._calling:
            observation, problem = self._judge(found)
        if problem:
            raise EnvFailedError(f"{self._where}: {problem} {self._when()}. {REMEDY}")
        return observation

    def _each(self, name: str, found: Any, kinds: str) -> np.ndarray:
        """(B,): one for each environment, of these kinds of NumPy's types."""
        with self._calling:
            array = np.asarray(found)
        if kinds == "b" and array.dtype.kind in "iu" and np.isin(array, (0, 1)).all():
            array = array.astype(np.bool_)
        if array.shape != (self._num_envs,) or array.dtype.kind not in kinds:
            kind = "boolean" if kinds == "b" else "number"
            raise self._wrong(f"{name} are", found, f"one {kind} for each of {self._num_envs} environments")
        return array

    def _infos(self, found: Any) -> Mapping[str, Any]:
        if not isinstance(found, Mapping):
            raise self._wrong("infos are", found, "a dictionary")
        for failure in found.get(FAILURE, ()):
            if failure is not None:
                raise EnvFailedError(failure)
        return found

    def _success(self, infos: Any, i: int) -> bool | None:
        """What the infos of all say of environment i: where there is a mask, only those in it said anything."""
        with self._calling:
            said = {name: infos[name][i] for name in SUCCESS if name in infos and _masked(infos, name, i)}
        return told_success(said, f"{self._where}, number {i}")

    def _wrong(self, what: str, found: Any, expected: str) -> EnvFailedError:
        text = f"a tuple of {len(found)}" if isinstance(found, tuple) else shown(found)
        return EnvFailedError(f"{self._where}: {what} {text} {self._when()}, expected {expected}. {REMEDY}")

    def _told(self, said: str) -> str:
        return f"{self._beside}: {_ended(self._vector) or said} {self._when()}"

    def _when(self) -> str:
        return f"at step {self._steps}" if self._steps else "in their reset"


def _ended(vector: VectorEnv) -> str:
    """Which process of an environment has ended, and how; "" where none has, or there are none."""
    processes = vector.processes if isinstance(vector, AsyncVectorEnv) else []
    # Its pipe closes a moment before it is gone.
    deadline = time.monotonic() + (0.5 if isinstance(sys.exception(), EOFError | OSError) else 0.0)
    while processes:
        gone = [(number, process.exitcode) for number, process in enumerate(processes) if process.exitcode is not None]
        if gone:
            number, status = gone[0]
            how = f"signal {-status}" if status < 0 else f"exit status {status}"
            return f"the process of number {number} ended ({how})"
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return ""


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
