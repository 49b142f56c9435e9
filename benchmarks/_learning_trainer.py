"""What `learning.py` asks of a library: to train, to act, to say what it believes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

PROBE_SEED, PROBE_ROWS = 999_983, 2_048
"""The batch on which values are compared: the same transitions for every method, library and seed."""


@dataclass(frozen=True)
class Values:
    """Mean values on the probe; None where the method has no Q."""

    q_data: float | None
    q_policy: float | None


class Trainer(Protocol):
    """A method of one library, on one dataset."""

    def train(self, start: int, stop: int) -> None:
        """Gradient steps [start, stop)."""

    def act(self, observation: Any, state: Any, first: Any) -> tuple[Any, Any]:
        """As `envs.Act`: the policy's mode."""

    def values(self) -> Values: ...
