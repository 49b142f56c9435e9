"""SAC-N and ensemble-diversified actor-critic, EDAC (An, Moon, Kim and Song 2021, arXiv 2110.01548).

Soft actor-critic that trusts only the smallest of N critics: where there is no data they disagree, and the minimum
is low. EDAC needs fewer of them, because it keeps their action gradients apart.
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
from learners.networks import LOG_STD_MIN, EnsembleCritic, PositiveScalar, TanhGaussianPolicy
from learners.optimisation import Optimiser, adam, flatten_, polyak_
from learners.sac import soft_policy_loss, temperature_loss
from replay.batch import Batch


@dataclass(frozen=True)
class EDACConfig(CommonConfig):
    """Defaults are the authors' for halfcheetah; for hopper they use 50 members, and for SAC-N up to 500."""

    hidden: tuple[int, ...] = (256, 256, 256)  # Widths of the hidden layers.
    members: int = 10  # N: critics in the ensemble.
    diversity: float = 1.0  # η: how strongly the action gradients are kept apart; 0 is SAC-N.
    target_entropy: float | None = None  # H̄ of the policy; minus the number of action elements where not given.
    polyak: float = 0.005  # Rate at which the target critics follow the critics.

    def __post_init__(self) -> None:
        if self.members < 1:
            raise LearnerError(f"members: found {self.members}, expected at least 1.")
        if self.diversity < 0.0:
            raise LearnerError(f"diversity: found {self.diversity}, expected 0 or more.")
        if self.diversity > 0.0 and self.members < 2:
            raise LearnerError(f"members: found {self.members} with diversity={self.diversity}, expected at least 2.")


# --- Losses ---


def gradient_similarity(gradient: Tensor) -> Tensor:
    """Σ_{i≠j} ⟨g_i, g_j⟩ / (N − 1), (B,), for the directions g of `gradient`, (N, B, A) (section 4).

    Over all members, as in the paper; the authors' code draws min(N, A) of them. The pairs are never formed: their
    sum is ∥Σ_i g_i∥² − Σ_i ∥g_i∥².
    """
    direction = gradient / (torch.linalg.vector_norm(gradient, dim=-1, keepdim=True) + 1e-10)
    pairs = direction.sum(0).square().sum(-1) - direction.square().sum((0, 2))
    return pairs / (len(gradient) - 1)


class EDAC(TorchAlgorithm):
    Config = EDACConfig
    config: EDACConfig
    target_modules = ("policy", "temperature", "target_critic")

    def build(self) -> None:
        config, sizes = self.config, (self.observation_size, self.action_size)
        self.critic = EnsembleCritic(config.members, *sizes, config.hidden, layer_norm=config.layer_norm).to(
            self.device
        )
        self.policy = TanhGaussianPolicy(*sizes, config.hidden, log_std_min=LOG_STD_MIN).to(self.device)
        self.temperature = PositiveScalar(1.0).to(self.device)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        trained = {"critic": self.critic, "policy": self.policy, "temperature": self.temperature}
        self.modules = {**trained, "target_critic": self.target_critic}
        self.optimiser = Optimiser(trained, adam(config.learning_rate, device=self.device))
        self.target_vector = flatten_([self.target_critic])
        self.target_entropy = -float(sizes[1]) if config.target_entropy is None else config.target_entropy
        self._losses = self.compiled(self.losses)
        self._bootstrap = self.compiled(self.bootstrap)

    # --- Targets ---

    def bootstrap(self, reward: Tensor, discount: Tensor, next_observation: Tensor, noise: Tensor) -> Tensor:
        """r + γ(min_i Q̄_i(s', a') − α·log π(a'∣s')), (B,)."""
        action, log_prob = self.policy.sample(next_observation, noise)
        next_value = self.target_critic(next_observation, action).amin(0) - self.temperature() * log_prob
        return reward + discount * next_value

    @torch.no_grad()
    def targets(self, batch: Batch[Any]) -> Targets:
        """`q`: (B,)."""
        tensors = self.tensors(batch)
        next_observation = self.normaliser.observation(tensors.next_observation)
        noise = self.normal(batch, "targets")
        return {"q": self._bootstrap(tensors.reward, tensors.discount, next_observation, noise)}

    # --- Update ---

    def losses(
        self, observation: Tensor, action: Tensor, target: Tensor, weight: Tensor | None, noise: Tensor
    ) -> tuple[Tensor, Metrics]:
        """The sum of the losses, whose gradients do not meet, and what is logged.

        All are taken at the parameters before the step; the authors move the temperature first.
        """
        config = self.config
        # --- Policy and temperature: SAC ---
        sampled, log_prob = self.policy.sample(observation, noise)
        q_policy = self.critic(observation, sampled, frozen=True)
        policy_loss = weighted_mean(soft_policy_loss(self.temperature(), log_prob, q_policy.amin(0)), weight)
        alpha_loss = weighted_mean(temperature_loss(self.temperature.log, log_prob, self.target_entropy), weight)
        # --- Critic: every member regresses on the same target, and looks another way ---
        if config.diversity > 0.0:
            q, action_gradient = self.critic.with_action_gradient(observation, action)
            diversity_loss = config.diversity * weighted_mean(gradient_similarity(action_gradient), weight)
        else:
            q = self.critic(observation, action)
            diversity_loss = q.new_zeros(())
        error = q - target
        critic_loss = weighted_mean(error.square().sum(0), weight)
        metrics = {
            "policy_loss": policy_loss,
            "critic_loss": critic_loss,
            "diversity_loss": diversity_loss,
            "temperature": self.temperature(),
            "entropy": -log_prob.mean(),
            "q_data": q.mean(),
            "q_spread": q_policy.std(0, correction=0).mean(),
            "priority": error.abs().mean(0),
        }
        loss = policy_loss + alpha_loss + critic_loss + diversity_loss
        return loss, {name: metric.detach() for name, metric in metrics.items()}

    def update(self, batch: Batch[Any], targets: Mapping[str, Any] | None = None) -> Metrics:
        labels = self.targets_or(targets, batch)
        tensors = self.tensors(batch)
        observation, action = self.normaliser.observation(tensors.observation), self.normaliser.action(tensors.action)
        loss, metrics = self._losses(observation, action, labels["q"], tensors.weight, self.normal(batch, "policy"))
        self.optimiser.step(loss)
        polyak_(self.target_vector, self.optimiser.segment("critic"), self.config.polyak)
        self.step += 1
        return metrics

    @torch.no_grad()
    def diagnostics(self, batch: Batch[Any]) -> Metrics:
        labels, tensors = self.targets(batch), self.tensors(batch)
        observation, action = self.normaliser.observation(tensors.observation), self.normaliser.action(tensors.action)
        _, metrics = self.losses(observation, action, labels["q"], tensors.weight, self.normal(batch, "policy"))
        q_policy = self.critic(observation, self.policy_action(observation, None)).mean()
        return {name: metric for name, metric in metrics.items() if name != "priority"} | {"q_policy": q_policy}

    # --- Policy ---

    def policy_action(self, observation: Tensor, noise: Tensor | None) -> Tensor:
        if noise is None:
            return torch.tanh(self.policy(observation)[0])
        return self.policy.sample(observation, noise)[0]
