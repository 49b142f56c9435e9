"""Policies: a network from observations to actions, or to a distribution of them.

Every one answers `act(observation, noise)`: the mode where `noise` is None, else the action that the standard normal
`noise`, (…, B, A), stands for. Continuous actions are in [-1, 1], discrete ones one-hot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learners.networks.critics import EncodedMLP
from learners.networks.encoders import Encoder, Features

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0

DISCRETE_TEMPERATURE = 0.1
"""Of draws over discrete actions by their values, in the units of the critic's output: an action worse by .1 is e times
rarer."""


class DeterministicPolicy(EncodedMLP):
    """Actions in [-1, 1], shape (B, A)."""

    def forward(self, observation: Features) -> Tensor:
        return torch.tanh(self.output(observation))

    def act(self, observation: Features, noise: Tensor | None) -> Tensor:
        """It has no spread: its actions are the same with noise and without."""
        return self(observation)


class GaussianPolicy(EncodedMLP):
    """A normal distribution with a tanh mean and a spread that does not depend on the state, as IQL's authors use."""

    def __init__(
        self,
        observation: int | Encoder,
        action: int,
        hidden: Sequence[int],
        *,
        layer_norm: bool = False,
        dropout: float = 0.0,
        std: float | None = None,  # Learned where not given. A fixed one makes the likelihood a squared error.
    ) -> None:
        super().__init__(observation, action, hidden, layer_norm=layer_norm, dropout=dropout)
        log_std = torch.full((action,), 0.0 if std is None else math.log(std))
        self.log_std: Tensor
        if std is None:
            self.log_std = nn.Parameter(log_std)
        else:
            self.register_buffer("log_std", log_std)

    def forward(self, observation: Features) -> tuple[Tensor, Tensor]:
        """Mean (B, A) in [-1, 1] and log standard deviation (A,)."""
        return torch.tanh(self.output(observation)), self.log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)

    def log_prob(self, observation: Features, action: Tensor) -> Tensor:
        """log π(a∣s), (B,)."""
        mean, log_std = self(observation)
        return normal_log_prob(action, mean, log_std)

    def log_prob_of(self, observation: Features, action: Tensor, present: Tensor) -> Tensor:
        """log π of those elements of the action that are `present`, (B, A) of ones and zeros, whatever the others are:
        (B,)."""
        mean, log_std = self(observation)
        return (normal_log_probs((action - mean) * torch.exp(-log_std), log_std) * present).sum(-1)

    def act(self, observation: Features, noise: Tensor | None) -> Tensor:
        """(…, B, A), clipped to [-1, 1]."""
        mean, log_std = self(observation)
        return mean if noise is None else (mean + log_std.exp() * noise).clamp(-1.0, 1.0)


class TanhGaussianPolicy(EncodedMLP):
    """A normal distribution squashed by tanh, as SAC uses (Haarnoja et al. 2018, arXiv 1801.01290, appendix C)."""

    def __init__(
        self,
        observation: int | Encoder,
        action: int,
        hidden: Sequence[int],
        *,
        layer_norm: bool = False,
        dropout: float = 0.0,
        log_std_min: float = -20.0,  # The usual one of SAC: wider than IQL's.
    ) -> None:
        super().__init__(observation, 2 * action, hidden, layer_norm=layer_norm, dropout=dropout)
        self.log_std_min = log_std_min

    def forward(self, observation: Features) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation before the squashing, (B, A) each."""
        mean, log_std = self.output(observation).chunk(2, dim=-1)
        return mean, log_std.clamp(self.log_std_min, LOG_STD_MAX)

    def sample(self, observation: Features, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions in [-1, 1] and their log-probabilities, in the shape of `noise`: standard normal, (…, B, A)."""
        mean, log_std = self(observation)
        raw = mean + log_std.exp() * noise
        return torch.tanh(raw), standard_log_prob(noise, log_std) - tanh_log_jacobian(raw)

    def log_prob(self, observation: Features, action: Tensor) -> Tensor:
        """log π(a∣s) of given actions in [-1, 1], which are pulled inside the open interval first."""
        mean, log_std = self(observation)
        raw = torch.atanh(action.clamp(-1.0 + 1e-6, 1.0 - 1e-6))
        return normal_log_prob(raw, mean, log_std) - tanh_log_jacobian(raw)

    def act(self, observation: Features, noise: Tensor | None) -> Tensor:
        return torch.tanh(self(observation)[0]) if noise is None else self.sample(observation, noise)[0]


class CategoricalPolicy(EncodedMLP):
    """Probabilities of n discrete actions; actions in and out are one-hot, (…, B, n)."""

    def log_probs(self, observation: Features) -> Tensor:
        """log π(·∣s), (B, n)."""
        return F.log_softmax(self.output(observation), dim=-1)

    def log_prob(self, observation: Features, action: Tensor) -> Tensor:
        """log π(a∣s), (B,)."""
        return (self.log_probs(observation) * action).sum(-1)

    def act(self, observation: Features, noise: Tensor | None) -> Tensor:
        return one_hot_choice(self.log_probs(observation), noise)


LikelihoodPolicy = GaussianPolicy | CategoricalPolicy
"""What methods that only need log π(a∣s) of the data's actions train, by the kind of the actions."""


def log_likelihood(policy: LikelihoodPolicy, observation: Features, action: Tensor, present: Tensor | None) -> Tensor:
    """log π(a∣s), (B,); of a chunk, that of the actions which are `present` (`Inputs.present`).

    A sum over these actions, not their mean: it is what log π says of a chunk that an episode's end has cut short, and
    each action of the data counts the same, in however many chunks it lies and wherever in them.
    """
    if present is None:
        return policy.log_prob(observation, action)
    assert isinstance(policy, GaussianPolicy), "chunks are of continuous actions"
    return policy.log_prob_of(observation, action, present)


def one_hot_choice(scores: Tensor, noise: Tensor | None) -> Tensor:
    """The best of n actions as a one-hot vector; with `noise` a draw from softmax(scores).

    The draw takes the largest of scores + Gumbel noise (Gumbel and Lieblein 1954); standard normal numbers become
    Gumbel ones through their distribution functions.
    """
    if noise is not None:
        uniform = torch.special.ndtr(noise).clamp(1e-7, 1.0 - 1e-7)
        scores = scores - torch.log(-torch.log(uniform))
    return F.one_hot(scores.argmax(-1), scores.shape[-1]).to(torch.float32)


def chosen_log_prob(scores: Tensor, action: Tensor) -> Tensor:
    """log softmax(scores)(a), (B,), of a one-hot action (B, n): how likely `one_hot_choice` is to draw it."""
    return F.log_softmax(scores, dim=-1).gather(-1, action.argmax(-1, keepdim=True)).squeeze(-1)


def normal_log_prob(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Σ_A log N(x; mean, exp(log_std)²), shape (…, B)."""
    return standard_log_prob((x - mean) * torch.exp(-log_std), log_std)


def standard_log_prob(standardised: Tensor, log_std: Tensor) -> Tensor:
    """The same for a given (x − mean) / std, as a sampler has it before it has x."""
    return normal_log_probs(standardised, log_std).sum(-1)


def normal_log_probs(standardised: Tensor, log_std: Tensor) -> Tensor:
    """Of each element, (…, A)."""
    return -0.5 * standardised.square() - log_std - 0.5 * math.log(2.0 * math.pi)


def tanh_log_jacobian(raw: Tensor) -> Tensor:
    """Σ_A log(1 − tanh²(raw)) in the form that does not underflow: 2(log 2 − raw − softplus(−2 raw))."""
    return (2.0 * (math.log(2.0) - raw - F.softplus(-2.0 * raw))).sum(-1)
