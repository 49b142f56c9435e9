"""Conservative Q-learning, CQL(H) (Kumar, Zhou, Tucker and Levine 2020, arXiv 2006.04779).

Soft actor-critic whose critic is also pushed down at actions that the policy or chance would choose, and up at
those of the data, so that the policy finds no value where there is no data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from learners.algorithm import Metrics, Targets
from learners.base.config import CommonConfig
from learners.base.inputs import Inputs, weighted_mean
from learners.base.knobs import LARGEST, LearningRate, LossWeight, Polyak, Samples, TargetEntropy, Widths
from learners.base.torch_algorithm import TorchAlgorithm
from learners.losses import conservative_gap, lagrange_loss, soft_policy_loss, temperature_loss
from learners.networks.critics import PositiveScalar
from replay.batch import Batch
from replay.ranges import Range


@dataclass(frozen=True)
class CQLConfig(CommonConfig):
    """Defaults are CORL's for locomotion (arXiv 2210.07105); the authors' conservative weight is 5.

    For the ant mazes CORL uses conservative_weight 5, max_target_backup, reward_scale 10, reward_shift -5 and a
    Lagrange threshold of .8 in its own convention: α'·α·(gap − τ), which is lagrange_threshold 5 · .8 = 4 here.
    """

    hidden: Widths = (256, 256, 256)  # Widths of the hidden layers.
    # Learning rate of the policy and the temperature; it is far below the critic's.
    policy_learning_rate: LearningRate = 3e-5
    conservative_weight: LossWeight = 10.0  # How hard the critic is pushed down, α.
    # Where set, α is multiplied by a learned α' that holds α·gap near this τ: the authors' convention α'·(α·gap − τ).
    lagrange_threshold: Annotated[float | None, Range(-LARGEST, LARGEST)] = None
    sampled_actions: Samples = 10  # Actions of each of three kinds for the gap: uniform, π(·∣s) and π(·∣s').
    max_target_backup: bool = False  # Bootstrap from the best of `sampled_actions` actions instead of one.
    backup_entropy: bool = False  # Subtract α·log π from the bootstrapped value, as SAC does.
    # Target entropy H̄ of the policy; minus the number of action elements where not given.
    target_entropy: TargetEntropy = None
    polyak: Polyak = 0.005  # Rate at which the target critic follows the critic.


class CQL(TorchAlgorithm):
    Config = CQLConfig
    config: CQLConfig
    discrete: ClassVar[str | None] = "learners.discrete_cql:DiscreteCQL"
    target_modules: tuple[str, ...] = ("policy", "target_critic")
    loss_reads = ("observation", "next_observation")

    def build(self) -> None:
        config = self.config
        self.critic = self.networks.continuous_critic(2)
        self.policy = self.networks.tanh_gaussian_policy()
        self.temperature = PositiveScalar(1.0)
        trained: dict[str, nn.Module] = {
            "critic": self.critic,
            "policy": self.policy,
            "temperature": self.temperature,
        }
        if config.lagrange_threshold is not None:
            self.multiplier = trained["multiplier"] = PositiveScalar(1.0)
        if config.backup_entropy:
            self.target_modules = ("policy", "target_critic", "temperature")
        slower = config.policy_learning_rate
        self.train(trained, learning_rates={"policy": slower, "temperature": slower})
        self.target_critic = self.follow("target_critic", "critic", config.polyak)
        self.target_entropy = -float(self.action_size) if config.target_entropy is None else config.target_entropy

    # --- Targets ---

    def target_noise(self, batch: Batch[Any]) -> dict[str, Tensor]:
        count = self.config.sampled_actions if self.config.max_target_backup else 1
        return {"policy": self.normal(batch, "targets", count)}

    def bootstrap(self, inputs: Inputs) -> Targets:
        """`q`: r + γ·max_n min_i Q̄_i(s', a_n), (B,), over one action of the policy or several."""
        action, log_prob = self.policy.sample(inputs.next_observation, inputs.noise["policy"])
        next_value, best = self.target_critic(inputs.next_observation, action).amin(0).max(0)
        if self.config.backup_entropy:
            next_value = next_value - self.temperature() * log_prob.gather(0, best[None])[0]
        return {"q": inputs.reward + inputs.discount * next_value}

    # --- Losses ---

    def loss_noise(self, batch: Batch[Any]) -> dict[str, Tensor]:
        """`policy` (1 + N, B, A), the first for the policy's own loss, `next_policy` and `uniform` (N, B, A)."""
        count = self.config.sampled_actions
        return {
            "policy": self.normal(batch, "policy", 1 + count),
            "next_policy": self.normal(batch, "next policy", count),
            "uniform": self.uniform(batch, "uniform", count),
        }

    def losses(self, inputs: Inputs) -> tuple[Tensor, Metrics]:
        """Of the policy, the temperature, the critic and the multiplier. (The authors move the temperature first.)"""
        config, observation, noise, weight = self.config, inputs.observation, inputs.noise, inputs.weight
        # --- Policy and temperature: SAC ---
        sampled, log_prob = self.policy.sample(observation, noise["policy"])
        q_policy = self.critic(observation, sampled[0], frozen=True).amin(0)
        policy_loss = weighted_mean(soft_policy_loss(self.temperature(), log_prob[0], q_policy), weight)
        alpha_loss = weighted_mean(temperature_loss(self.temperature.log, log_prob[0], self.target_entropy), weight)
        # --- Critic: the data's actions and all sampled ones in one batched product ---
        with torch.no_grad():
            next_sampled, next_log_prob = self.policy.sample(inputs.next_observation, noise["next_policy"])
            random_log_density = torch.full_like(next_log_prob, math.log(0.5) * self.action_size)
            actions = torch.cat([inputs.action[None], 2.0 * noise["uniform"] - 1.0, sampled[1:], next_sampled])
            log_density = torch.cat([random_log_density, log_prob[1:], next_log_prob])
        q_all = self.critic(observation, actions)
        q, q_sampled = q_all[:, 0], q_all[:, 1:]
        error = q - inputs.labels["q"]
        critic_loss = weighted_mean(error.square().sum(0), weight)
        gap = weighted_mean(self.gap(inputs, q, q_sampled, log_density).mean(0), weight)
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
            return policy_loss + alpha_loss + critic_loss + members * conservative_loss, metrics
        multiplier = self.multiplier().clamp(max=1e6)
        loss = policy_loss + alpha_loss + critic_loss + members * multiplier.detach() * conservative_loss
        loss = loss + lagrange_loss(multiplier, conservative_loss, config.lagrange_threshold)
        return loss, metrics | {"multiplier": multiplier}

    def gap(self, inputs: Inputs, q_data: Tensor, q_sampled: Tensor, log_density: Tensor) -> Tensor:
        """What is made small, (E, B). The sampled actions are N uniform ones, N of the policy, N of it at s'."""
        return conservative_gap(q_data, q_sampled, log_density)
