"""Conservative Q-learning, CQL(H) (Kumar, Zhou, Tucker and Levine 2020, arXiv 2006.04779).

Soft actor-critic whose critic is also pushed down at actions that the policy or chance would choose, and up at
those of the data, so that the policy finds no value where there is no data.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from learners.algorithm import Metrics, Targets
from learners.base import CommonConfig, TorchAlgorithm, weighted_mean
from learners.errors import LearnerError
from learners.networks import EnsembleCritic, PositiveScalar, TanhGaussianPolicy
from learners.optimisation import Optimiser, adam, flatten_, polyak_
from learners.sac import soft_policy_loss, temperature_loss
from replay.batch import Batch


@dataclass(frozen=True)
class CQLConfig(CommonConfig):
    """Defaults are CORL's for locomotion (arXiv 2210.07105); the authors' conservative weight is 5.

    For the ant mazes CORL uses conservative_weight 5, max_target_backup, reward_scale 10, reward_shift -5 and a
    Lagrange threshold of .8 in its own convention: α'·α·(gap − τ), which is lagrange_threshold 5 · .8 = 4 here.
    """

    hidden: tuple[int, ...] = (256, 256, 256)  # Widths of the hidden layers.
    policy_learning_rate: float = 3e-5  # Of the policy and the temperature; far below the critic's.
    conservative_weight: float = 10.0  # α: how hard the critic is pushed down.
    # τ: where set, α is multiplied by a learned α' that holds α·gap near τ. The authors' convention: α'·(α·gap − τ).
    lagrange_threshold: float | None = None
    sampled_actions: int = 10  # Actions of each of three kinds for the gap: uniform, π(·∣s) and π(·∣s').
    max_target_backup: bool = False  # Bootstrap from the best of `sampled_actions` actions instead of one.
    backup_entropy: bool = False  # Subtract α·log π from the bootstrapped value, as SAC does.
    target_entropy: float | None = None  # H̄ of the policy; minus the number of action elements where not given.
    polyak: float = 0.005  # Rate at which the target critic follows the critic.

    def __post_init__(self) -> None:
        if self.sampled_actions < 1:
            raise LearnerError(f"sampled_actions: found {self.sampled_actions}, expected at least 1.")
        if self.conservative_weight < 0.0:
            raise LearnerError(f"conservative_weight: found {self.conservative_weight}, expected 0 or more.")


# --- Losses ---


def conservative_gap(q_data: Tensor, q_sampled: Tensor, log_density: Tensor) -> Tensor:
    """log Σ_n exp(Q(s, a_n) − log p(a_n)) − Q(s, a), (E, B): what CQL(H) makes small (equation 4 and appendix F).

    `q_data` (E, B) is at the data's actions, `q_sampled` (E, N, B) at N sampled ones of density exp(`log_density`),
    (N, B). As in the authors' code the sum is not divided by N, so even a constant critic has a gap.
    """
    return torch.logsumexp(q_sampled - log_density, dim=1) - q_data


def lagrange_loss(multiplier: Tensor, weighted_gap: Tensor, threshold: float) -> Tensor:
    """−α'·(α·gap − τ), a scalar: α' rises where the gap is above the threshold (appendix F)."""
    return -multiplier * (weighted_gap.detach() - threshold)


class CQL(TorchAlgorithm):
    Config = CQLConfig
    config: CQLConfig
    target_modules: tuple[str, ...] = ("policy", "target_critic")

    def build(self) -> None:
        config, sizes = self.config, (self.observation_size, self.action_size)
        self.critic = EnsembleCritic(2, *sizes, config.hidden, layer_norm=config.layer_norm).to(self.device)
        self.policy = TanhGaussianPolicy(*sizes, config.hidden).to(self.device)
        self.temperature = PositiveScalar(1.0).to(self.device)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        trained: dict[str, nn.Module] = {
            "critic": self.critic,
            "policy": self.policy,
            "temperature": self.temperature,
        }
        if config.lagrange_threshold is not None:
            self.multiplier = PositiveScalar(1.0).to(self.device)
            trained["multiplier"] = self.multiplier
        if config.backup_entropy:
            self.target_modules = ("policy", "target_critic", "temperature")
        self.modules = {**trained, "target_critic": self.target_critic}
        slower = {"lr": config.policy_learning_rate}
        self.optimiser = Optimiser(
            trained,
            adam(config.learning_rate, device=self.device),
            options={"policy": slower, "temperature": slower},
        )
        self.target_vector = flatten_([self.target_critic])
        self.target_entropy = -float(sizes[1]) if config.target_entropy is None else config.target_entropy
        self._losses = self.compiled(self.losses)
        self._bootstrap = self.compiled(self.bootstrap)

    # --- Targets ---

    def bootstrap(self, reward: Tensor, discount: Tensor, next_observation: Tensor, noise: Tensor) -> Tensor:
        """r + γ·max_n min_i Q̄_i(s', a_n), (B,), for as many actions of the policy as there is `noise`, (N, B, A)."""
        action, log_prob = self.policy.sample(next_observation, noise)
        next_value, best = self.target_critic(next_observation, action).amin(0).max(0)
        if self.config.backup_entropy:
            next_value = next_value - self.temperature() * log_prob.gather(0, best[None])[0]
        return reward + discount * next_value

    @torch.no_grad()
    def targets(self, batch: Batch[Any]) -> Targets:
        """`q`: (B,)."""
        tensors = self.tensors(batch)
        next_observation = self.normaliser.observation(tensors.next_observation)
        count = self.config.sampled_actions if self.config.max_target_backup else 1
        noise = self.normal(batch, "targets", count)
        return {"q": self._bootstrap(tensors.reward, tensors.discount, next_observation, noise)}

    # --- Update ---

    def losses(
        self,
        observation: Tensor,
        action: Tensor,
        next_observation: Tensor,
        target: Tensor,
        weight: Tensor | None,
        noise: Tensor,
        next_noise: Tensor,
        uniform: Tensor,
    ) -> tuple[Tensor, Metrics]:
        """The sum of the losses, whose gradients do not meet, and what is logged.

        All are taken at the parameters before the step; the authors move the temperature first. `noise` is
        (1 + N, B, A), the first for the policy's own loss, `next_noise` (N, B, A), `uniform` (N, B, A) in [0, 1).
        """
        config = self.config
        # --- Policy and temperature: SAC ---
        sampled, log_prob = self.policy.sample(observation, noise)
        q_policy = self.critic(observation, sampled[0], frozen=True).amin(0)
        policy_loss = weighted_mean(soft_policy_loss(self.temperature(), log_prob[0], q_policy), weight)
        alpha_loss = weighted_mean(temperature_loss(self.temperature.log, log_prob[0], self.target_entropy), weight)
        # --- Critic: the data's actions and all sampled ones in one batched product ---
        with torch.no_grad():
            next_sampled, next_log_prob = self.policy.sample(next_observation, next_noise)
            random_log_density = torch.full_like(next_log_prob, math.log(0.5) * action.shape[-1])
            actions = torch.cat([action[None], 2.0 * uniform - 1.0, sampled[1:].detach(), next_sampled])
            log_density = torch.cat([random_log_density, log_prob[1:].detach(), next_log_prob])
        q_all = self.critic(observation, actions)
        q, q_sampled = q_all[:, 0], q_all[:, 1:]
        error = q - target
        critic_loss = weighted_mean(error.square().sum(0), weight)
        gap = weighted_mean(conservative_gap(q, q_sampled, log_density).mean(0), weight)
        conservative_loss = config.conservative_weight * gap
        metrics = {
            "policy_loss": policy_loss,
            "critic_loss": critic_loss,
            "conservative_gap": gap,
            "temperature": self.temperature(),
            "entropy": -log_prob.mean(),
            "q_data": q.mean(),
            "priority": error.abs().mean(0),
        }
        # The gap is a mean over the members, their losses are a sum.
        members = len(q)
        if config.lagrange_threshold is None:
            loss = policy_loss + alpha_loss + critic_loss + members * conservative_loss
        else:
            multiplier = self.multiplier().clamp(max=1e6)
            loss = policy_loss + alpha_loss + critic_loss + members * multiplier.detach() * conservative_loss
            loss = loss + lagrange_loss(multiplier, conservative_loss, config.lagrange_threshold)
            metrics["multiplier"] = multiplier
        return loss, {name: metric.detach() for name, metric in metrics.items()}

    def _inputs(self, batch: Batch[Any], tensors: Batch[Tensor], target: Tensor) -> tuple[Any, ...]:
        """What `losses` takes, with the noise that the batch's key addresses."""
        count = self.config.sampled_actions
        return (
            self.normaliser.observation(tensors.observation),
            self.normaliser.action(tensors.action),
            self.normaliser.observation(tensors.next_observation),
            target,
            tensors.weight,
            self.normal(batch, "policy", 1 + count),
            self.normal(batch, "next policy", count),
            self.uniform(batch, "uniform", count),
        )

    def update(self, batch: Batch[Any], targets: Mapping[str, Any] | None = None) -> Metrics:
        labels = self.targets_or(targets, batch)
        loss, metrics = self._losses(*self._inputs(batch, self.tensors(batch), labels["q"]))
        self.optimiser.step(loss)
        polyak_(self.target_vector, self.optimiser.segment("critic"), self.config.polyak)
        self.step += 1
        return metrics

    @torch.no_grad()
    def diagnostics(self, batch: Batch[Any]) -> Metrics:
        inputs = self._inputs(batch, self.tensors(batch), self.targets(batch)["q"])
        _, metrics = self.losses(*inputs)
        q_policy = self.critic(inputs[0], self.policy_action(inputs[0], None)).mean()
        return {name: metric for name, metric in metrics.items() if name != "priority"} | {"q_policy": q_policy}

    # --- Policy ---

    def policy_action(self, observation: Tensor, noise: Tensor | None) -> Tensor:
        if noise is None:
            return torch.tanh(self.policy(observation)[0])
        return self.policy.sample(observation, noise)[0]
