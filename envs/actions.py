"""What a policy is asked, and what of its answer reaches an environment: nothing but actions of its space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.errors import EnvError, shown

Act = Callable[[Any, Any, np.ndarray], tuple[Any, Any]]
"""`act(observation, state, first) -> (action, state)`: observation (B, ...) or a dictionary of such arrays, action
(B, ...). `first`, bool (B,), marks the rows in which an episode begins: the policy makes an initial state for these.
The state is the policy's own, of these B rows, and whoever steps environments hands it back at the next call, of the
same rows. It is None at the first call, where every row begins."""


def ask(act: Act, observation: Any, state: Any, first: np.ndarray, where: str) -> tuple[Any, Any]:
    """A policy's answer. Raises `EnvError`, naming `where`, for one that is no pair; what the policy raises goes on."""
    answer = act(observation, state, first)
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise EnvError(f"{where}: the policy gave {shown(answer)}, expected a pair (actions, state).")
    return answer


def ask_for_one(act: Act, observation: Any, state: Any, first: bool, where: str) -> tuple[Any, Any]:
    """A policy's answer to a batch of one, without the batch. Raises `EnvError`, naming `where`, for anything else."""
    actions, state = ask(act, observation, state, np.array([first]), where)
    rows = as_array(actions, where)
    if rows.shape[:1] != (1,):
        raise EnvError(f"{where}: the policy gave actions {rows.shape}, expected one row.")
    return rows[0], state


def as_actions(actions: Any, space: spaces.Space[Any], rows: int, where: str) -> Any:
    """A policy's (B, ...) actions as the environment takes them: of its type, clipped to the bounds of a Box.

    Raises `EnvError`, naming the environment `where`, for what is no action of the space: an environment may be a
    robot, which must not be told to go to NaN.
    """
    return _judged(actions, space, (rows,), f"environment {where}")


def as_action(action: Any, space: spaces.Space[Any], where: str) -> Any:
    """Likewise one action, without a row of its own."""
    return _judged(action, space, (), f"environment {where}")


def as_array(found: Any, where: str) -> np.ndarray:
    """Raises `EnvError` for anything but numbers."""
    try:
        array = np.asarray(found)
    except Exception as error:  # of rows of different lengths, or of an object's own conversion
        raise EnvError(f"{where}: the policy gave {shown(found)}, expected an array of numbers ({error}).") from error
    if array.dtype.kind not in "biuf":
        raise EnvError(f"{where}: the policy gave {shown(found)}, expected an array of numbers.")
    return array


def _judged(actions: Any, space: spaces.Space[Any], lead: tuple[int, ...], where: str) -> Any:
    if not isinstance(space, spaces.Box | spaces.Discrete):
        raise EnvError(f"{where}: actions are {space}; only Box and Discrete spaces are supported.")
    found, shape = as_array(actions, where), (*lead, *(space.shape or ()))
    if found.shape != shape:
        raise EnvError(
            f"{where}: the policy gave actions {found.shape}, expected {shape}. Is it a policy for this environment?"
        )
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise EnvError(
            f"{where}: the policy gave {found[~np.isfinite(found)][0]} in its actions, expected finite numbers; the "
            "environment was not given them. Did its training diverge, or was it shown what it does not know?"
        )
    if isinstance(space, spaces.Discrete):
        return _whole(found, space, where)
    return np.clip(found, space.low, space.high).astype(space.dtype)


def _whole(found: np.ndarray, space: spaces.Discrete, where: str) -> Any:
    low, high = int(space.start), int(space.start + space.n) - 1
    bad = (found < low) | (found > high) | (found != np.floor(found))
    if bad.any():
        raise EnvError(
            f"{where}: the policy gave the action {found[bad].ravel()[0]}, expected a whole number from {low} to "
            f"{high}. Is it a policy for this environment?"
        )
    return found.astype(np.int64)
