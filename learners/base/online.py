"""How a method goes online, from its logs to fresh data as well, unless a run says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from learners.base.knobs import Spread
from learners.errors import LearnerError
from replay.ranges import Range, Share, check_fields


@dataclass(frozen=True)
class Online:
    """The default is what the authors of AWAC (arXiv 2006.09359) and IQL (arXiv 2110.06169) do.

    Fresh transitions join those of the logs, and every one of them is as likely to be drawn; there is one gradient step
    for each step of the environment; actions are drawn from the policy; learning rates no longer fall.
    """

    share: Share | None = None
    """Of fresh transitions in each batch; None: as many as there are, uniformly over logs and fresh data together."""
    final_share: Share | None = None
    """Where given, the share moves linearly to this one over the online stage."""
    updates_per_step: Annotated[float, Range(0, 10**6, above=True)] = 1.0
    """Gradient steps for each step of the environment."""
    stochastic: bool = True
    """Actions are draws from the policy; False: its mode."""
    noise: Spread = 0.0
    """Standard deviation of Gaussian noise on these actions, in units of half the range of each of their elements. For
    policies whose mode is all they have; discrete actions take none."""
    random_probability: Share = 0.0
    """Share of actions that are uniformly random instead: ε of an ε-greedy policy."""
    knobs: Mapping[str, Any] = field(default_factory=lambda: {"cosine_steps": 0})
    """Of the configuration, those that change when a run goes online. The state of the offline run must load into what
    they make: no widths, no members."""

    def __post_init__(self) -> None:
        """Raises `LearnerError` for values that no run can follow."""
        check_fields(self, LearnerError)
        if self.final_share is not None and self.share is None:
            raise LearnerError(f"final_share: found {self.final_share}, but no share that it could begin from.")
