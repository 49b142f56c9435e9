"""Which shard actor holds which rows, and how their answers become one batch again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cluster.wire import Packed, unpack
from replay.batch import Batch, concatenate
from replay.view import Rows


def assign(transitions: NDArray[np.int64], actors: int) -> list[list[int]]:
    """Consecutive shards for each actor, cut where the cumulative number of transitions is nearest an equal share.

    `transitions` counts them per shard. Every actor gets at least one shard while there are enough.
    """
    shards = len(transitions)
    actors = min(actors, shards)
    total = np.cumsum(transitions)
    cuts = [0]
    for actor in range(1, actors):
        cut = int(np.searchsorted(total, total[-1] * actor / actors)) + 1
        cuts.append(min(max(cut, cuts[-1] + 1), shards - (actors - actor)))
    cuts.append(shards)
    return [list(range(start, stop)) for start, stop in pairwise(cuts)]


@dataclass(frozen=True)
class Route:
    """One request, split: the rows asked of each actor that holds some, and the way back to the drawn order."""

    parts: list[tuple[int, Rows]]
    """(actor, its rows)."""
    order: NDArray[np.int64] | None
    """Row i of the drawn order is row `order[i]` of the concatenated parts; None where that is the order already."""


def route(rows: Rows, owner: NDArray[np.int64]) -> Route:
    """`owner` maps a shard's number in the view to the actor that holds it."""
    actor = owner[rows.shard]
    if actor.size and (actor == actor[0]).all():
        return Route([(int(actor[0]), rows)], None)
    # A single draw walks the shards forward, and each actor holds consecutive ones: nothing moves then.
    sorted_already = bool((actor[1:] >= actor[:-1]).all())
    order = None if sorted_already else np.argsort(actor, kind="stable")
    boundaries = np.searchsorted(actor if order is None else actor[order], np.arange(actor.max() + 2))
    parts = [
        (number, rows.take(slice(start, stop) if order is None else order[start:stop]))
        for number, (start, stop) in enumerate(pairwise(boundaries.tolist()))
        if stop > start
    ]
    if order is None:
        return Route(parts, None)
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order))
    return Route(parts, inverse)


def assemble(parts: Sequence[Packed], order: NDArray[np.int64] | None) -> Batch[Any]:
    """The answers of the actors as one batch, in the drawn order."""
    batch = concatenate([unpack(part) for part in parts])
    return batch if order is None else batch.take(order)
