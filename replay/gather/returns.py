"""Sums of discounted rewards, over arrays of steps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Sums(NamedTuple):
    """n-step sums of B starts, (B,) each."""

    reward: np.ndarray
    discount: np.ndarray
    """float32: gamma^steps, or 0 after a terminated step."""
    terminated: np.ndarray
    truncated: np.ndarray
    """uint8: 1 where the sum ends at a truncated step, or early at the stored end without having terminated."""
    steps: np.ndarray
    """int64: steps summed; the next observation is that many rows on."""


def n_step(
    reward: np.ndarray, terminated: np.ndarray, truncated: np.ndarray, remaining: np.ndarray, discount: float
) -> Sums:
    """Sums over the leading steps of (B, n) arrays, of which the first `remaining` (B,) are of the episode.

    A sum includes a terminated or truncated step and ends there.
    """
    n = reward.shape[1]
    steps = np.minimum(remaining, n)
    ends = ((terminated | truncated) != 0) & (np.arange(n) < steps[:, None])
    steps = np.where(ends.any(axis=1), ends.argmax(axis=1) + 1, steps)
    inside = np.arange(n) < steps[:, None]
    powers = discount ** np.arange(n, dtype=np.float64)
    # One step after the other in float64: the same sum for any batch size.
    total = np.zeros(len(reward))
    for step in range(n):
        total += np.where(inside[:, step], reward[:, step] * powers[step], 0.0)
    last = (np.arange(len(steps)), steps - 1)
    over = terminated[last]
    cut = truncated[last] | ((steps < n) & (over == 0)).astype(np.uint8)
    bootstrap = np.where(over != 0, 0.0, np.float64(discount) ** steps)
    return Sums(total.astype(np.float32), bootstrap.astype(np.float32), over, cut, steps)


def tail(reward: np.ndarray, terminated: np.ndarray, lengths: np.ndarray, discount: float) -> np.ndarray:
    """float64 (B,): the discounted sum of each of B tails, up to and including its first terminated step.

    `reward` and `terminated` are the tails one after the other, `lengths` (B,) of them (each at least 1).
    Nothing is added for what would come after a truncated tail: a return-to-go does not bootstrap.
    """
    ends = np.cumsum(lengths)
    starts = ends - lengths
    step = np.arange(len(reward)) - np.repeat(starts, lengths)
    before = np.cumsum(terminated) - terminated  # terminated steps before this one, over all tails
    alive = before == np.repeat(before[starts], lengths)
    return np.add.reduceat(np.where(alive, reward * np.float64(discount) ** step, 0.0), starts)


def backward(reward: np.ndarray, terminated: np.ndarray, after: np.ndarray, discount: float) -> np.ndarray:
    """float64 (B, T): returns-to-go of every step of (B, T) arrays, given those (B,) of the step after the last."""
    result = np.empty(reward.shape)
    for step in range(reward.shape[1] - 1, -1, -1):
        after = reward[:, step] + discount * np.where(terminated[:, step] != 0, 0.0, after)
        result[:, step] = after
    return result
