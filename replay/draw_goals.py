"""Drawing goals: a second set of rows, one for each row, at their own address. `replay.goals` says what they are."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import numpy as np

from replay.goals import Goals
from replay.random_words import GOALS, choose, uniforms
from replay.rows import Rows
from replay.view import View, located

_CURRENT, _FUTURE, _FINAL, _RANDOM = range(4)
"""Places in `goals.KINDS`."""


def with_goals(
    view: View,
    rows: Rows,
    goals: Goals,
    *,
    seed: int,
    stream: int,
    sequence: int,
    shards: np.ndarray | None = None,
) -> Rows:
    """The rows with `goal` and `reached`. Random goals lie in `shards`, where the draw was kept to some.

    A goal is an observation, so it may be the one after an episode's last action: no step remains there, and its index,
    since it is no transition, is -1.
    """
    kind, ahead, place, within = uniforms(seed, GOALS + stream, sequence, 4 * len(rows)).reshape(4, -1)
    which = choose(kind, np.array(goals.shares))
    offset = np.where(which == _FUTURE, steps_ahead(ahead, goals.discount, rows.remaining), 0)
    offset = np.where(which == _FINAL, rows.remaining, offset)
    goal = Rows(
        np.where(offset < rows.remaining, rows.index + offset, -1),
        rows.shard,
        rows.row + offset,
        rows.remaining - offset,
        rows.step + offset,
    )
    if goals.random:
        elsewhere = located(view, _any_transition(view, place, within, shards))
        other = which == _RANDOM
        found = dict(elsewhere.columns())
        goal = Rows.of({name: np.where(other, found[name], column) for name, column in goal.columns()})
    reached = (goal.shard == rows.shard) & (goal.row == rows.row)
    return replace(rows, goal=goal, reached=reached.astype(np.uint8))


def steps_ahead(uniform: np.ndarray, discount: float, remaining: np.ndarray) -> np.ndarray:
    """int64 (B,): from 1 to `remaining`, by a geometric distribution that ends there, or, with 1, uniformly."""
    if discount == 1.0:
        return 1 + (uniform * remaining).astype(np.int64)
    reach = _reach(discount)
    return np.minimum(1 + np.searchsorted(reach, uniform, "right"), remaining)


@functools.lru_cache(maxsize=4)
def _reach(discount: float) -> np.ndarray:
    """float64: at place k, the probability of at most k + 1 steps, until it is 1 to the last bit.

    By products, which every processor rounds alike, and not by a logarithm. At most 2^20 steps are told apart.
    """
    last = 1 if discount == 0.0 else min(1 << 20, 2 + math.ceil(-54 * math.log(2.0) / math.log(discount)))
    return 1.0 - np.multiply.accumulate(np.full(last, discount))


def _any_transition(view: View, place: np.ndarray, within: np.ndarray, shards: np.ndarray | None) -> np.ndarray:
    """int64 (B,): positions in the view, as likely as `draw` makes them."""
    if shards is not None:
        chosen, starts = shards[(place * len(shards)).astype(np.int64)], view.shard_starts
    elif view.weighted:
        chosen, starts = choose(place, view.shares), view.member_starts
    else:
        return (within * view.transitions).astype(np.int64)
    return starts[chosen] + (within * np.diff(starts)[chosen]).astype(np.int64)
