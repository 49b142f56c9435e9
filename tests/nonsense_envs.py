"""`PointReach` in the hands of somebody who never read what an environment is: it does `what` at one of its steps."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from tests.point_reach import PointReach

ID = "tests.nonsense_envs:NonsenseReach-v0"


SHORT = "tests.nonsense_envs:NonsenseReach12-v0"
"""Episodes end after twelve steps."""


class Raising(dict[str, Any]):
    """An info that cannot be looked at."""

    def __iter__(self) -> Iterator[str]:
        raise LookupError("the info is gone")


def deep() -> None:
    deep()


def raising(error: BaseException) -> Callable[[], Any]:
    def throw() -> Any:
        raise error

    return throw


def hang() -> None:
    while True:
        # As a robot's driver: it goes on, whatever is wrong.
        with contextlib.suppress(Exception):
            time.sleep(60.0)


def hang_deaf() -> None:
    """As in a library that listens to no signal."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(60.0)


RAISES: dict[str, Callable[[], Any]] = {
    "OSError": raising(OSError(5, "the robot is gone")),
    "SystemExit": raising(SystemExit(3)),
    "KeyboardInterrupt": raising(KeyboardInterrupt("not yours")),
    "RecursionError": deep,
    "MemoryError": raising(MemoryError("no room for a scene")),
    "exit": lambda: os._exit(3),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hang": hang,
    "hang deaf": hang_deaf,
}
"""What does not come back."""

OBSERVATIONS: dict[str, Any] = {
    "None": None,
    "text": "up",
    "another shape": np.zeros(3, np.float32),
    "a row more": np.zeros((1, 4), np.float32),
    "complex": np.zeros(4, np.complex64),
    "objects": np.array([None] * 4),
    "a dictionary": {"observation": np.zeros(4, np.float32)},
    "ragged": [[1.0], [1.0, 2.0], 3.0, 4.0],
    "NaN": np.array([0.0, np.nan, 0.0, 0.0], np.float32),
}
REWARDS: dict[str, Any] = {
    "None": None,
    "text": "1.0",
    "an array": np.zeros(2),
    "10**400": 10**400,
    "complex": 1j,
    "NaN": np.nan,
    "inf": np.inf,
}
ENDS: dict[str, Any] = {"None": None, "text": "no", "an array": np.zeros(2, bool), "NaN": np.nan}
INFOS: dict[str, Any] = {"None": None, "a list": [1], "raising": Raising(success=True)}
SUCCESSES: dict[str, Any] = {"an array": np.ones(2, bool), "text": "yes", "NaN": np.nan}
TUPLES: dict[str, Any] = {"of old gym": lambda step: (step[0], step[1], step[2], step[4]), "None": lambda step: None}

SHAPES = (
    ("observation", OBSERVATIONS),
    ("reward", REWARDS),
    ("terminated", ENDS),
    ("info", INFOS),
    ("success", SUCCESSES),
    ("tuple", TUPLES),
)


class NonsenseReach(PointReach):
    """`what` is one of the names above (`reward None`, `raises OSError`); `at` the step of each episode in which it
    happens, 0 its reset, -1 its construction. The first `after` episodes are sound: its own, or of all that write into
    the file `counter`, a byte for each."""

    def __init__(self, what: str, at: int = 2, after: int = 0, counter: str | None = None) -> None:
        self._kind, _, self._which = what.partition(" ")
        self._at, self._after, self._counter = at, after, counter
        self._begun = self._steps = 0
        if at == -1:
            self._misbehave(None)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self._steps = 0
        self._begun += 1
        if self._counter is not None:
            with Path(self._counter).open("ab") as file:
                file.write(b".")
            self._begun = Path(self._counter).stat().st_size
        observation, info = super().reset(seed=seed)
        return self._misbehave((observation, info)) if self._at == 0 else (observation, info)

    def step(self, action: np.ndarray) -> Any:
        assert np.isfinite(action).all(), "the policy sent what is no number"
        self._steps += 1
        found = super().step(action)
        return self._misbehave(found) if self._steps == self._at else found

    def _misbehave(self, found: Any) -> Any:
        if self._begun <= self._after and self._at >= 0:
            return found
        if self._kind == "raises":
            RAISES[self._which]()
        if self._kind == "tuple":
            return TUPLES[self._which](found)
        given = dict(SHAPES)[self._kind][self._which]
        places = {"observation": 0, "reward": 1, "terminated": 2, "info": len(found) - 1}
        changed = list(found)
        if self._kind == "success":
            changed[-1] = {**changed[-1], "success": given}
        else:
            changed[places[self._kind]] = given
        return tuple(changed)


gym.register("NonsenseReach-v0", NonsenseReach)
gym.register("NonsenseReach12-v0", NonsenseReach, max_episode_steps=12)
