"""The cross-entropy method over a box, for many states at once: how a Q-function without a policy picks an action.

Each iteration fits a normal distribution to the best samples of the one before (Rubinstein and Kroese 2004; QT-Opt,
arXiv 1806.10293, uses two iterations of 64 samples and 6 elites). Pure: the noise is passed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Maximum(NamedTuple):
    """What a search found for each of B states."""

    action: Tensor
    """(B, A): the best sample of all iterations."""
    score: Tensor
    """(B,): its score."""
    mean: Tensor
    """(B, A): of the last elites."""
    std: Tensor
    """(B, A): of the last elites; zero for a single one."""


def maximise(score: Callable[[Tensor], Tensor], noise: Tensor, *, elites: int) -> Maximum:
    """Search [-1, 1]^A for the maximum of `score`, which maps (N, B, A) to (N, B).

    `noise` is standard normal, (iterations, N, B, A), with 1 ≤ `elites` ≤ N. Samples are clamped to the box.
    """
    # The normal distribution function turns the first noise into samples spread evenly over the box.
    sample = torch.erf(noise[0] / math.sqrt(2.0))
    found = _fit(sample, score(sample), elites)
    for fresh in noise[1:]:
        sample = (found.mean + found.std * fresh).clamp(-1.0, 1.0)
        newer = _fit(sample, score(sample), elites)
        better = newer.score > found.score
        found = Maximum(
            torch.where(better.unsqueeze(-1), newer.action, found.action),
            torch.where(better, newer.score, found.score),
            newer.mean,
            newer.std,
        )
    return found


def best_of(candidates: Tensor, scores: Tensor) -> Maximum:
    """The best of N given actions, (N, B, A), exactly; `scores` is (N, B)."""
    return _fit(candidates, scores, 1)


def _fit(sample: Tensor, scores: Tensor, elites: int) -> Maximum:
    top = scores.topk(elites, dim=0)  # sorted: the best first
    index = top.indices.unsqueeze(-1).expand(-1, -1, sample.shape[-1])
    elite = sample.gather(0, index)
    return Maximum(elite[0], top.values[0], elite.mean(0), elite.std(0, correction=0))
