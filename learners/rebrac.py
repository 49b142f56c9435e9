"""ReBRAC (Tarasov, Kurenkov, Nikulin and Kolesnikov 2023, arXiv 2305.09836): TD3+BC with two penalties, one for each
network.

The policy is drawn to the action of the data, as in TD3+BC; and a state that the policy would leave by another action
than the data's is worth less to the critic. How strongly is told apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from learners.algorithm import Metrics, Targets
from learners.base.deterministic import DeterministicActorCritic, DeterministicConfig
from learners.base.inputs import Inputs, weighted_mean
from learners.base.knobs import LearningRate, LossWeight, Widths
from learners.losses import q_magnitude, squared_distance
from replay.batch import Request


@dataclass(frozen=True)
class ReBRACConfig(DeterministicConfig):
    """Defaults are the authors' for halfcheetah-medium, which is trained on batches of 1,024; they do not normalise
    observations, as is done here by default.

    For the ant mazes: batches of 256, discount .999, rewards times 100, learning rate 3e-4 (5e-5 for the critic), and
    penalties of about .001; for walker2d-medium policy_penalty .05 and critic_penalty .1.
    """

    learning_rate: LearningRate = 1e-3  # Learning rate of Adam, for every network.
    hidden: Widths = (256, 256, 256)  # Widths of the hidden layers.
    layer_norm: bool = True  # Use LayerNorm before each activation of the value networks.
    policy_penalty: LossWeight = 0.001  # How strongly the policy is drawn to the data's action, β₁.
    critic_penalty: LossWeight = 0.01  # What the policy's distance from the data's next action costs in a target, β₂.

    def request(self) -> Request:
        return replace(super().request(), columns=("next_action", "has_next_action"))


class ReBRAC(DeterministicActorCritic):
    """1 / mean |Q(s, π(s))| is taken from the step before."""

    Config = ReBRACConfig
    config: ReBRACConfig
    weighs_q = True

    # --- Targets ---

    def bootstrap(self, inputs: Inputs) -> Targets:
        """`q`: r + γ(min_i Q̄_i(s', a') − β₂·∥a' − â'∥²), (B,), for the data's next action â'.

        Where the data has none (the episode is cut off there) nothing is subtracted; the authors leave such rows out.
        """
        next_action = self.next_action(inputs)
        next_value = self.target_critic(inputs.next_observation, next_action).amin(0)
        distance = squared_distance(next_action, self.normaliser.action(inputs.extras["next_action"]))
        penalty = self.config.critic_penalty * inputs.extras["has_next_action"] * distance
        return {"q": inputs.reward + inputs.discount * (next_value - penalty)}

    # --- Losses ---

    def policy_loss(self, inputs: Inputs) -> tuple[Tensor, Metrics]:
        """Up the smaller critic, and towards the data."""
        observation, action, weight = inputs.observation, inputs.action, inputs.weight
        policy_action = self.policy(observation)
        q_policy = self.critic(observation, policy_action, frozen=True).amin(0)
        distance = squared_distance(policy_action, action)
        return weighted_mean(self.config.policy_penalty * distance - self.q_scale() * q_policy, weight), {
            "distance": weighted_mean(distance, weight),
            "q_magnitude": q_magnitude(q_policy, weight),
        }
