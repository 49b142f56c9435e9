"""Which node holds which rows, and how the answers of its actors become one batch again.

The shard actors of one node share its memory maps, so any of them can serve any of the node's shards: a request is one
call to each node that holds some of its rows, to the node's actors in turn, however many of them there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cluster.serialization import Packed, unpack, unpack_observation
from replay.batch import Batch, concatenate, joined_observations
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
    goals: int = 0
    """How many answers, the last ones, are of goals: observations only."""
    goal_order: NDArray[np.int64] | None = None
    """The same as `order` of those."""


@dataclass(frozen=True)
class Route:
    """One request, split: the rows asked of each node that holds some, and how their answers go together."""

    parts: list[tuple[int, Rows]]
    """(node, its rows)."""
    goals: list[tuple[int, Rows]]
    """The same of the goals, whose observations are asked for, where the rows have any."""
    assembly: Assembly


def route(rows: Rows, owner: NDArray[np.int64]) -> Route:
    """`owner` maps a shard's number in the view to the node that holds it, by its place in `actors_by_node`."""
    parts, order = _split(rows, owner)
    if rows.goal is None:
        return Route(parts, [], Assembly(order))
    goals, goal_order = _split(rows.goal, owner)
    return Route(parts, goals, Assembly(order, len(goals), goal_order))


def _split(rows: Rows, owner: NDArray[np.int64]) -> tuple[list[tuple[int, Rows]], NDArray[np.int64] | None]:
    """The rows of each node, and the order in which their answers are the rows again, where it is another."""
    node = owner[rows.shard]
    if node.size and (node == node[0]).all():
        return [(int(node[0]), rows)], None
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
        return parts, None
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order))
    return parts, inverse


def assemble(assembly: Assembly, parts: Sequence[Packed]) -> Batch[Any]:
    """The answers as one batch, in the drawn order, each row beside its goal."""
    asked = len(parts) - assembly.goals
    batch = concatenate([unpack(part) for part in parts[:asked]])
    if assembly.order is not None:
        batch = batch.take(assembly.order)
    if not assembly.goals:
        return batch
    goals = [unpack_observation(part) for part in parts[asked:]]
    return replace(batch, goal=joined_observations(goals, assembly.goal_order))
