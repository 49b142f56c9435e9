"""Which node holds which rows, and how the answers of its actors become one batch again.

The shard actors of one node share its memory maps, so any of them can serve any of the node's shards: a request is one
call to each node that holds some of its rows, to the node's actors in turn, however many of them there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cluster.serialization import Packed, unpack
from replay.batch import Batch, concatenate
from replay.rows import Rows


def stations(nodes: Sequence[str]) -> list[list[int]]:
    """The actors of each node, given the node of each actor, nodes in the order of their first actor."""
    found: dict[str, list[int]] = {}
    for actor, node in enumerate(nodes):
        found.setdefault(node, []).append(actor)
    return list(found.values())


def assign(transitions: NDArray[np.int64], actors: Sequence[int]) -> list[list[int]]:
    """Consecutive shards for each node, cut where the cumulative number of transitions is nearest its share.

    `transitions` counts them per shard, `actors` per node. Every node gets a shard while there are enough.
    """
    shards = len(transitions)
    shares = np.cumsum(actors)[:-1] / sum(actors)
    total = np.cumsum(transitions)
    cuts = [0]
    for number, share in enumerate(shares, start=1):
        cut = int(np.searchsorted(total, total[-1] * share)) + 1
        cuts.append(min(max(cut, cuts[-1] + 1), shards - (len(actors) - number)))
    cuts.append(shards)
    return [list(range(start, stop)) for start, stop in pairwise(cuts)]


@dataclass(frozen=True)
class Route:
    """One request, split: the rows asked of each node that holds some, and the way back to the drawn order."""

    parts: list[tuple[int, Rows]]
    """(station, its rows)."""
    order: NDArray[np.int64] | None
    """Row i of the drawn order is row `order[i]` of the concatenated parts; None where that is the order already."""


def route(rows: Rows, owner: NDArray[np.int64]) -> Route:
    """`owner` maps a shard's number in the view to the station (the actors of one node) that holds it."""
    station = owner[rows.shard]
    if station.size and (station == station[0]).all():
        return Route([(int(station[0]), rows)], None)
    # A single draw walks the shards forward, and each node holds consecutive ones: nothing moves then.
    sorted_already = bool((station[1:] >= station[:-1]).all())
    order = None if sorted_already else np.argsort(station, kind="stable")
    boundaries = np.searchsorted(station if order is None else station[order], np.arange(station.max() + 2))
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
    """The answers as one batch, in the drawn order."""
    batch = concatenate([unpack(part) for part in parts])
    return batch if order is None else batch.take(order)
