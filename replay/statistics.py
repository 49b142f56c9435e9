"""Mean, standard deviation and range of columns, gathered in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from replay.records import numbers, part, whole
from replay.schema import Column, is_observation
from replay.shard import ShardFile, tensors

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
    return {
        "count": sum(int(entry["count"]) for entry in entries),
        **_mixture({key: np.stack([entry[key] for entry in entries]) for key in _VALUES}, np.asarray(shares)),
    }


def pool(parts: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Statistics of all rows of N parts together: `parts` has the entries' values side by side, count (N,) and the
    others (N, *shape)."""
    count = int(parts["count"].sum())
    if count == 0:
        return Moments(parts["mean"].shape[1:]).entry()
    return {"count": count, **_mixture(parts, parts["count"] / count)}


def measure(
    columns: Sequence[Column], shards: Sequence[Mapping[str, ShardFile]], episodes: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """Of these episodes only (a table whose shard numbers are places in `shards`), in one pass over the files; by
    numeric column."""
    collected = {column.name: Moments(column.shape) for column in columns if column.kind == "tensor"}
    for number, files in enumerate(shards):
        found = tensors(columns, files)
        mine = episodes["shard"] == number
        steps = np.zeros(len(found["reward"]), bool)
        rows = steps.copy()
        for first, length in zip(episodes["first_row"][mine], episodes["length"][mine], strict=True):
            steps[first : first + length] = True
            rows[first : first + length + 1] = True
        for name, array in found.items():
            collected[name].add(array[rows if is_observation(name) else steps])
    return {name: entry.entry() for name, entry in collected.items()}


def to_json(statistics: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The same in lists and numbers."""
    return {
        name: {key: np.asarray(value).tolist() for key, value in entry.items()} for name, entry in statistics.items()
    }


def from_json(record: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """An entry for a column of this shape; `name` begins messages. Raises `ValueError` for what cannot be: numbers that
    are none, a negative count or spread, a range that ends before it begins."""
    entry: dict[str, Any] = {"count": np.asarray(whole(part(record, "count", name), f"{name}.count"))}
    for key in _VALUES:
        entry[key] = numbers(part(record, key, name), f"{name}.{key}", shape)
    if (entry["std"] < 0).any():
        raise ValueError(f"{name}.std: found a negative number")
    if (entry["min"] > entry["max"]).any():
        raise ValueError(f"{name}.min: found more than in {name}.max")
    return entry


_VALUES = ("mean", "std", "min", "max")


def _mixture(parts: Mapping[str, np.ndarray], shares: np.ndarray) -> dict[str, Any]:
    """Values are (N, *shape), shares (N,)."""
    means = parts["mean"]
    shares = shares.reshape(-1, *(1,) * (means.ndim - 1))
    mean = (shares * means).sum(axis=0)
    second = (shares * (np.square(parts["std"]) + np.square(means - mean))).sum(axis=0)
    return {
        "mean": np.asarray(mean),
        "std": np.sqrt(second),
        "min": np.min(parts["min"], axis=0),
        "max": np.max(parts["max"], axis=0),
    }
