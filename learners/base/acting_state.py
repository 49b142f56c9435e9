"""What a policy remembers between two calls of `act`: the observations before, and the actions that it has planned.

Whoever steps environments carries an `ActingState` from call to call without looking into it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learners.algorithm import Observation
from learners.errors import LearnerError

First = NDArray[np.bool_]
"""(B,): the rows in which an episode begins."""


@dataclass(frozen=True)
class Past:
    """The last H + 1 observations of each of B rows."""

    observation: Observation
    """(B, H + 1, ...), oldest first, or a dictionary of such arrays."""
    mask: NDArray[np.uint8]
    """(B, H + 1): 0 where the first observation of the episode stands in for one before it."""


@dataclass(frozen=True)
class Plan:
    """The chunk of actions that each of B rows is playing out."""

    actions: NDArray[Any]
    """(B, h, *shape), in the environment's units."""
    position: NDArray[np.int64]
    """(B,): the next one; h where all have been played."""


@dataclass(frozen=True)
class ActingState:
    """The state of a policy that acts with a history, in chunks, or both."""

    past: Past | None = None
    plan: Plan | None = None

    def __len__(self) -> int:
        """B."""
        if self.plan is not None:
            return len(self.plan.position)
        return 0 if self.past is None else len(self.past.mask)


def beginnings(first: Any, state: Any, rows: int) -> First:
    """bool (B,): all rows where there is no state, else those that `first` marks; None marks none.

    Raises `LearnerError` for a `first` of another shape or type, and for a state that is not of these rows.
    """
    if state is not None and not isinstance(state, ActingState):
        raise LearnerError(f"act: state: found {type(state).__name__}, expected what the last `act` returned, or None.")
    if state is not None and len(state) != rows:
        raise LearnerError(
            f"act: state: is of {len(state)} observations, found {rows}; expected the same rows at each call."
        )
    if first is None:
        return np.full(rows, state is None)
    marked = np.atleast_1d(np.asarray(first))
    if marked.shape != (rows,) or marked.dtype != np.bool_:
        raise LearnerError(
            f"act: first: found {marked.dtype} {np.shape(first)}, expected one boolean for each of {rows} observations."
        )
    return np.ones(rows, np.bool_) if state is None else marked


def remember(past: Past | None, observation: Observation, first: First, history: int) -> Past:
    """The past up to this observation, (B, ...): where an episode begins, that one alone, repeated and masked."""

    def begun(part: NDArray[Any]) -> NDArray[Any]:
        return np.repeat(part[:, None], history + 1, axis=1)

    fresh = np.zeros((len(first), history + 1), np.uint8)
    fresh[:, -1] = 1
    if past is None:
        return Past(_map(begun, observation), fresh)

    def moved(part: NDArray[Any], before: NDArray[Any]) -> NDArray[Any]:
        on = np.concatenate([before[:, 1:], part[:, None].astype(before.dtype, copy=False)], axis=1)
        return np.where(_beside(first, on), begun(part), on).astype(before.dtype, copy=False)

    mask = np.concatenate([past.mask[:, 1:], np.ones((len(first), 1), np.uint8)], axis=1)
    return Past(_map(moved, observation, past.observation), np.where(first[:, None], fresh, mask))


def play(plan: Plan | None, first: First, length: int, decide: Callable[[], NDArray[Any]]) -> tuple[Any, Plan]:
    """The next action of each row, (B, *shape), and the plan after it.

    Where an episode begins, or a chunk has been played out, `decide()` gives a new one, (B, h, *shape): it is asked
    where any row needs one, for all rows, since products of fewer would round differently, and each row keeps the chunk
    that it is playing.
    """
    needed = first if plan is None else first | (plan.position == length)
    if plan is None or needed.any():
        decided = decide()
        plan = (
            Plan(decided, np.zeros(len(first), np.int64))
            if plan is None
            else Plan(np.where(_beside(needed, decided), decided, plan.actions), np.where(needed, 0, plan.position))
        )
    return plan.actions[np.arange(len(first)), plan.position], Plan(plan.actions, plan.position + 1)


def _beside(rows: First, array: NDArray[Any]) -> NDArray[np.bool_]:
    """(B,) so that it can choose among rows of the array."""
    return rows.reshape(-1, *[1] * (array.ndim - 1))


def _map(function: Callable[..., NDArray[Any]], observation: Observation, *others: Observation) -> Observation:
    if isinstance(observation, Mapping):
        return {name: function(part, *(other[name] for other in others)) for name, part in observation.items()}
    return function(observation, *others)
