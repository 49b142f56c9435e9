"""How every role builds the one algorithm of a run: from a small description that travels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import learners
from learners.algorithm import Algorithm
from replay.spaces import Spaces


@dataclass(frozen=True)
class AlgorithmSpec:
    name: str
    knobs: dict[str, Any]
    spaces: Spaces
    statistics: dict[str, Any] | None
    seed: int
    compile: bool = False
    frozen: tuple[str, ...] = ()
    """Modules that stay as they are."""

    def create(self, device: str, *, rows: int = 0) -> Algorithm:
        """`rows` are those of each gradient step, where it is to take any.

        Raises `LearnerError` for an unknown name or knob, for spaces the algorithm cannot serve, and for more memory
        than the device has.
        """
        algorithm = learners.create(
            self.name,
            self.spaces,
            seed=self.seed,
            statistics=self.statistics,
            device=device,
            compile=self.compile,
            rows=rows,
            **self.knobs,
        )
        if self.frozen:
            algorithm.freeze(self.frozen)
        return algorithm
