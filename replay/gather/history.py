"""Which rows an observation's past lies in.

A stored episode begins anew behind a terminated step: what follows is another attempt, whose past must not hold the one
before. Behind a truncated step it goes on from the same observation, and so does the past. The next observation of a
terminated step is the last of the attempt that ends with it, whatever follows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from replay.gather.batch_checks import check_flags
from replay.gather.plan import Plan


class Histories(NamedTuple):
    """Of B rows, (B, H + 1) each, the oldest observation first; None where no history is asked for."""

    now: np.ndarray | None = None
    """int64: how many rows on each lies. Where there is none, the first of the attempt stands in."""
    later: np.ndarray | None = None
    """The same of the next observations."""
    mask: np.ndarray | None = None
    """uint8: 1 for those that there are."""
    next_mask: np.ndarray | None = None


NO_HISTORIES = Histories()


def steps_before(step: np.ndarray, history: int) -> np.ndarray:
    """int64 (B,): how many rows before each row its past may lie in. `step` is the row's own step of its episode."""
    return np.minimum(step, history)


def histories(plan: Plan, at: np.ndarray, step: np.ndarray, ahead: np.ndarray | int) -> Histories:
    """Of rows at `at` (`Addresses.locate`), and of the observations `ahead` rows on, in the same attempt. Raises
    `DataError` for flags that are none."""
    history = plan.history
    before = steps_before(step, history)
    back = np.arange(1, history + 1)
    exists = back <= before[:, None]
    terminated = plan.addresses.read("terminated", at, -np.minimum(back, before[:, None]))
    ends = (check_flags(plan.view, terminated) != 0) & exists
    # The newest terminated step before a row is where its attempt begins.
    first = -np.where(ends.any(axis=1), ends.argmax(axis=1), before)[:, None]
    past = np.arange(-history, 1)
    later = past + np.reshape(ahead, (-1, 1))
    return Histories(
        np.maximum(past, first),
        np.maximum(later, first),
        (past >= first).astype(np.uint8),
        (later >= first).astype(np.uint8),
    )
