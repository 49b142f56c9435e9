"""Behaviour cloning: the policy imitates the data. The control that every offline method has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from learners.algorithm import Metrics, Targets
from learners.base import CommonConfig, TorchAlgorithm, weighted_mean
from learners.errors import LearnerError
from learners.networks import DeterministicPolicy, GaussianPolicy, normal_log_prob
from learners.optimisation import Optimiser, adam
from replay.batch import Batch


@dataclass(frozen=True)
class BCConfig(CommonConfig):
    """Rewards and the discount are read by nothing here."""

    loss: Literal["log_likelihood", "mse"] = "log_likelihood"  # A normal distribution, or its mean only.

    def __post_init__(self) -> None:
        if self.loss not in ("log_likelihood", "mse"):
            raise LearnerError(f"loss: found {self.loss!r}, expected 'log_likelihood' or 'mse'.")


# --- Losses ---


def squared_error(prediction: Tensor, action: Tensor) -> Tensor:
    """The mean over the action's elements of the squared error, (B,)."""
    return (prediction - action).square().mean(-1)


class BC(TorchAlgorithm):
    Config = BCConfig
    config: BCConfig
    has_targets = False

    def build(self) -> None:
        config, sizes = self.config, (self.observation_size, self.action_size)
        make = GaussianPolicy if config.loss == "log_likelihood" else DeterministicPolicy
        self.policy: GaussianPolicy | DeterministicPolicy = make(*sizes, config.hidden).to(self.device)
        self.modules = {"policy": self.policy}
        self.optimiser = Optimiser(self.modules, adam(config.learning_rate, device=self.device))
        self._losses = self.compiled(self.losses)

    # --- Targets ---

    def targets(self, batch: Batch[Any]) -> Targets:
        """None: nothing is bootstrapped."""
        return {}

    # --- Update ---

    def losses(self, observation: Tensor, action: Tensor, weight: Tensor | None) -> tuple[Tensor, Metrics]:
        """The loss and what is logged."""
        if isinstance(self.policy, GaussianPolicy):
            mean, log_std = self.policy(observation)
            policy_loss = -weighted_mean(normal_log_prob(action, mean, log_std), weight)
        else:
            mean = self.policy(observation)
            policy_loss = weighted_mean(squared_error(mean, action), weight)
        metrics = {"policy_loss": policy_loss, "priority": (mean - action).abs().mean(-1)}
        return policy_loss, {name: metric.detach() for name, metric in metrics.items()}

    def update(self, batch: Batch[Any], targets: Mapping[str, Any] | None = None) -> Metrics:
        tensors = self.tensors(batch)
        observation, action = self.normaliser.observation(tensors.observation), self.normaliser.action(tensors.action)
        loss, metrics = self._losses(observation, action, tensors.weight)
        self.optimiser.step(loss)
        self.step += 1
        return metrics

    @torch.no_grad()
    def diagnostics(self, batch: Batch[Any]) -> Metrics:
        tensors = self.tensors(batch)
        observation, action = self.normaliser.observation(tensors.observation), self.normaliser.action(tensors.action)
        _, metrics = self.losses(observation, action, tensors.weight)
        return {name: metric for name, metric in metrics.items() if name != "priority"}

    # --- Policy ---

    def policy_action(self, observation: Tensor, noise: Tensor | None) -> Tensor:
        """A policy trained on the squared error has no spread: its actions are the same with noise and without."""
        if isinstance(self.policy, DeterministicPolicy):
            return self.policy(observation)
        mean, log_std = self.policy(observation)
        return mean if noise is None else (mean + log_std.exp() * noise).clamp(-1.0, 1.0)
