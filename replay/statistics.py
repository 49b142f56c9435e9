"""Mean, standard deviation and range of columns, gathered in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_CHUNK = 65_536
"""Rows turned to float64 at once."""


class Moments:
    """Count, mean, squared deviations and range of the rows given so far, element by element, in float64.

    Parts are combined by the pairwise formula of Chan, Golub and LeVeque (1979), which does not lose
    digits as a sum of squares does.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.count = 0
        self.mean = np.zeros(shape)
        self.squares = np.zeros(shape)
        self.min = np.full(shape, np.inf)
        self.max = np.full(shape, -np.inf)

    def add(self, rows: np.ndarray) -> None:
        """`rows`: (N, *shape), any numeric dtype."""
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK].astype(np.float64)
            mean = part.mean(axis=0)
            self.min = np.minimum(self.min, part.min(axis=0))
            self.max = np.maximum(self.max, part.max(axis=0))
            squares = np.square(part - mean).sum(axis=0)
            total = self.count + len(part)
            shift = mean - self.mean
            self.mean = self.mean + shift * (len(part) / total)
            self.squares = self.squares + squares + shift**2 * (self.count * len(part) / total)
            self.count = total

    def entry(self) -> dict[str, Any]:
        """count, mean, std (of the population), min, max."""
        return {
            "count": self.count,
            "mean": self.mean,
            "std": np.sqrt(self.squares / max(self.count, 1)),
            "min": self.min,
            "max": self.max,
        }


def merge(entries: Sequence[Mapping[str, Any]], shares: Sequence[float]) -> dict[str, Any]:
    """Statistics of a mixture that draws from part i with probability `shares[i]` (they sum to one)."""
    mean = sum(share * np.asarray(entry["mean"]) for entry, share in zip(entries, shares, strict=True))
    second = sum(
        share * (np.square(entry["std"]) + np.square(np.asarray(entry["mean"]) - mean))
        for entry, share in zip(entries, shares, strict=True)
    )
    return {
        "count": sum(int(entry["count"]) for entry in entries),
        "mean": np.asarray(mean),
        "std": np.sqrt(second),
        "min": np.min([entry["min"] for entry in entries], axis=0),
        "max": np.max([entry["max"] for entry in entries], axis=0),
    }
