"""Columns that are computed from others when they are asked for (`schema.COMPUTED`), never stored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from replay.batch import Request
from replay.gather.addresses import Addresses
from replay.gather.returns import tail
from replay.schema import NEXT_ACTION


def following(
    names: Sequence[str],
    addresses: Addresses,
    at: np.ndarray,
    steps: np.ndarray | int,
    remaining: np.ndarray,
    terminated: np.ndarray,
) -> dict[str, np.ndarray]:
    """Those of `next_action`, (B, *shape), and `has_next_action`, uint8 (B,), that are named: the logged action taken
    `steps` rows on, and whether there is one.

    The row where an episode ends holds an observation and a filler for the action; after a terminated step follows
    the action of another attempt. The row's own action stands in for both. After a truncated step inside an episode
    the next row is the one that was acted in, so its action counts.
    """
    follows = (terminated == 0) & (steps < remaining)
    return {
        name: addresses.read("action", at, np.where(follows, steps, 0))
        if name == NEXT_ACTION
        else follows.astype(np.uint8)
        for name in names
    }


def returns_to_go(addresses: Addresses, at: np.ndarray, remaining: np.ndarray, request: Request) -> np.ndarray:
    """float64 (B,): returns-to-go of the steps at `at`, each read to the end of its episode."""
    start = np.repeat(np.arange(len(remaining)), remaining)
    steps = np.arange(len(start)) - (np.cumsum(remaining) - remaining)[start]
    reward = request.scaled(addresses.read_from("reward", at, start, steps))
    terminated = addresses.read_from("terminated", at, start, steps).astype(np.int64)
    return tail(reward, terminated, remaining, request.discount)
