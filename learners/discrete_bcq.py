"""Batch-constrained Q-learning over discrete actions (Fujimoto, Conti, Ghavamzadeh and Pineau 2019, arXiv 1910.01708).

Double Q-learning that only considers actions which the data takes often enough: those that a model of the data's
actions holds at least a share τ as likely as the likeliest.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from learners.algorithm import Metrics, Targets
from learners.base.inputs import Inputs, weighted_mean
from learners.base.torch_algorithm import TorchAlgorithm
from learners.bcq import BCQConfig
from learners.losses import imitation_loss, supported
from learners.networks.encoders import Features
from learners.networks.policies import DISCRETE_TEMPERATURE, chosen_log_prob, one_hot_choice
from replay.spaces import Discrete, Spaces


class DiscreteBCQ(TorchAlgorithm):
    """`bcq` where actions are discrete, with the same knobs.

    Not read are those of the generative model, the perturbation and sampled actions: generative_hidden, kl_weight,
    perturbation, sampled_actions, acting_samples and minimum_weight. As in the authors' code there is one critic, its
    loss is Huber's (with threshold 1), and the target network follows by averaging, as theirs does on small problems.
    Their learning rate there is 3e-4 and their layers 256 wide.
    """

    Config = BCQConfig
    config: BCQConfig
    action_spaces = (Discrete,)
    target_modules = ("behaviour", "critic", "target_critic")
    policy_modules = ("behaviour", "critic")

    def build(self) -> None:
        self.critic = self.networks.discrete_critic(1)
        self.behaviour = self.networks.categorical_policy()
        self.train({"critic": self.critic, "behaviour": self.behaviour})
        self.target_critic = self.follow("target_critic", "critic", self.config.polyak)

    @classmethod
    def without_effect(cls, spaces: Spaces, config: Any) -> dict[str, str]:
        names = (
            "generative_hidden",
            "kl_weight",
            "perturbation",
            "sampled_actions",
            "acting_samples",
            "minimum_weight",
        )
        why = "over discrete actions nothing is proposed or perturbed"
        return super().without_effect(spaces, config) | dict.fromkeys(names, why)

    # --- Targets ---

    def bootstrap(self, inputs: Inputs) -> Targets:
        """`q`: r + γ·Q̄(s', argmax_a Q(s', a)), (B,), over supported actions."""
        best = self.policy_action(inputs.next_observation, None)
        return {"q": inputs.reward + inputs.discount * self.target_critic(inputs.next_observation, best)[0]}

    # --- Losses ---

    def losses(self, inputs: Inputs) -> tuple[Tensor, Metrics]:
        """Of the model of the data's actions and the critic."""
        observation, action, weight = inputs.observation, inputs.action, inputs.weight
        logits = self.behaviour.output(observation)
        behaviour_loss = weighted_mean(imitation_loss(logits, action, self.config.logit_penalty), weight)
        q, target = self.critic(observation, action)[0], inputs.labels["q"]
        critic_loss = weighted_mean(F.smooth_l1_loss(q, target, reduction="none"), weight)
        return behaviour_loss + critic_loss, {
            "behaviour_loss": behaviour_loss,
            "critic_loss": critic_loss,
            "q_data": q.mean(),
            "supported": supported(logits, self.config.threshold).float().sum(-1).mean(),
            "priority": (q - target).abs(),
        }

    # --- Policy ---

    def policy_action(self, observation: Features, noise: Tensor | None) -> Tensor:
        """The best supported action; with `noise` a draw among them from softmax(Q / `DISCRETE_TEMPERATURE`)."""
        return one_hot_choice(self.scores(observation) / DISCRETE_TEMPERATURE, noise)

    def policy_log_prob(self, observation: Features, action: Tensor) -> Tensor | None:
        return chosen_log_prob(self.scores(observation) / DISCRETE_TEMPERATURE, action)

    def scores(self, observation: Features) -> Tensor:
        """Q of every action, (B, n), and −∞ where it is not supported."""
        allowed = supported(self.behaviour.log_probs(observation), self.config.threshold)
        return self.critic.every(observation)[0].masked_fill(~allowed, -torch.inf)
