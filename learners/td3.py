"""Twin delayed deep deterministic policy gradients, TD3 (Fujimoto, van Hoof and Meger 2018, arXiv 1802.09477).

The policy climbs the critic, and nothing keeps it to the actions of the data: it is a method for fresh data, and the
control of those that are meant for a fixed log.
"""

from __future__ import annotations

from torch import Tensor

from learners.algorithm import Metrics
from learners.base.deterministic import DeterministicActorCritic, DeterministicConfig
from learners.base.inputs import Inputs, weighted_mean


class TD3(DeterministicActorCritic):
    """Defaults are those of the authors' code."""

    config: DeterministicConfig

    # --- Losses ---

    def policy_loss(self, inputs: Inputs) -> tuple[Tensor, Metrics]:
        """−Q₁(s, π(s)): up the first critic."""
        observation = inputs.observation
        q_policy = self.critic(observation, self.policy(observation), frozen=True)[0]
        return -weighted_mean(q_policy, inputs.weight), {}
