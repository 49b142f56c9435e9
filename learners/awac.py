"""Advantage-weighted actor-critic, AWAC (Nair, Gupta, Dalal and Levine 2020, arXiv 2006.09359).

The critic learns the value of the policy, whose own actions it is asked about; the policy is drawn from the data by
advantage-weighted regression, so that what it is asked about stays near the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from learners.algorithm import Metrics, Targets
from learners.base.config import CommonConfig
from learners.base.inputs import Inputs, weighted_mean
from learners.base.knobs import AdvantageClip, PolicySpread, Polyak, Samples, Temperature, WeightDecay, Widths
from learners.base.torch_algorithm import TorchAlgorithm
from learners.losses import advantage_weight
from replay.batch import Batch
from replay.spaces import Box, Discrete


@dataclass(frozen=True)
class AWACConfig(CommonConfig):
    """Defaults are CORL's for locomotion (arXiv 2210.07105), with the authors' weight decay; CORL uses temperature .1
    for the ant mazes.

    CORL weighs each action by min(exp(A/λ), clip), the authors by a softmax of A/λ over a batch, usually of 1,024. The
    former is taken here: a row's weight then does not depend on the other rows, nor on how many learners share them.
    """

    hidden: Widths = (256, 256, 256)  # Widths of the hidden layers.
    temperature: Temperature = 1 / 3  # How much advantage makes an action e times as good, λ; large is cloning.
    advantage_clip: AdvantageClip = 100.0  # Upper bound of exp(advantage/λ).
    sampled_actions: Samples = 1  # Actions of the policy over which Q is averaged for the value of a state.
    # Fixed spread of the policy, learned where not given; 1 makes its loss a squared error.
    policy_std: PolicySpread = None
    policy_weight_decay: WeightDecay = 1e-4  # Weight of the L2 regularisation of the policy.
    polyak: Polyak = 0.005  # Rate at which the target critic follows the critic.


class AWAC(TorchAlgorithm):
    """The policy is a normal distribution with a tanh mean and a spread that does not depend on the state, one of the
    choices in the authors' code."""

    Config = AWACConfig
    config: AWACConfig
    action_spaces = (Box, Discrete)
    target_modules = ("policy", "target_critic")

    def build(self) -> None:
        config = self.config
        self.critic = self.networks.critic(2)
        self.policy = self.networks.likelihood_policy(std=config.policy_std)
        trained = {"critic": self.critic, "policy": self.policy}
        self.train(trained, weight_decay={"policy": config.policy_weight_decay})
        self.target_critic = self.follow("target_critic", "critic", config.polyak)

    # --- Targets ---

    def target_noise(self, batch: Batch[Any]) -> dict[str, Tensor]:
        return {"policy": self.normal(batch, "targets")}

    def bootstrap(self, inputs: Inputs) -> Targets:
        """`q`: r + γ·min_i Q̄_i(s', a'), (B,), for one action a' of the policy."""
        next_action = self.policy.act(inputs.next_observation, inputs.noise["policy"])
        next_value = self.target_critic(inputs.next_observation, next_action).amin(0)
        return {"q": inputs.reward + inputs.discount * next_value}

    # --- Losses ---

    def loss_noise(self, batch: Batch[Any]) -> dict[str, Tensor]:
        return {"policy": self.normal(batch, "policy", self.config.sampled_actions)}

    def losses(self, inputs: Inputs) -> tuple[Tensor, Metrics]:
        """Of the critic and the policy. (The authors move the critic before the policy.)"""
        config, observation, action, weight = self.config, inputs.observation, inputs.action, inputs.weight
        # --- Critic: both members regress on the same target ---
        q = self.critic(observation, action)
        error = q - inputs.labels["q"]
        critic_loss = weighted_mean(error.square().sum(0), weight)
        # --- Policy: advantage-weighted regression ---
        with torch.no_grad():
            sampled = self.policy.act(observation, inputs.noise["policy"])
            value = self.critic(observation, sampled).amin(0).mean(0)
            advantage = q.amin(0) - value
            policy_weight = advantage_weight(advantage, 1.0 / config.temperature, config.advantage_clip)
        policy_loss = -weighted_mean(policy_weight * self.policy.log_prob(observation, action), weight)
        return critic_loss + policy_loss, {
            "critic_loss": critic_loss,
            "policy_loss": policy_loss,
            "q_data": q.mean(),
            "value": value.mean(),
            "advantage": advantage.mean(),
            "priority": error.abs().mean(0),
        }
