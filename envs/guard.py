"""What an environment does and gives, held to what gymnasium says of it: anything else is our error, in its own words.

An environment is somebody else's program: it may raise whatever there is, and give whatever it likes. This is the one
place where that is seen, so that nobody behind it has to look again.
"""

from __future__ import annotations

import logging
import math
import signal
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from envs.errors import EnvError, EnvFailedError, EnvStalledError, shown, words
from envs.watch import Overdue

logger = logging.getLogger(__name__)

SUCCESS = ("success", "is_success")
"""Names under which infos tell of success; the first one that is there counts."""

FAILURE = "quiver_failure"
"""Where the infos of an environment in a process of its own tell what went wrong there."""
REMEDY = "Look at the environment, and at what it was given."
STEP = "(observation, reward, terminated, truncated, info)"


class Guarded(gym.Wrapper[Any, Any, Any, Any]):
    """Raises `EnvFailedError`, with the environment, seed and step, for all that a reset or a step may do wrong.

    Observations come as arrays, or dictionaries of arrays, of the space's shape; rewards as floats, ends as booleans,
    infos as dictionaries. With `finite`, observations and rewards are finite numbers, too.
    """

    def __init__(self, env: gym.Env[Any, Any], id: str, *, finite: bool = False) -> None:
        """Raises `EnvFailedError` for an environment that does not say what it observes, or how it acts."""
        super().__init__(env)
        self._where = f"environment {id}"
        for name in ("observation_space", "action_space"):
            with Blaming(lambda said, name=name: f"{self._where}: {said} as it was asked for its {name}"):  # type: ignore[misc]
                found = getattr(env, name)
            if not isinstance(found, spaces.Space):
                raise EnvFailedError(f"{self._where}: {name} is {shown(found)}, expected a space of gymnasium's.")
        self._judge = judge(env.observation_space, finite=finite)
        self._finite = finite
        self._begun, self._seeded, self._episode, self._step = "before any reset", "", 0, 0
        self._calling = Blaming(lambda said: f"{self._place()}: {said} {self._when()}")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._episode, self._step = (1 if seed is not None else self._episode + 1), 0
        if seed is not None or not self._seeded:
            self._seeded = "without a seed" if seed is None else f"seed {seed}"
        self._begun = self._seeded if self._episode == 1 else f"episode {self._episode} since {self._seeded}"
        with self._calling:
            found = self.env.reset(seed=seed, options=options)
        if not isinstance(found, tuple) or len(found) != 2:
            raise self._wrong("reset gave", found, "(observation, info)")
        return self._observation(found[0]), self._info(found[1])

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._step += 1
        with self._calling:
            found = self.env.step(action)
        if not isinstance(found, tuple) or len(found) != 5:
            raise self._wrong("step gave", found, STEP)
        observation, reward, terminated, truncated, info = found
        return (
            self._observation(observation),
            self._reward(reward),
            self._flag("terminated", terminated),
            self._flag("truncated", truncated),
            self._info(info),
        )

    def close(self) -> None:
        """What has been measured is not lost for an environment that does not close."""
        try:
            super().close()
        except BaseException as error:
            if not blamed(error):
                raise
            logger.warning("%s: raised %s as it was closed", self._where, words(error))

    # --- What it gave ---

    def _observation(self, found: Any) -> Any:
        with self._calling:  # an observation may be an object that computes it when it is looked at
            observation, problem = self._judge(found)
        if problem:
            raise EnvFailedError(f"{self._place()}: {problem} {self._when()}. {REMEDY}")
        return observation

    def _reward(self, found: Any) -> float:
        reward = number(found)
        if reward is None or (self._finite and not math.isfinite(reward)):
            raise self._wrong("reward", found, "one finite number" if self._finite else "one number")
        return reward

    def _flag(self, name: str, found: Any) -> bool:
        if type(found) is bool:
            return found
        value = flag(found)
        if value is None:
            raise self._wrong(f"{name} is", found, "one boolean")
        return value

    def _info(self, found: Any) -> dict[str, Any]:
        if not isinstance(found, Mapping):
            raise self._wrong("info is", found, "a dictionary")
        with self._calling:
            info = {name: found[name] for name in found}
        if "success" in info or "is_success" in info:
            told_success(info, f"{self._place()} {self._when()}")
        return info

    def _wrong(self, what: str, found: Any, expected: str) -> EnvFailedError:
        count = f" of {len(found)}" if isinstance(found, tuple) else ""
        text = f"a tuple{count}" if count else shown(found)
        return EnvFailedError(f"{self._place()}: {what} {text} {self._when()}, expected {expected}. {REMEDY}")

    def _place(self) -> str:
        return f"{self._where}, {self._begun}"

    def _when(self) -> str:
        return f"at step {self._step}" if self._step else "in its reset"


class Blaming:
    """Whatever is raised inside by somebody else's program comes out as `EnvFailedError`, in its own words.

    `told` makes the message of them. Our own errors, and what a signal raised (Ctrl-C), pass.
    """

    __slots__ = ("_told",)

    def __init__(self, told: Callable[[str], str]) -> None:
        self._told = told

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, EnvError):
            return
        if isinstance(error, Overdue):
            raise EnvStalledError(str(error)) from None
        if blamed(error):
            raise EnvFailedError(f"{self._told(f'raised {words(error)}')}. {REMEDY}") from error


def blamed(error: BaseException) -> bool:
    """Whether the program that was called raised it, and no signal: SystemExit and KeyboardInterrupt may be either.

    A signal's handler is among the frames that the error came through; Python's own for Ctrl-C leaves no frame.
    """
    if isinstance(error, Exception):
        return True
    if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        return False
    handlers = {getattr(signal.getsignal(number), "__code__", None) for number in signal.valid_signals()} - {None}
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in handlers:
            return False
        trace = trace.tb_next
    return not isinstance(error, Overdue)


# --- Judging one value ---


Judge = Callable[[Any], tuple[Any, str]]
"""An observation as arrays, and what is wrong with it, which is "" where nothing is."""


def judge(space: spaces.Space[Any], lead: tuple[int, ...] = (), *, finite: bool = False) -> Judge:
    """Who judges the observations of a space; `lead` is the shape of what the rows of a batch add in front.

    Of spaces that are none of Box, Discrete, MultiDiscrete, MultiBinary and Dict, anything is taken.
    """
    if isinstance(space, spaces.Dict):
        return _judge_of_parts({name: judge(part, lead, finite=finite) for name, part in space.spaces.items()})
    if not isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        return lambda found: (found, "")
    shape, dtype, asarray = (*lead, *(space.shape or ())), space.dtype, np.asarray
    assert dtype is not None
    counted = space if isinstance(space, spaces.Discrete | spaces.MultiDiscrete) else None

    def judged(found: Any) -> tuple[Any, str]:
        array = asarray(found)
        if array.shape != shape or not (array.dtype == dtype or _holds(array, dtype)):
            return found, f"observation is {shown(found)}, expected {shape} of {dtype}"
        if counted is not None and not _among(array, counted):
            return found, f"observation is {shown(found)}, expected values of {space}"
        if finite and array.dtype.kind == "f" and not _finite(array):
            return found, f"observation is {array[~np.isfinite(array)][0]} in one place, expected finite numbers"
        return array, ""

    return judged


def _judge_of_parts(judges: Mapping[str, Judge]) -> Judge:
    names = set(judges)

    def judged(found: Any) -> tuple[Any, str]:
        if not isinstance(found, Mapping):
            return found, f"observation is {shown(found)}, expected a dictionary of {sorted(names)}"
        if set(found) != names:
            return found, f"observation has the keys {sorted(map(str, found))}, expected {sorted(names)}"
        parts = {}
        for name, part in judges.items():
            parts[name], problem = part(found[name])
            if problem:
                return found, f"{name}, {problem}"
        return parts, ""

    return judged


def _among(array: np.ndarray, space: spaces.Discrete | spaces.MultiDiscrete) -> bool:
    count = space.n if isinstance(space, spaces.Discrete) else space.nvec
    return bool(((array >= space.start) & (array - space.start < count)).all())


def _finite(array: np.ndarray) -> bool:
    # Of a few numbers Python looks at each in less time than NumPy begins in.
    return all(map(math.isfinite, array.ravel().tolist())) if array.size <= 32 else bool(np.isfinite(array).all())


def _holds(array: np.ndarray, dtype: np.dtype[Any]) -> bool:
    """Whether the numbers can be had in a type: any in floats, whole ones in a type of whole ones that has room."""
    if dtype.kind == "f" and array.dtype.kind in "biuf":
        return True
    if array.dtype.kind not in "biu" or array.size == 0:
        return array.dtype.kind in "biu"
    room = np.iinfo(dtype) if dtype.kind in "iu" else np.iinfo(np.int8)
    return bool(room.min <= array.min() and array.max() <= room.max)


def number(found: Any) -> float | None:
    """One real number, finite or not, as a float; None for anything else, a number too large for a float included."""
    if type(found) is float:
        return found
    if isinstance(found, np.ndarray | np.generic):
        return float(found.item()) if found.size == 1 and found.dtype.kind in "biuf" else None
    if not hasattr(found, "__float__"):  # which text has not
        return None
    try:
        return float(found)
    except Exception:  # too large, or an object such as a tensor of several, which raises what it likes
        return None


def flag(found: Any) -> bool | None:
    """One boolean, 0 or 1; None for anything else."""
    value = number(found)
    return None if value not in (0.0, 1.0) else bool(value)


def told_success(info: Mapping[str, Any], where: str) -> bool | None:
    """What a step's `info` says of success; None where it says nothing.

    Raises `EnvFailedError`, naming `where`, for anything but one boolean, 0 or 1: NaN, 0.5 and "no" say nothing that
    may be guessed.
    """
    for name in SUCCESS:
        if name in info:
            value = flag(info[name])
            if value is None:
                raise EnvFailedError(f"{where}: info[{name!r}] is {shown(info[name])}, expected one boolean, 0 or 1.")
            return value
    return None
