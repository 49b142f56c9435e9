from __future__ import annotations

import numpy as np

from cluster.routing import actors_by_node, assemble, assign, route
from cluster.serialization import pack
from replay.batch import Batch
from replay.rows import Rows


def rows(shards: list[int]) -> Rows:
    count = len(shards)
    return Rows(
        np.arange(count), np.array(shards), np.arange(count) * 10, np.ones(count, np.int64), np.zeros(count, np.int64)
    )


def as_batch(part: Rows) -> Batch:
    column = part.row.astype(np.float32)
    flags = np.zeros(len(part), np.uint8)
    return Batch(column, column, column, column, column, flags, flags, part.index)


def test_shards_are_cut_where_the_transitions_are_even() -> None:
    assert assign(np.array([10, 10, 10, 10]), [1, 1]) == [[0, 1], [2, 3]]
    assert assign(np.array([30, 10, 10, 10]), [1, 1]) == [[0], [1, 2, 3]]


def test_a_node_with_more_actors_holds_more() -> None:
    assert assign(np.array([10, 10, 10, 10]), [3, 1]) == [[0, 1, 2], [3]]
    assert assign(np.array([10, 10, 10, 10]), [2]) == [[0, 1, 2, 3]]


def test_the_actors_of_a_node_stand_together() -> None:
    assert actors_by_node(["a", "b", "a"]) == [[0, 2], [1]]


def test_every_node_holds_a_shard() -> None:
    assert assign(np.array([100, 1, 1]), [1, 1, 1]) == [[0], [1], [2]]
    assert assign(np.array([1, 1, 100]), [1, 1, 1]) == [[0], [1], [2]]


def test_rows_come_back_in_the_drawn_order() -> None:
    drawn = rows([2, 0, 1, 0, 2])
    split = route(drawn, owner=np.array([0, 1, 1]))
    assert [(actor, part.row.tolist()) for actor, part in split.parts] == [(0, [10, 30]), (1, [0, 20, 40])]
    batch = assemble(split.assembly, [pack(as_batch(part)) for _, part in split.parts])
    assert batch.index.tolist() == [0, 1, 2, 3, 4]
    assert batch.reward.tolist() == [0.0, 10.0, 20.0, 30.0, 40.0]


def test_rows_of_one_actor_are_not_moved() -> None:
    split = route(rows([2, 2]), owner=np.array([0, 0, 1]))
    assert split.assembly.order is None
    assert [actor for actor, _ in split.parts] == [1]
