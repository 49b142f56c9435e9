"""TD3+BC (Fujimoto and Gu 2021, arXiv 2106.06860): TD3 whose policy is also drawn to the actions of the data.

The policy climbs the critic as far as one squared error lets it go; nothing else is changed.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from learners.algorithm import Metrics
from learners.base.deterministic import DeterministicActorCritic, DeterministicConfig
from learners.base.inputs import Inputs, weighted_mean
from learners.base.knobs import LossWeight
from learners.losses import cloning_policy_loss, q_magnitude, squared_error


@dataclass(frozen=True)
class TD3BCConfig(DeterministicConfig):
    """Defaults are the authors'."""

    alpha: LossWeight = 2.5  # How much the critic counts against cloning, α; 0 is cloning.


class TD3BC(DeterministicActorCritic):
    """λ = α / mean |Q(s, π(s))| is taken from the step before."""

    Config = TD3BCConfig
    config: TD3BCConfig
    weighs_q = True

    # --- Losses ---

    def policy_loss(self, inputs: Inputs) -> tuple[Tensor, Metrics]:
        """Up the first critic, as in TD3, and towards the data."""
        observation, action, weight = inputs.observation, inputs.action, inputs.weight
        policy_action = self.policy(observation)
        q_policy = self.critic(observation, policy_action, frozen=True)[0]
        scale = self.config.alpha * self.q_scale()
        return weighted_mean(cloning_policy_loss(q_policy, policy_action, action, scale), weight), {
            "cloning_error": weighted_mean(squared_error(policy_action, action), weight),
            "q_magnitude": q_magnitude(q_policy, weight),
        }
