"""Values that are linear in fixed features of state and action, Q(s, a) = wᵀφ(s, a), and their maximum over actions.

The features are random Fourier features (Rahimi and Recht 2007, "Random features for large-scale kernel machines",
algorithm 1): with many of them, wᵀφ is any function that a Gaussian kernel can express. They are drawn with the seed,
never trained, and travel with w.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learners.base import randomness


class FourierFeatures(nn.Module):
    """√(2/M)·cos(xᵀω + b) for M random ω and b, and a constant 1: (…, inputs) → (…, M + 1).

    ω is normal with spread 1 / (bandwidth·√inputs): where the inputs have unit spread, a bandwidth of 1 is about the
    distance between two of them.
    """

    def __init__(self, inputs: int, count: int, bandwidth: float) -> None:
        super().__init__()
        frequency = torch.randn(inputs, count) / (bandwidth * math.sqrt(inputs))
        self.frequency = nn.Parameter(frequency, requires_grad=False)
        self.phase = nn.Parameter(2.0 * math.pi * torch.rand(count), requires_grad=False)
        self.scale = math.sqrt(2.0 / count)
        self.size = count + 1

    def forward(self, x: Tensor) -> Tensor:
        """In float64: sums of their products are what a system of equations is made of."""
        return self.of_angles(x.double() @ self.frequency.double() + self.phase.double())

    def of_angles(self, angle: Tensor) -> Tensor:
        """The features where xᵀω + b is known, (…, M), in its type."""
        return torch.cat([self.scale * torch.cos(angle), torch.ones_like(angle[..., :1])], dim=-1)


class LinearCritic(nn.Module, ABC):
    """Q(s, a) = wᵀφ(s, a). Its maximum is over N candidate actions, the same in every state and process."""

    candidates: Tensor
    """(N, A): in [-1, 1] or one-hot."""

    def __init__(self, size: int, candidates: Tensor) -> None:
        """The first w is small and random: a policy to begin with."""
        super().__init__()
        self.size = size
        self.weight = nn.Parameter(0.01 * torch.randn(size), requires_grad=False)
        self.register_buffer("candidates", candidates, persistent=False)

    @abstractmethod
    def features(self, observation: Tensor, action: Tensor) -> Tensor:
        """φ(s, a), float64 (…, B, size), for actions (…, B, A)."""

    @abstractmethod
    def scores(self, observation: Tensor) -> Tensor:
        """Q of every candidate, (B, N)."""

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        """Q, (…, B)."""
        return (self.features(observation, action) @ self.weight.double()).float()

    def best(self, observation: Tensor) -> Tensor:
        """The candidate of the highest Q, (B, A)."""
        return self.candidates[self.scores(observation).argmax(-1)]


class ContinuousLinearCritic(LinearCritic):
    """φ(s, a) are the Fourier features of state and action, joined; the candidates are spread at random in the box."""

    def __init__(self, observation: int, action: int, *, count: int, bandwidth: float, candidates: int) -> None:
        spread = (
            2.0 * randomness.uniform((0, 0), "act/candidates", (candidates, action), torch.get_default_device()) - 1.0
        )
        super().__init__(count + 1, spread)
        self.observation_size = observation
        self.fourier = FourierFeatures(observation + action, count, bandwidth)

    def features(self, observation: Tensor, action: Tensor) -> Tensor:
        return self.fourier(torch.cat([observation.expand(*action.shape[:-1], -1), action], dim=-1))

    def scores(self, observation: Tensor) -> Tensor:
        """By cos(u + v) = cos u·cos v − sin u·sin v, with u of the state and v of the candidate: no feature of a pair
        is ever computed."""
        of_state, of_action = self.fourier.frequency.tensor_split([self.observation_size])
        u, v = observation @ of_state + self.fourier.phase, self.candidates @ of_action
        weight, constant = self.fourier.scale * self.weight[:-1], self.weight[-1]
        return (weight * torch.cos(u)) @ torch.cos(v).T - (weight * torch.sin(u)) @ torch.sin(v).T + constant


class DiscreteLinearCritic(LinearCritic):
    """φ(s, a) are the Fourier features of the state in the place of the action, and zero elsewhere."""

    def __init__(self, observation: int, actions: int, *, count: int, bandwidth: float) -> None:
        super().__init__((count + 1) * actions, torch.eye(actions))
        self.fourier = FourierFeatures(observation, count, bandwidth)

    def features(self, observation: Tensor, action: Tensor) -> Tensor:
        return (action.double().unsqueeze(-1) * self.fourier(observation).unsqueeze(-2)).flatten(-2)

    def scores(self, observation: Tensor) -> Tensor:
        angle = observation @ self.fourier.frequency + self.fourier.phase
        return F.linear(self.fourier.of_angles(angle), self.weight.view(len(self.candidates), -1))
