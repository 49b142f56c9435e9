"""How a method goes online, from its logs to fresh data as well, unless a run says otherwise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from learners.errors import LearnerError


@dataclass(frozen=True)
class Online:
    """The default is what the authors of AWAC (arXiv 2006.09359) and IQL (arXiv 2110.06169) do.

    Fresh transitions join those of the logs, and every one of them is as likely to be drawn; there is one gradient step
    for each step of the environment; actions are drawn from the policy; learning rates no longer fall.
    """

    share: float | None = None
    """Of fresh transitions in each batch; None: as many as there are, uniformly over logs and fresh data together."""
    final_share: float | None = None
    """Where given, the share moves linearly to this one over the online stage."""
    updates_per_step: float = 1.0
    """Gradient steps for each step of the environment."""
    stochastic: bool = True
    """Actions are draws from the policy; False: its mode."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise on these actions, in units of half the range of each of their elements. For
    policies whose mode is all they have; discrete actions take none."""
    random_probability: float = 0.0
    """Share of actions that are uniformly random instead: ε of an ε-greedy policy."""
    knobs: Mapping[str, Any] = field(default_factory=lambda: {"cosine_steps": 0})
    """Of the configuration, those that change when a run goes online. The state of the offline run must load into what
    they make: no widths, no members."""

    def __post_init__(self) -> None:
        """Raises `LearnerError` for values that no run can follow."""
        for name in ("share", "final_share", "random_probability"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value <= 1.0:
                raise LearnerError(f"{name}: found {value}, expected a share in [0, 1].")
        if self.final_share is not None and self.share is None:
            raise LearnerError(f"final_share: found {self.final_share}, but no share that it could begin from.")
        if not 0.0 < self.updates_per_step < math.inf:
            raise LearnerError(f"updates_per_step: found {self.updates_per_step}, expected a positive number.")
        if not 0.0 <= self.noise < math.inf:
            raise LearnerError(f"noise: found {self.noise}, expected 0 or more.")
