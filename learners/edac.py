"""SAC-N and ensemble-diversified actor-critic, EDAC (An, Moon, Kim and Song 2021, arXiv 2110.01548).

Soft actor-critic that trusts only the smallest of N critics: where there is no data they disagree, and the minimum
is low. EDAC needs fewer of them, because it keeps their action gradients apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from learners.algorithm import Metrics
from learners.base.ensemble import EnsembleActorCritic, EnsembleConfig
from learners.base.inputs import Inputs, weighted_mean
from learners.base.knobs import LossWeight, Widths
from learners.errors import LearnerError
from learners.networks.policies import LOG_STD_MIN


@dataclass(frozen=True)
class EDACConfig(EnsembleConfig):
    """Defaults are the authors' for halfcheetah; for hopper they use 50 members, and for SAC-N up to 500."""

    hidden: Widths = (256, 256, 256)  # Widths of the hidden layers.
    diversity: LossWeight = 1.0  # η: how strongly the action gradients are kept apart; 0 is SAC-N.

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.diversity > 0.0 and self.members < 2:
            raise LearnerError(f"members: found {self.members} with diversity={self.diversity}, expected at least 2.")


# --- Losses ---


def gradient_similarity(gradient: Tensor) -> Tensor:
    """Σ_{i≠j} ⟨g_i, g_j⟩ / (N − 1), (B,), for the directions g of `gradient`, (N, B, A) (section 4).

    Over all members, as in the paper; the authors' code draws min(N, A) of them. The pairs are never formed: their
    sum is ∥Σ_i g_i∥² − Σ_i ∥g_i∥².
    """
    direction = gradient / (torch.linalg.vector_norm(gradient, dim=-1, keepdim=True) + 1e-10)
    pairs = direction.sum(0).square().sum(-1) - direction.square().sum((0, 2))
    return pairs / (len(gradient) - 1)


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
