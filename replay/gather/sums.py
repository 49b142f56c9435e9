"""Transitions of several steps: n-step sums, and chunks of actions, which are n-step sums with all of their actions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from replay.batch import Batch
from replay.gather.batch_checks import check_flags
from replay.gather.decoders import Encoded
from replay.gather.derived_columns import following, returns_to_go
from replay.gather.history import Histories, histories
from replay.gather.plan import Plan
from replay.gather.relabelled import read_reward
from replay.gather.returns import n_step
from replay.rows import Rows
from replay.schema import RETURN_TO_GO


def sums(
    plan: Plan, at: np.ndarray, rows: Rows, key: tuple[int, int], length: int
) -> tuple[Batch[np.ndarray], Sequence[Encoded]]:
    """The batch of these rows, summed over up to `length` steps, and what must be decoded before it is whole. Raises
    `DataError` for flags that are none."""
    addresses, request = plan.addresses, plan.request
    steps = np.minimum(np.arange(length), rows.remaining[:, None] - 1)
    reward = request.scaled(read_reward(plan, at, rows, steps))
    flags = (
        check_flags(plan.view, addresses.read("terminated", at, steps)),
        check_flags(plan.view, addresses.read("truncated", at, steps)),
    )
    found = n_step(reward, *flags, rows.remaining, request.discount)
    extras = {name: addresses.read(name, at) for name in plan.extras}
    if plan.to_go:
        extras[RETURN_TO_GO] = returns_to_go(addresses, at, rows.remaining, request).astype(np.float32)
    if plan.following:
        extras |= following(plan.following, addresses, at, found.steps, rows.remaining, found.terminated)
    mask = _inside(found.steps, request.action_chunk) if request.action_chunk else None
    past = histories(plan, at, rows.step, found.steps) if plan.history else Histories(later=found.steps)
    observation, next_observation, encoded = plan.observations.read(addresses, at, rows, past.now, past.later)
    batch = Batch(
        observation=observation,
        action=_actions(plan, at, rows, mask),
        reward=found.reward,
        discount=found.discount,
        next_observation=next_observation,
        terminated=found.terminated,
        truncated=found.truncated,
        index=rows.index,
        mask=mask,
        history_mask=past.mask,
        next_history_mask=past.next_mask,
        weight=rows.weight,
        extras=extras,
        key=key,
    )
    return batch, encoded


def _inside(steps: np.ndarray, chunk: int) -> np.ndarray:
    """uint8 (B, h): 1 for the steps that are summed."""
    return (np.arange(chunk) < steps[:, None]).astype(np.uint8)


def _actions(plan: Plan, at: np.ndarray, rows: Rows, mask: np.ndarray | None) -> np.ndarray:
    """(B, *shape), or those of a chunk, (B, h, *shape). Behind its end stands the last row of the episode, which has
    the filler."""
    if mask is None:
        return plan.addresses.read("action", at)
    offsets = np.where(mask, np.arange(mask.shape[1]), rows.remaining[:, None])
    return plan.addresses.read("action", at, offsets)
