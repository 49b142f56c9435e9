"""Batch-constrained deep Q-learning, BCQ (Fujimoto, Meger and Precup 2018, arXiv 1812.02900).

A generative model proposes actions like those of the data, a small network perturbs them within ±φ, and the critics
choose among them: in the bootstrap and when acting, no other action is ever considered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from learners.algorithm import Metrics, Targets
from learners.base import randomness
from learners.base.config import CommonConfig
from learners.base.inputs import Inputs, weighted_mean
from learners.base.knobs import LearningRate, LossWeight, Polyak, Samples, Widths
from learners.base.torch_algorithm import TorchAlgorithm
from learners.losses import soft_clipped_q
from learners.networks.critics import MLP, as_encoder
from learners.networks.encoders import Encoder, Features, rows_of
from learners.networks.vae import ConditionalVAE, paired, vae_loss
from learners.planning import cem
from replay.batch import Batch
from replay.ranges import Range, Share
from replay.spaces import Spaces


@dataclass(frozen=True)
class BCQConfig(CommonConfig):
    """Defaults are the authors', who train on batches of 100."""

    learning_rate: LearningRate = 1e-3  # Learning rate of Adam, for every network.
    hidden: Widths = (400, 300)  # Widths of the hidden layers.
    generative_hidden: Widths = (750, 750)  # Widths of the hidden layers of the generative model (continuous only).
    kl_weight: LossWeight = 0.5  # Weight of the generative model's prior against its squared error (continuous only).
    perturbation: Annotated[float, Range(0, 2)] = 0.05  # How far a proposed action may be moved, φ (continuous only).
    sampled_actions: Samples = 10  # Actions proposed at s', of which the best is bootstrapped from (continuous only).
    acting_samples: Samples = 100  # Actions proposed when acting (continuous only).
    # Weight λ of the smaller critic in the target, which the larger has 1 − λ of (continuous only).
    minimum_weight: Share = 0.75
    # Share τ of the likeliest action's probability that an action needs (discrete only); 1 would leave no action.
    threshold: Annotated[float, Range(0, 1, below=True)] = 0.3
    # Weight of the squared outputs of the model of the data's actions (discrete only).
    logit_penalty: LossWeight = 0.01
    polyak: Polyak = 0.005  # Rate at which the target networks follow the trained ones.


# --- Network ---


class Perturbation(nn.Module):
    """ξ(s, a): a proposed action moved by at most φ in each element, and kept in [-1, 1]."""

    def __init__(
        self, observation: int | Encoder, action: int, hidden: tuple[int, ...], *, radius: float, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.encoder = as_encoder(observation)
        self.radius = radius
        self.net = MLP(self.encoder.size + action, hidden, action, dropout=dropout)

    def forward(self, observation: Features, action: Tensor) -> Tensor:
        """Actions in and out are (…, B, A)."""
        embedding = self.encoder(observation).expand(*action.shape[:-1], -1)
        move = torch.tanh(self.net(torch.cat([embedding, action], dim=-1)))
        return (action + self.radius * move).clamp(-1.0, 1.0)


class BCQ(TorchAlgorithm):
    Config = BCQConfig
    config: BCQConfig
    discrete = "learners.discrete_bcq:DiscreteBCQ"
    target_modules = ("vae", "target_perturbation", "target_critic")
    policy_modules = ("vae", "perturbation", "critic")

    def build(self) -> None:
        config, networks = self.config, self.networks
        self.critic = networks.continuous_critic(2)
        self.vae = ConditionalVAE(networks.encoder(trains_encoder=False), self.action_size, config.generative_hidden)
        self.perturbation = Perturbation(
            networks.encoder(trains_encoder=False),
            self.action_size,
            config.hidden,
            radius=config.perturbation,
            dropout=config.dropout,
        )
        self.train({"critic": self.critic, "vae": self.vae, "perturbation": self.perturbation})
        self.target_critic = self.follow("target_critic", "critic", config.polyak)
        self.target_perturbation = self.follow("target_perturbation", "perturbation", config.polyak)

    @classmethod
    def without_effect(cls, spaces: Spaces, config: Any) -> dict[str, str]:
        why = "it is for discrete actions"
        return super().without_effect(spaces, config) | dict.fromkeys(("threshold", "logit_penalty"), why)

    # --- Targets ---

    def target_noise(self, batch: Batch[Any]) -> dict[str, Tensor]:
        return {"vae": paired(self.normal(batch, "targets", 2, self.config.sampled_actions))}

    def bootstrap(self, inputs: Inputs) -> Targets:
        """`q`: r + γ·max_n [λ·min_i Q̄_i + (1 − λ)·max_i Q̄_i](s', ξ̄(s', a_n)), (B,)."""
        proposed = torch.tanh(self.vae.sample(inputs.next_observation, inputs.noise["vae"]))
        action = self.target_perturbation(inputs.next_observation, proposed)
        q = soft_clipped_q(self.target_critic(inputs.next_observation, action), self.config.minimum_weight)
        return {"q": inputs.reward + inputs.discount * q.amax(0)}

    # --- Losses ---

    def loss_noise(self, batch: Batch[Any]) -> dict[str, Tensor]:
        """`posterior` and `vae`, (B, 2A) each."""
        return {name: paired(self.normal(batch, name, 2)) for name in ("posterior", "vae")}

    def losses(self, inputs: Inputs) -> tuple[Tensor, Metrics]:
        """Of the generative model, the perturbation and the critic. (The authors move them in turn.)"""
        config, observation, noise, weight = self.config, inputs.observation, inputs.noise, inputs.weight
        # --- Generative model ---
        reconstruction, mean, log_std = self.vae(observation, inputs.action, noise["posterior"])
        generative_loss = weighted_mean(
            vae_loss(reconstruction, inputs.action, mean, log_std, config.kl_weight), weight
        )
        # --- Perturbation: up the first critic, as in the authors' code, from an action like those of the data ---
        with torch.no_grad():
            proposed = torch.tanh(self.vae.sample(observation, noise["vae"]))
        q_perturbed = self.critic(observation, self.perturbation(observation, proposed), frozen=True)[0]
        perturbation_loss = -weighted_mean(q_perturbed, weight)
        # --- Critic ---
        q = self.critic(observation, inputs.action)
        error = q - inputs.labels["q"]
        critic_loss = weighted_mean(error.square().sum(0), weight)
        return generative_loss + perturbation_loss + critic_loss, {
            "generative_loss": generative_loss,
            "perturbation_loss": perturbation_loss,
            "critic_loss": critic_loss,
            "q_data": q.mean(),
            "priority": error.abs().mean(0),
        }

    # --- Policy ---

    def policy_action(self, observation: Features, noise: Tensor | None) -> Tensor:
        """The best of `acting_samples` perturbed proposals by the first critic, as in the authors' code.

        Every state has the same latents, so that an action does not depend on its place in a stack. With `noise` all
        of them move by it, and each remains standard normal before the clipping.
        """
        shape = (self.config.acting_samples, 1, self.vae.latent)
        latent = randomness.normal((0, 0), "act/vae", shape, self.device).expand(-1, rows_of(observation), -1)
        if noise is not None:
            latent = (latent + noise.repeat(1, 2)) / math.sqrt(2.0)
        action = self.perturbation(observation, torch.tanh(self.vae.sample(observation, latent)))
        return cem.best_of(action, self.critic(observation, action)[0]).action
