"""Randomised ensembled double Q-learning, REDQ (Chen, Wang, Zhou and Ross 2021, arXiv 2101.05982).

Soft actor-critic with N critics whose targets come from the smallest of M members drawn anew at each step, and whose
policy maximises the mean of all: M, not N, sets how pessimistic the values are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from learners.base.ensemble import EnsembleActorCritic, EnsembleConfig
from learners.base.knobs import Members
from learners.base.online import Online
from learners.errors import LearnerError
from replay.batch import Batch


@dataclass(frozen=True)
class REDQConfig(EnsembleConfig):
    """Defaults are the authors' for MuJoCo, except for the target entropy, which they set for each task."""

    subset: Members = 2  # Members that a step's targets take the smallest of, M; with all it is SAC-N's target.

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.subset > self.members:
            raise LearnerError(f"subset: found {self.subset} of {self.members} members, expected 1 to {self.members}.")


class REDQ(EnsembleActorCritic):
    """The authors train online, with 20 updates for each step of the robot and a policy that moves at the last of them
    (algorithm 1): so does `online`. Offline everything moves in every step by default.

    On a fixed log only the minimum over the subset is careful about actions outside of it, which is little for a narrow
    one.
    """

    Config = REDQConfig
    config: REDQConfig
    online = Online(updates_per_step=20.0, knobs={"cosine_steps": 0, "policy_every": 20})

    def next_value(self, q: Tensor, noise: dict[str, Tensor]) -> Tensor:
        """The smallest of M members, the same ones for every row (algorithm 1)."""
        return q[noise["subset"].argsort()[: self.config.subset]].amin(0)

    def policy_value(self, q: Tensor) -> Tensor:
        """The mean of all members."""
        return q.mean(0)

    def target_noise(self, batch: Batch[Any]) -> dict[str, Tensor]:
        """`policy` (B, A), and `subset` (E,), whose M smallest numbers say which members."""
        return super().target_noise(batch) | {"subset": self.uniform_of_batch(batch, "subset", self.config.members)}
