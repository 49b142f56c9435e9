"""SAC-N and ensemble-diversified actor-critic, EDAC (An, Moon, Kim and Song 2021, arXiv 2110.01548).

Soft actor-critic that trusts only the smallest of N critics: where there is no data they disagree, and the minimum
is low. EDAC needs fewer of them, because it keeps their action gradients apart.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from learners.algorithm import Metrics
from learners.base.ensemble import EnsembleActorCritic, EnsembleConfig
from learners.base.inputs import Inputs, weighted_mean
from learners.base.knobs import LossWeight, Widths
from learners.errors import LearnerError
from learners.losses import gradient_similarity
from learners.networks.policies import LOG_STD_MIN


@dataclass(frozen=True)
class EDACConfig(EnsembleConfig):
    """Defaults are the authors' for halfcheetah; for hopper they use 50 members, and for SAC-N up to 500."""

    hidden: Widths = (256, 256, 256)  # Widths of the hidden layers.
    diversity: LossWeight = 1.0  # How strongly the action gradients are kept apart, η; 0 is SAC-N.

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.diversity > 0.0 and self.members < 2:
            raise LearnerError(f"members: found {self.members} with diversity={self.diversity}, expected at least 2.")


class EDAC(EnsembleActorCritic):
    """Targets and policy trust the smallest member, as in SAC-N."""

    Config = EDACConfig
    config: EDACConfig
    log_std_min = LOG_STD_MIN

    def regularised(self, inputs: Inputs) -> tuple[Tensor, Tensor, Metrics]:
        """The members look different ways."""
        diversity = self.config.diversity
        if diversity == 0.0:
            q, loss, _ = super().regularised(inputs)
            return q, loss, {"diversity_loss": loss}
        q, action_gradient = self.critic.with_action_gradient(inputs.observation, inputs.action)
        loss = diversity * weighted_mean(gradient_similarity(action_gradient), inputs.weight)
        return q, loss, {"diversity_loss": loss}
