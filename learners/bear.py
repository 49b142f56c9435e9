"""Bootstrapping error accumulation reduction, BEAR (Kumar, Fu, Tucker and Levine 2019, arXiv 1906.00949).

The policy climbs the smaller critic as far as its actions stay close to those of a model of the data, by the maximum
mean discrepancy of a few samples of each: a constraint on where actions may lie, not on how often each is taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from learners.algorithm import Metrics, Targets
from learners.base import randomness
from learners.base.config import CommonConfig
from learners.base.inputs import Inputs, weighted_mean
from learners.base.knobs import Bandwidth, LearningRate, LossWeight, Polyak, Samples, Widths
from learners.base.torch_algorithm import TorchAlgorithm
from learners.losses import Kernel, maximum_mean_discrepancy, multiplier_loss, soft_clipped_q
from learners.networks.critics import PositiveScalar
from learners.networks.encoders import Features, rows_of
from learners.networks.vae import LATENT_CLIP, ConditionalVAE, paired, vae_loss
from learners.planning import cem
from replay.batch import Batch
from replay.ranges import Share, StepsOrNone

LOG_MULTIPLIER_MIN, LOG_MULTIPLIER_MAX = -5.0, 10.0
"""Bounds of the logarithm of the multiplier, the authors'."""


@dataclass(frozen=True)
class BEARConfig(CommonConfig):
    """Defaults are those of the authors' code (ε is written there as .05), where batches are of 100, except for the
    warm-up: theirs is 20 rounds of 1,000 steps, far too many for the runs of some 10,000 that are usual here.

    Their README recommends a Laplacian kernel of bandwidth 10 or a Gaussian one of 20, either with 5 samples.
    """

    learning_rate: LearningRate = 1e-3  # Learning rate of Adam, for every network.
    multiplier_learning_rate: LearningRate = 1e-3  # Learning rate of the logarithm of the multiplier.
    hidden: Widths = (400, 300)  # Widths of the hidden layers.
    generative_hidden: Widths = (750, 750)  # Widths of the hidden layers of the generative model.
    kl_weight: LossWeight = 0.5  # Weight of the generative model's prior against its squared error.
    kernel: Kernel = "laplacian"  # Kernel of the discrepancy.
    # Width σ of the kernel; it is wide, so that the discrepancy is far from its bound of √2.
    bandwidth: Bandwidth = 20.0
    divergence_threshold: LossWeight = 0.05  # Largest discrepancy that is allowed, ε.
    warm_up_steps: StepsOrNone = 1_000  # Number of first steps in which the policy only approaches the data.
    # Actions of each, the policy and the model, for the discrepancy and the policy's loss.
    sampled_actions: Samples = 10
    target_samples: Samples = 10  # Actions of the policy at s', of which the best is bootstrapped from.
    acting_samples: Samples = 10  # Actions of the policy of which the best is taken when acting.
    minimum_weight: Share = 0.75  # Weight λ of the smaller critic in targets, which the larger has 1 − λ of.
    polyak: Polyak = 0.005  # Rate at which the target networks follow the trained ones.


class BEAR(TorchAlgorithm):
    """As in the authors' code the discrepancy is of actions before tanh, whose slope would vanish at the bounds, and
    the noise of the policy's loss is clipped like the latents of the model: both are compared near their centres."""

    Config = BEARConfig
    config: BEARConfig
    target_modules = ("target_policy", "target_critic")
    policy_modules = ("policy", "critic")

    def build(self) -> None:
        config, networks = self.config, self.networks
        self.critic = networks.continuous_critic(2)
        self.policy = networks.tanh_gaussian_policy()
        self.vae = ConditionalVAE(networks.encoder(trains_encoder=False), self.action_size, config.generative_hidden)
        self.multiplier = PositiveScalar(1.0)
        self.train(
            {"critic": self.critic, "policy": self.policy, "vae": self.vae, "multiplier": self.multiplier},
            learning_rates={"multiplier": config.multiplier_learning_rate},
        )
        self.target_critic = self.follow("target_critic", "critic", config.polyak)
        self.target_policy = self.follow("target_policy", "policy", config.polyak)

    # --- Targets ---

    def target_noise(self, batch: Batch[Any]) -> dict[str, Tensor]:
        return {"policy": self.normal(batch, "targets", self.config.target_samples)}

    def bootstrap(self, inputs: Inputs) -> Targets:
        """`q`: r + γ·max_n [λ·min_i Q̄_i + (1 − λ)·max_i Q̄_i](s', a_n), (B,), over actions of the target policy."""
        action = self.target_policy.act(inputs.next_observation, inputs.noise["policy"])
        q = soft_clipped_q(self.target_critic(inputs.next_observation, action), self.config.minimum_weight)
        return {"q": inputs.reward + inputs.discount * q.amax(0)}

    # --- Losses ---

    def loss_noise(self, batch: Batch[Any]) -> dict[str, Tensor]:
        """`posterior` (B, 2A), `vae` (N, B, 2A), `policy` (N, B, A), and `heed`: 0 in the warm-up, then 1, here so
        that a compiled step need not count."""
        count = self.config.sampled_actions
        return {
            "posterior": paired(self.normal(batch, "posterior", 2)),
            "vae": paired(self.normal(batch, "vae", 2, count)),
            "policy": self.normal(batch, "policy", count),
            "heed": torch.full((), float(self.step >= self.config.warm_up_steps), device=self.device),
        }

    def losses(self, inputs: Inputs) -> tuple[Tensor, Metrics]:
        """Of the generative model, the policy, the multiplier and the critic. (The authors move them in turn.)"""
        config, observation, noise, weight = self.config, inputs.observation, inputs.noise, inputs.weight
        # --- Generative model ---
        reconstruction, latent_mean, latent_log_std = self.vae(observation, inputs.action, noise["posterior"])
        generative_error = vae_loss(reconstruction, inputs.action, latent_mean, latent_log_std, config.kl_weight)
        generative_loss = weighted_mean(generative_error, weight)
        # --- Policy and multiplier ---
        with torch.no_grad():
            raw_data = self.vae.sample(observation, noise["vae"])
        mean, log_std = self.policy(observation)
        raw = mean + log_std.exp() * noise["policy"].clamp(-LATENT_CLIP, LATENT_CLIP)
        divergence = maximum_mean_discrepancy(raw, raw_data, config.kernel, config.bandwidth)
        q_policy = self.critic(observation, torch.tanh(raw), frozen=True).mean(1).amin(0)
        multiplier = self.multiplier()
        policy_loss = weighted_mean(multiplier.detach() * divergence - noise["heed"] * q_policy, weight)
        dual_loss = weighted_mean(multiplier_loss(multiplier, divergence, config.divergence_threshold), weight)
        # --- Critic ---
        q = self.critic(observation, inputs.action)
        error = q - inputs.labels["q"]
        critic_loss = weighted_mean(error.square().sum(0), weight)
        return generative_loss + policy_loss + dual_loss + critic_loss, {
            "generative_loss": generative_loss,
            "policy_loss": policy_loss,
            "critic_loss": critic_loss,
            "divergence": divergence.mean(),
            "multiplier": multiplier,
            "q_data": q.mean(),
            "priority": error.abs().mean(0),
        }

    @torch.no_grad()
    def after_step(self) -> None:
        self.multiplier.log.clamp_(LOG_MULTIPLIER_MIN, LOG_MULTIPLIER_MAX)

    # --- Policy ---

    def policy_action(self, observation: Features, noise: Tensor | None) -> Tensor:
        """The best of `acting_samples` actions of the policy by the first critic, as in the authors' code.

        Every state has the same samples, so that an action does not depend on its place in a stack. With `noise` all
        of them move by it, and each remains standard normal.
        """
        shape = (self.config.acting_samples, 1, self.action_size)
        samples = randomness.normal((0, 0), "act/policy", shape, self.device).expand(-1, rows_of(observation), -1)
        if noise is not None:
            samples = (samples + noise) / math.sqrt(2.0)
        action = self.policy.act(observation, samples)
        return cem.best_of(action, self.critic(observation, action)[0]).action
