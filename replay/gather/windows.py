"""Windows and whole episodes: steps one after the other, with a mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from replay.batch import Batch
from replay.gather.batch_checks import check_flags
from replay.gather.decoders import Encoded
from replay.gather.derived_columns import returns_to_go
from replay.gather.plan import Plan
from replay.gather.relabelled import read_reward
from replay.gather.returns import backward
from replay.rows import Rows
from replay.schema import RETURN_TO_GO


def windows(
    plan: Plan, at: np.ndarray, rows: Rows, key: tuple[int, int], length: int
) -> tuple[Batch[np.ndarray], Sequence[Encoded]]:
    """The batch of the `length` steps from each row on, and what must be decoded before it is whole. Raises `DataError`
    for flags that are none."""
    addresses, request = plan.addresses, plan.request
    # Behind the end stands the last row, which has the last observation and otherwise zeros.
    steps = np.minimum(np.arange(length + 1), rows.remaining[:, None])
    inner = steps[:, :-1]
    mask = (np.arange(length) < rows.remaining[:, None]).astype(np.uint8)
    reward = request.scaled(read_reward(plan, at, rows, inner)) * mask.astype(np.float32)
    terminated = check_flags(plan.view, addresses.read("terminated", at, inner)) * mask
    extras = {name: addresses.read(name, at, inner) for name in plan.extras}
    if plan.to_go:
        after = np.zeros(len(rows))
        behind = np.flatnonzero(rows.remaining > length)
        if len(behind):
            further = at[:, behind] + length * addresses.strides
            after[behind] = returns_to_go(addresses, further, rows.remaining[behind] - length, request)
        extras[RETURN_TO_GO] = backward(reward, terminated, after, request.discount).astype(np.float32)
    observation, next_observation, encoded = plan.observations.read_successive(addresses, at, rows, steps)
    batch = Batch(
        observation=observation,
        action=addresses.read("action", at, inner),
        reward=reward,
        discount=(request.discount * mask * (terminated == 0)).astype(np.float32),
        next_observation=next_observation,
        terminated=terminated,
        truncated=check_flags(plan.view, addresses.read("truncated", at, inner)) * mask,
        index=rows.index,
        mask=mask,
        weight=rows.weight,
        extras=extras,
        key=key,
    )
    return batch, encoded
