"""Conservative Q-learning over discrete actions (Kumar, Zhou, Tucker and Levine 2020, arXiv 2006.04779).

Double Q-learning whose critic is also pushed down at all actions, the most where it is highest, and up at those of
the data. What CQL samples for continuous actions is summed exactly here, and no policy network is needed.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from learners.algorithm import Metrics, Targets
from learners.base.inputs import Inputs, weighted_mean
from learners.base.torch_algorithm import TorchAlgorithm
from learners.cql import CQLConfig
from learners.losses import exact_gap, lagrange_loss
from learners.networks.critics import PositiveScalar
from learners.networks.encoders import Features
from learners.networks.policies import chosen_log_prob, one_hot_choice
from replay.spaces import Discrete, Spaces


class DiscreteCQL(TorchAlgorithm):
    """`cql` where actions are discrete, with the same knobs.

    Not read are those of a policy network and of sampled actions: policy_learning_rate, sampled_actions,
    max_target_backup (the best of all actions is always taken), backup_entropy, target_entropy and dropout. The
    default conservative_weight is meant for locomotion; with few actions 1 is usual. The authors regress quantiles on
    Atari; here it is the mean, by two critics of which the smaller counts, as in continuous CQL.
    """

    Config = CQLConfig
    config: CQLConfig
    action_spaces = (Discrete,)
    target_modules = ("critic", "target_critic")
    policy_modules = ("critic",)

    def build(self) -> None:
        config = self.config
        self.critic = self.networks.discrete_critic(2)
        trained: dict[str, nn.Module] = {"critic": self.critic}
        if config.lagrange_threshold is not None:
            self.multiplier = trained["multiplier"] = PositiveScalar(1.0)
        self.train(trained)
        self.target_critic = self.follow("target_critic", "critic", config.polyak)

    @classmethod
    def without_effect(cls, spaces: Spaces, config: Any) -> dict[str, str]:
        names = ("policy_learning_rate", "sampled_actions", "max_target_backup", "backup_entropy", "target_entropy")
        why = "over discrete actions there is no policy network, and nothing is sampled"
        return super().without_effect(spaces, config) | dict.fromkeys((*names, "dropout"), why)

    # --- Targets ---

    def bootstrap(self, inputs: Inputs) -> Targets:
        """`q`: r + γ·min_i Q̄_i(s', argmax_a min_i Q_i(s', a)), (B,): the critic chooses, its target evaluates (van
        Hasselt, Guez and Silver 2016, arXiv 1509.06461)."""
        best = self.policy_action(inputs.next_observation, None)
        return {"q": inputs.reward + inputs.discount * self.target_critic(inputs.next_observation, best).amin(0)}

    # --- Losses ---

    def losses(self, inputs: Inputs) -> tuple[Tensor, Metrics]:
        """Of the critic and the multiplier."""
        config, weight = self.config, inputs.weight
        every = self.critic.every(inputs.observation)
        q = (every * inputs.action).sum(-1)
        error = q - inputs.labels["q"]
        critic_loss = weighted_mean(error.square().sum(0), weight)
        gap = weighted_mean(exact_gap(every, inputs.action).mean(0), weight)
        conservative_loss = config.conservative_weight * gap
        metrics = {
            "critic_loss": critic_loss,
            "conservative_gap": gap,
            "q_data": q.mean(),
            "priority": error.abs().mean(0),
        }
        # The gap is a mean over the members, their losses are a sum.
        members = len(q)
        if config.lagrange_threshold is None:
            return critic_loss + members * conservative_loss, metrics
        multiplier = self.multiplier().clamp(max=1e6)
        loss = critic_loss + members * multiplier.detach() * conservative_loss
        loss = loss + lagrange_loss(multiplier, conservative_loss, config.lagrange_threshold)
        return loss, metrics | {"multiplier": multiplier}

    # --- Policy ---

    def policy_action(self, observation: Features, noise: Tensor | None) -> Tensor:
        """The best action by the smaller critic; with `noise` a draw from softmax(Q).

        That temperature, 1, is the regulariser's own: softmax(Q) is the policy that it pushes down and, at its minimum
        without rewards, the one of the data.
        """
        return one_hot_choice(self.critic.every(observation).amin(0), noise)

    def policy_log_prob(self, observation: Features, action: Tensor) -> Tensor | None:
        return chosen_log_prob(self.critic.every(observation).amin(0), action)
