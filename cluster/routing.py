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


def actors_by_node(nodes: Sequence[str]) -> list[list[int]]:
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
class Assembly:
    """How the answers to one request become its batch. It travels beside them."""

    order: NDArray[np.int64] | None
    """Row i of the drawn order is row `order[i]` of the concatenated parts; None where that is the order already."""


@dataclass(frozen=True)
class Route:
    """One request, split: the rows asked of each node that holds some, and how their answers go together."""

    parts: list[tuple[int, Rows]]
    """(node, its rows)."""
    assembly: Assembly


def route(rows: Rows, owner: NDArray[np.int64]) -> Route:
    """`owner` maps a shard's number in the view to the node that holds it, by its place in `actors_by_node`."""
    node = owner[rows.shard]
    if node.size and (node == node[0]).all():
        return Route([(int(node[0]), rows)], Assembly(None))
    # A single draw walks the shards forward, and each node holds consecutive ones: nothing moves then.
    sorted_already = bool((node[1:] >= node[:-1]).all())
    order = None if sorted_already else np.argsort(node, kind="stable")
    boundaries = np.searchsorted(node if order is None else node[order], np.arange(node.max() + 2))
    parts = [
        (number, rows.take(slice(start, stop) if order is None else order[start:stop]))
        for number, (start, stop) in enumerate(pairwise(boundaries.tolist()))
        if stop > start
    ]
    if order is None:
        return Route(parts, Assembly(None))
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order))
    return Route(parts, Assembly(inverse))


def assemble(assembly: Assembly, parts: Sequence[Packed]) -> Batch[Any]:
    """The answers as one batch, in the drawn order."""
    batch = concatenate([unpack(part) for part in parts])
    return batch if assembly.order is None else batch.take(assembly.order)
