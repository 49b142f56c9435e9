"""Behaviour-regularised actor-critic, BRAC, with the KL divergence (Wu, Tucker and Nachum 2019, arXiv 1911.11361).

A policy is cloned from the data, and the divergence of the actor from it is subtracted: from the actor's objective
only (policy regularisation, BRAC-p), or from the bootstrapped values as well (value penalty, BRAC-v).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from learners.algorithm import Metrics, Targets
from learners.base.config import CommonConfig
from learners.base.inputs import Inputs, weighted_mean
from learners.base.knobs import LearningRate, LossWeight, Polyak, Samples
from learners.base.torch_algorithm import TorchAlgorithm
from learners.losses import kl_estimate
from learners.networks.encoders import Features
from learners.networks.policies import LOG_STD_MIN
from replay.batch import Batch
from replay.ranges import StepsOrNone


@dataclass(frozen=True)
class BRACConfig(CommonConfig):
    """Learning rates and penalty weight are those of the command in the authors' README.

    The penalty weight is in units of Q for each nat, so it has to grow with the rewards. The authors clone the
    behaviour policy in a run of its own of 300,000 steps, and the actor then imitates it for 20,000. Here it is
    cloned beside the actor, so that a method is one run, and the warm-up suits runs of some 10,000 steps.
    """

    learning_rate: LearningRate = 1e-3  # Learning rate of Adam, for the critics and the behaviour policy.
    policy_learning_rate: LearningRate = 3e-4  # Learning rate of the policy.
    # What the divergence is subtracted from: the policy's objective (policy), or the values as well (value).
    penalty: Literal["value", "policy"] = "value"
    penalty_weight: LossWeight = 0.1  # Weight α of the divergence, in nats.
    sampled_actions: Samples = 4  # Actions of the policy by which the divergence is estimated.
    # Number of first steps in which the policy only approaches the behaviour policy.
    warm_up_steps: StepsOrNone = 1_000
    polyak: Polyak = 0.005  # Rate at which the target critic follows the critic.


class BRAC(TorchAlgorithm):
    """Without an entropy bonus, and with a fixed penalty weight, as in the authors' code by default."""

    Config = BRACConfig
    config: BRACConfig

    def build(self) -> None:
        config, networks = self.config, self.networks
        self.critic = networks.continuous_critic(2)
        # The authors' bound of the spreads: without it the divergence from a narrow clone has none.
        self.policy = networks.tanh_gaussian_policy(log_std_min=LOG_STD_MIN)
        self.behaviour = networks.tanh_gaussian_policy(log_std_min=LOG_STD_MIN)
        self.value_penalty = config.penalty == "value"
        self.target_modules = ("policy", "target_critic") + ("behaviour",) * self.value_penalty
        self.train(
            {"critic": self.critic, "policy": self.policy, "behaviour": self.behaviour},
            learning_rates={"policy": config.policy_learning_rate},
        )
        self.target_critic = self.follow("target_critic", "critic", config.polyak)

    # --- Targets ---

    def target_noise(self, batch: Batch[Any]) -> dict[str, Tensor]:
        return {"policy": self.normal(batch, "targets", self.config.sampled_actions if self.value_penalty else 1)}

    def bootstrap(self, inputs: Inputs) -> Targets:
        """`q`: r + γ(min_i Q̄_i(s', a') − α·KL(π ∥ β)(s')), (B,), or without the divergence."""
        observation, noise = inputs.next_observation, inputs.noise["policy"]
        if self.value_penalty:
            action, divergence = self.action_and_divergence(observation, noise)
            next_value = self.target_critic(observation, action).amin(0) - self.config.penalty_weight * divergence
        else:
            next_value = self.target_critic(observation, self.policy.act(observation, noise[0])).amin(0)
        return {"q": inputs.reward + inputs.discount * next_value}

    def action_and_divergence(self, observation: Features, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The action (B, A) of the first of the noises (N, B, A), and the estimate (B,) by all of them."""
        mean, log_std = self.policy(observation)
        with torch.no_grad():
            behaviour = self.behaviour(observation)
        return torch.tanh(mean + log_std.exp() * noise[0]), kl_estimate(noise, mean, log_std, *behaviour)

    # --- Losses ---

    def loss_noise(self, batch: Batch[Any]) -> dict[str, Tensor]:
        """`policy` (N, B, A), and `heed`: 0 in the warm-up, then 1, here so that a compiled step need not count."""
        return {
            "policy": self.normal(batch, "policy", self.config.sampled_actions),
            "heed": torch.full((), float(self.step >= self.config.warm_up_steps), device=self.device),
        }

    def losses(self, inputs: Inputs) -> tuple[Tensor, Metrics]:
        """Of the behaviour policy, the policy and the critic."""
        observation, noise, weight = inputs.observation, inputs.noise, inputs.weight
        # --- Behaviour policy: cloned by likelihood ---
        behaviour_loss = -weighted_mean(self.behaviour.log_prob(observation, inputs.action), weight)
        # --- Policy ---
        action, divergence = self.action_and_divergence(observation, noise["policy"])
        q_policy = self.critic(observation, action, frozen=True).amin(0)
        policy_loss = weighted_mean(self.config.penalty_weight * divergence - noise["heed"] * q_policy, weight)
        # --- Critic ---
        q = self.critic(observation, inputs.action)
        error = q - inputs.labels["q"]
        critic_loss = weighted_mean(error.square().sum(0), weight)
        return behaviour_loss + policy_loss + critic_loss, {
            "behaviour_loss": behaviour_loss,
            "policy_loss": policy_loss,
            "critic_loss": critic_loss,
            "divergence": divergence.mean(),
            "q_data": q.mean(),
            "priority": error.abs().mean(0),
        }
