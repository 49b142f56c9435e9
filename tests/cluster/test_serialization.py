"""What is sent arrives: rows to the shard actors, batches back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cluster.serialization import pack, pack_rows, unpack, unpack_rows
from replay.batch import Batch, Request
from replay.rows import Rows

ROWS = Rows(
    np.array([7, 2**40, 9]), np.array([0, 1, 1]), np.array([5, 6, 2**31 - 1]), np.array([3, 1, 2]), np.array([0, 4, 1])
)
WEIGHTED = replace(ROWS, weight=np.array([0.5, 1.0, 0.1], np.float32))


def test_one_step_transitions_need_shard_and_row_only() -> None:
    packed = pack_rows(ROWS, Request())
    assert [name for name, _, _ in packed[0]] == ["shard", "row"]
    found = unpack_rows(packed)
    assert found.shard.tolist() == [0, 1, 1]
    assert found.row.tolist() == [5, 6, 2**31 - 1]
    assert found.index.tolist() == [-1, -1, -1]


def test_n_step_sums_need_to_know_what_remains() -> None:
    assert unpack_rows(pack_rows(ROWS, Request(n_step=3))).remaining.tolist() == [3, 1, 2]
    assert unpack_rows(pack_rows(ROWS, Request(kind="windows", length=4))).remaining.tolist() == [3, 1, 2]


def test_histories_need_to_know_what_came_before() -> None:
    packed = pack_rows(ROWS, Request(history=2))
    assert [name for name, _, _ in packed[0]] == ["shard", "row", "step"]
    assert unpack_rows(packed).step.tolist() == [0, 4, 1]


def test_prioritised_rows_arrive_whole() -> None:
    found = unpack_rows(pack_rows(WEIGHTED, Request()))
    for name in ("index", "shard", "row", "weight"):
        np.testing.assert_array_equal(getattr(found, name), getattr(WEIGHTED, name), err_msg=name)


def test_a_batch_arrives_with_every_array_in_its_place() -> None:
    flags = np.array([0, 1, 0], np.uint8)
    reward = np.array([1.0, 2.0, 3.0], np.float32)
    sent = Batch(
        observation={"camera": np.arange(3 * 4, dtype=np.uint8).reshape(3, 4), "joints": np.eye(3)},
        action=np.array([[1], [2], [3]], np.int64),
        reward=reward,
        discount=reward / 4,
        next_observation={"camera": np.zeros((3, 4), np.uint8), "joints": -np.eye(3)},
        terminated=flags,
        truncated=1 - flags,
        index=np.array([4, 5, 6]),
        weight=np.array([0.5, 1.0, 0.1], np.float32),
        extras={"goal": np.array([[1.0, 2.0]] * 3, np.float32)},
    )
    found = unpack(pack(sent))
    for name in ("observation", "next_observation", "extras"):
        for key, value in getattr(sent, name).items():
            np.testing.assert_array_equal(getattr(found, name)[key], value, err_msg=f"{name}.{key}")
            assert getattr(found, name)[key].dtype == value.dtype
    for name in ("action", "reward", "discount", "terminated", "truncated", "index", "weight"):
        np.testing.assert_array_equal(getattr(found, name), getattr(sent, name), err_msg=name)
        assert getattr(found, name).dtype == getattr(sent, name).dtype
    assert found.mask is None
