"""Implicit Q-learning (Kostrikov, Nair and Levine 2021, arXiv 2110.06169).

The value function is an expectile of the target critic over the actions of the data, so no action outside the
data is ever evaluated; the policy is drawn from the data by advantage-weighted regression.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from learners.algorithm import Metrics, Targets
from learners.base import CommonConfig, TorchAlgorithm, weighted_mean
from learners.errors import LearnerError
from learners.networks import EnsembleCritic, GaussianPolicy, Value
from learners.optimisation import Optimiser, adam, flatten_, polyak_
from replay.batch import Batch


@dataclass(frozen=True)
class IQLConfig(CommonConfig):
    """Defaults are the authors' for locomotion; they use expectile .9 and temperature 10 for the ant mazes."""

    expectile: float = 0.7  # τ of the value regression: .5 is the mean, 1 the maximum over the data's actions.
    temperature: float = 3.0  # β: how sharply the policy prefers actions of high advantage; 0 is cloning.
    advantage_clip: float = 100.0  # Upper bound of exp(β·advantage).
    polyak: float = 0.005  # Rate at which the target critic follows the critic.

    def __post_init__(self) -> None:
        if not 0.0 < self.expectile < 1.0:
            raise LearnerError(f"expectile: found {self.expectile}, expected a number strictly between 0 and 1.")


# --- Losses ---


def expectile_loss(difference: Tensor, expectile: float) -> Tensor:
    """∣τ − 1(u < 0)∣·u² for u = `difference`, elementwise (equation 5)."""
    return torch.where(difference < 0, 1.0 - expectile, expectile) * difference.square()


def advantage_weight(advantage: Tensor, temperature: float, clip: float) -> Tensor:
    """min(exp(β·A), clip), (B,): the weight of each action of the data in the policy's regression (equation 7)."""
    return torch.exp(temperature * advantage).clamp(max=clip)


class IQL(TorchAlgorithm):
    Config = IQLConfig
    config: IQLConfig
    target_modules = ("value",)

    def build(self) -> None:
        config, sizes = self.config, (self.observation_size, self.action_size)
        self.value = Value(sizes[0], config.hidden, layer_norm=config.layer_norm).to(self.device)
        self.critic = EnsembleCritic(2, *sizes, config.hidden, layer_norm=config.layer_norm).to(self.device)
        self.policy = GaussianPolicy(*sizes, config.hidden).to(self.device)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        trained = {"value": self.value, "critic": self.critic, "policy": self.policy}
        self.modules = {**trained, "target_critic": self.target_critic}
        self.optimiser = Optimiser(trained, adam(config.learning_rate, device=self.device))
        self.target_vector = flatten_([self.target_critic])
        self._losses = self.compiled(self.losses)
        self._bootstrap = self.compiled(self.bootstrap)

    # --- Targets ---

    def bootstrap(self, reward: Tensor, discount: Tensor, next_observation: Tensor) -> Tensor:
        """r + γV(s'), (B,) (equation 6)."""
        return reward + discount * self.value(next_observation)

    @torch.no_grad()
    def targets(self, batch: Batch[Any]) -> Targets:
        """`q`: (B,)."""
        tensors = self.tensors(batch)
        next_observation = self.normaliser.observation(tensors.next_observation)
        return {"q": self._bootstrap(tensors.reward, tensors.discount, next_observation)}

    # --- Update ---

    def losses(
        self, observation: Tensor, action: Tensor, target: Tensor, weight: Tensor | None
    ) -> tuple[Tensor, Metrics]:
        """The sum of the three losses, whose gradients do not meet, and what is logged.

        All three are taken at the parameters before the step; the authors move the value function first.
        """
        config = self.config
        # --- Value: an expectile of the target critic ---
        with torch.no_grad():
            target_q = self.target_critic(observation, action).amin(0)
        value = self.value(observation)
        advantage = target_q - value
        value_loss = weighted_mean(expectile_loss(advantage, config.expectile), weight)
        # --- Policy: advantage-weighted regression ---
        policy_weight = advantage_weight(advantage.detach(), config.temperature, config.advantage_clip)
        policy_loss = -weighted_mean(policy_weight * self.policy.log_prob(observation, action), weight)
        # --- Critic: both members regress on the same target ---
        q = self.critic(observation, action)
        error = q - target
        critic_loss = weighted_mean(error.square().sum(0), weight)
        metrics = {
            "value_loss": value_loss,
            "policy_loss": policy_loss,
            "critic_loss": critic_loss,
            "q_data": q.mean(),
            "value": value.mean(),
            "advantage": advantage.mean(),
            "priority": error.abs().mean(0),
        }
        return value_loss + policy_loss + critic_loss, {name: metric.detach() for name, metric in metrics.items()}

    def update(self, batch: Batch[Any], targets: Mapping[str, Any] | None = None) -> Metrics:
        labels = self.targets_or(targets, batch)
        tensors = self.tensors(batch)
        observation, action = self.normaliser.observation(tensors.observation), self.normaliser.action(tensors.action)
        loss, metrics = self._losses(observation, action, labels["q"], tensors.weight)
        self.optimiser.step(loss)
        polyak_(self.target_vector, self.optimiser.segment("critic"), self.config.polyak)
        self.step += 1
        return metrics

    @torch.no_grad()
    def diagnostics(self, batch: Batch[Any]) -> Metrics:
        labels, tensors = self.targets(batch), self.tensors(batch)
        observation, action = self.normaliser.observation(tensors.observation), self.normaliser.action(tensors.action)
        _, metrics = self.losses(observation, action, labels["q"], tensors.weight)
        q_policy = self.critic(observation, self.policy_action(observation, None)).mean()
        return {name: metric for name, metric in metrics.items() if name != "priority"} | {"q_policy": q_policy}

    # --- Policy ---

    def policy_action(self, observation: Tensor, noise: Tensor | None) -> Tensor:
        mean, log_std = self.policy(observation)
        return mean if noise is None else (mean + log_std.exp() * noise).clamp(-1.0, 1.0)
