"""One-step transitions: what nearly every training step asks for, and so spared whatever can be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from replay.batch import Batch
from replay.gather.batch_checks import no_flags
from replay.gather.decoders import Encoded
from replay.gather.derived_columns import following
from replay.gather.history import NO_HISTORIES, histories
from replay.gather.plan import Plan
from replay.gather.relabelled import read_reward
from replay.rows import Rows


def one_step(
    plan: Plan, at: np.ndarray, rows: Rows, key: tuple[int, int]
) -> tuple[Batch[np.ndarray], Sequence[Encoded]]:
    """The batch of these rows, and what must be decoded before it is whole. Raises `DataError` for flags that are
    none."""
    addresses = plan.addresses
    past = histories(plan, at, rows.step, 1) if plan.history else NO_HISTORIES
    observation, next_observation, encoded = plan.observations.read(addresses, at, rows, past.now, past.later)
    reward = read_reward(plan, at, rows) if plan.rewards else addresses.read("reward", at)
    if plan.scaled:
        reward = plan.request.scaled(reward)
    terminated, truncated = addresses.read_flags(at)
    try:
        discount = plan.discounts.take(terminated)
    except IndexError as error:
        raise no_flags(plan.view) from error
    extras = {name: addresses.read(name, at) for name in plan.extras} if plan.extras else {}
    if plan.following:
        extras |= following(plan.following, addresses, at, 1, rows.remaining, terminated)
    batch = Batch(
        observation,
        addresses.read("action", at),
        reward,
        discount,
        next_observation,
        terminated,
        truncated,
        rows.index,
        None,
        past.mask,
        past.next_mask,
        rows.weight,
        extras,
        key,
    )
    return batch, encoded
