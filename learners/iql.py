"""Implicit Q-learning (Kostrikov, Nair and Levine 2021, arXiv 2110.06169).

The value function is an expectile of the target critic over the actions of the data, so no action outside the
data is ever evaluated; the policy is drawn from the data by advantage-weighted regression.

With `action_chunk` h all of this is of h actions at once (Li, Zhou and Levine 2025, arXiv 2507.07969, whose methods are
others than IQL): the critic judges the chunk as one action, and the target is the sum of its rewards and the value h
steps on. The paper leaves out chunks that an episode's end cuts short; here they are 0 where there is no action, and
the policy's likelihood is of the actions that there are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor

from learners.algorithm import Metrics, Targets
from learners.base.config import check_chunk
from learners.base.inputs import Inputs, weighted_mean
from learners.base.knobs import LARGEST, ActionChunk, AdvantageClip, History, PolicySpread, Polyak
from learners.base.task_config import TaskConfig
from learners.base.torch_algorithm import TorchAlgorithm
from learners.losses import advantage_weight, expectile_loss
from learners.networks.policies import log_likelihood
from replay.batch import Request
from replay.ranges import Range
from replay.spaces import Box, Discrete


@dataclass(frozen=True)
class IQLConfig(TaskConfig):
    """Defaults are the authors' for locomotion; they use expectile .9 and temperature 10 for the ant mazes."""

    # Expectile τ of the value regression: .5 is the mean, towards 1 the maximum over the data's actions.
    expectile: Annotated[float, Range(0, 1, above=True, below=True)] = 0.7
    # How sharply the policy prefers actions of high advantage, β; 0 is cloning.
    temperature: Annotated[float, Range(0, LARGEST)] = 3.0
    advantage_clip: AdvantageClip = 100.0  # Upper bound of exp(β·advantage).
    polyak: Polyak = 0.005  # Rate at which the target critic follows the critic.
    # Fixed spread of the policy, learned where not given; 1 makes its loss a squared error.
    policy_std: PolicySpread = None
    # So many actions are planned, judged and summed over together, and played out one by one; 0 takes single actions.
    action_chunk: ActionChunk = 0
    history: History = 0  # Values and policy read so many observations before the present one, too.

    def __post_init__(self) -> None:
        super().__post_init__()
        check_chunk(self.action_chunk, self.n_step)

    def request(self) -> Request:
        return replace(super().request(), action_chunk=self.action_chunk, history=self.history)


class IQL(TorchAlgorithm):
    Config = IQLConfig
    config: IQLConfig
    action_spaces = (Box, Discrete)
    target_modules = ("value",)
    decayed = ("policy",)  # As the authors do, offline.

    def build(self) -> None:
        config = self.config
        self.value = self.networks.value()
        self.critic = self.networks.critic(2)
        self.policy = self.networks.likelihood_policy(std=config.policy_std)
        self.train({"value": self.value, "critic": self.critic, "policy": self.policy})
        self.target_critic = self.follow("target_critic", "critic", config.polyak)

    # --- Targets ---

    def bootstrap(self, inputs: Inputs) -> Targets:
        """`q`: r + γV(s'), (B,) (equation 6)."""
        return {"q": inputs.reward + inputs.discount * self.value(inputs.next_observation)}

    # --- Losses ---

    def losses(self, inputs: Inputs) -> tuple[Tensor, Metrics]:
        """Of the value, the policy and the critic. (The authors move the value function before the others.)"""
        config, observation, action, weight = self.config, inputs.observation, inputs.action, inputs.weight
        # --- Value: an expectile of the target critic ---
        with torch.no_grad():
            target_q = self.target_critic(observation, action).amin(0)
        value = self.value(observation)
        advantage = target_q - value
        value_loss = weighted_mean(expectile_loss(advantage, config.expectile), weight)
        # --- Policy: advantage-weighted regression ---
        policy_weight = advantage_weight(advantage.detach(), config.temperature, config.advantage_clip)
        log_prob = log_likelihood(self.policy, observation, action, inputs.present)
        policy_loss = -weighted_mean(policy_weight * log_prob, weight)
        # --- Critic: both members regress on the same target ---
        q = self.critic(observation, action)
        error = q - inputs.labels["q"]
        critic_loss = weighted_mean(error.square().sum(0), weight)
        return value_loss + policy_loss + critic_loss, {
            "value_loss": value_loss,
            "policy_loss": policy_loss,
            "critic_loss": critic_loss,
            "q_data": q.mean(),
            "value": value.mean(),
            "advantage": advantage.mean(),
            "priority": error.abs().mean(0),
        }
