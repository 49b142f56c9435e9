"""A generative model of the data's actions, which BCQ and BEAR keep to: a variational autoencoder, given the state.

Kingma and Welling 2013 (arXiv 1312.6114), as the authors of BCQ use it (Fujimoto, Meger and Precup 2018, arXiv
1812.02900): twice as many latent numbers as action elements, and a squared error for the likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from learners.networks.critics import MLP, as_encoder
from learners.networks.encoders import Encoder, Features

LOG_STD_MIN, LOG_STD_MAX = -4.0, 15.0
"""Of the latent posterior, for numerical stability."""

LATENT_CLIP = 0.5
"""Where actions are drawn, latents stay within it on both sides: near the centre the decoder has seen most data."""


class ConditionalVAE(nn.Module):
    """Actions given observations. Decoded actions are raw: tanh takes them into [-1, 1]."""

    def __init__(self, observation: int | Encoder, action: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.encoder = as_encoder(observation)
        self.latent = 2 * action
        self.recognition = MLP(self.encoder.size + action, hidden, 2 * self.latent)
        self.decoder = MLP(self.encoder.size + self.latent, hidden, action)

    def forward(self, observation: Features, action: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The action (B, A) as it comes back, and the posterior's mean and log standard deviation, (B, 2A) each.

        `noise` is standard normal, (B, 2A).
        """
        embedding = self.encoder(observation)
        mean, log_std = self.recognition(torch.cat([embedding, action], dim=-1)).chunk(2, dim=-1)
        log_std = log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)
        return torch.tanh(self._decode(embedding, mean + log_std.exp() * noise)), mean, log_std

    def sample(self, observation: Features, noise: Tensor) -> Tensor:
        """Raw actions (…, B, A) from standard normal `noise`, (…, B, 2A), which is clipped first."""
        return self._decode(self.encoder(observation), noise.clamp(-LATENT_CLIP, LATENT_CLIP))

    def _decode(self, embedding: Tensor, latent: Tensor) -> Tensor:
        return self.decoder(torch.cat([embedding.expand(*latent.shape[:-1], -1), latent], dim=-1))


def paired(noise: Tensor) -> Tensor:
    """Two noises of the action's size (2, …, B, A) as one of the latents' size, (…, B, 2A)."""
    return torch.cat(noise.unbind(0), dim=-1)


def vae_loss(reconstruction: Tensor, action: Tensor, mean: Tensor, log_std: Tensor, kl_weight: float) -> Tensor:
    """∣â − a∣² + w·KL(N(mean, std²) ∥ N(0, 1)), (B,), each a mean over its elements, as in the authors' code.

    So the paper's sums are weighed by the number of elements; the authors' w is .5.
    """
    kl = 0.5 * (mean.square() + (2.0 * log_std).exp() - 1.0 - 2.0 * log_std)
    return (reconstruction - action).square().mean(-1) + kl_weight * kl.mean(-1)
