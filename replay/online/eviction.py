"""Which fresh episodes are no longer sampled: by age, by return, by capacity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from replay.errors import DataError
from replay.ranges import Steps, check_fields


@dataclass(frozen=True)
class Eviction:
    """A rule; what is None does not apply. An evicted episode is not sampled any more; its number and its files stay.

    Raises `DataError` for a bound that makes no sense.
    """

    max_transitions: Steps | None = None
    """Capacity: the oldest episodes go until no more transitions are left. The newest one stays, however long."""
    max_age: Steps | None = None
    """Episodes go after which more transitions than this were inserted."""
    min_return: float | None = None
    """Episodes of a lower return go."""

    def __post_init__(self) -> None:
        check_fields(self, DataError, lambda name: f"eviction, {name}")

    def to_json(self) -> dict[str, Any]:
        """The bounds that apply."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def evicted(table: Mapping[str, np.ndarray], rule: Eviction) -> np.ndarray:
    """int64 (K,): the numbers of the episodes that go, in order.

    `table` has the live episodes, oldest first, as arrays (N,): episode (the number), length, return, and age (the
    transitions inserted after it). Age decides first, then the return; capacity counts what these leave.
    """
    stays = np.ones(len(table["episode"]), bool)
    if rule.max_age is not None:
        stays &= table["age"] <= rule.max_age
    if rule.min_return is not None:
        stays &= table["return"] >= rule.min_return
    if rule.max_transitions is not None:
        left = np.flatnonzero(stays)
        # Of each and all that are newer; the newest has room in any case.
        needed = np.cumsum(table["length"][left][::-1])[::-1]
        stays[left[:-1]] = needed[:-1] <= rule.max_transitions
    return table["episode"][~stays]


__all__ = ["Eviction", "evicted"]
