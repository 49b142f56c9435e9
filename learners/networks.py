"""Networks: a multilayer perceptron, a batched ensemble of them, and the policies built on top."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0


class MLP(nn.Module):
    """(…, inputs) → (…, outputs): ReLU layers, optionally with LayerNorm before each activation."""

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int, *, layer_norm: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = inputs
        for size in hidden:
            layers.append(nn.Linear(width, size))
            if layer_norm:
                layers.append(nn.LayerNorm(size))
            layers.append(nn.ReLU())
            width = size
        self.layers = nn.Sequential(*layers, nn.Linear(width, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class EnsembleMLP(nn.Module):
    """E perceptrons as one batched matrix product: (B, inputs) or (E, B, inputs) → (E, B, outputs)."""

    def __init__(
        self, members: int, inputs: int, hidden: Sequence[int], outputs: int, *, layer_norm: bool = False
    ) -> None:
        super().__init__()
        self.members = members
        self.layer_norm = layer_norm
        widths = [inputs, *hidden, outputs]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.gains = nn.ParameterList()
        self.shifts = nn.ParameterList()
        for fan_in, fan_out in pairwise(widths):
            bound = 1.0 / math.sqrt(fan_in)  # the default of nn.Linear, member by member
            self.weights.append(nn.Parameter(torch.empty(members, fan_in, fan_out).uniform_(-bound, bound)))
            self.biases.append(nn.Parameter(torch.empty(members, 1, fan_out).uniform_(-bound, bound)))
        if layer_norm:
            for size in hidden:
                self.gains.append(nn.Parameter(torch.ones(members, 1, size)))
                self.shifts.append(nn.Parameter(torch.zeros(members, 1, size)))

    def forward(self, x: Tensor, *, frozen: bool = False) -> Tensor:
        """`frozen` stops gradients at the parameters but not at `x`: what a policy loss needs of its critic."""
        if x.dim() == 2:
            x = x.expand(self.members, *x.shape)
        last = len(self.weights) - 1
        for layer in range(last + 1):
            weight, bias = self.weights[layer], self.biases[layer]
            x = torch.baddbmm(bias.detach() if frozen else bias, x, weight.detach() if frozen else weight)
            if layer < last:
                if self.layer_norm:
                    gain, shift = self.gains[layer], self.shifts[layer]
                    x = F.layer_norm(x, x.shape[-1:])
                    x = torch.addcmul(shift.detach() if frozen else shift, x, gain.detach() if frozen else gain)
                x = torch.relu(x)
        return x


class EnsembleCritic(nn.Module):
    """E action-value functions: Q(s, a) of shape (E, B)."""

    def __init__(
        self, members: int, observation: int, action: int, hidden: Sequence[int], *, layer_norm: bool = False
    ) -> None:
        super().__init__()
        self.net = EnsembleMLP(members, observation + action, hidden, 1, layer_norm=layer_norm)

    def forward(self, observation: Tensor, action: Tensor, *, frozen: bool = False) -> Tensor:
        return self.net(torch.cat([observation, action], dim=-1), frozen=frozen).squeeze(-1)


class Value(nn.Module):
    """A state value function: V(s) of shape (B,)."""

    def __init__(self, observation: int, hidden: Sequence[int], *, layer_norm: bool = False) -> None:
        super().__init__()
        self.net = MLP(observation, hidden, 1, layer_norm=layer_norm)

    def forward(self, observation: Tensor) -> Tensor:
        return self.net(observation).squeeze(-1)


class DeterministicPolicy(nn.Module):
    """Actions in [-1, 1], shape (B, A)."""

    def __init__(self, observation: int, action: int, hidden: Sequence[int], *, layer_norm: bool = False) -> None:
        super().__init__()
        self.net = MLP(observation, hidden, action, layer_norm=layer_norm)

    def forward(self, observation: Tensor) -> Tensor:
        return torch.tanh(self.net(observation))


class GaussianPolicy(nn.Module):
    """A normal distribution with a tanh mean and a spread that does not depend on the state, as IQL's authors use."""

    def __init__(self, observation: int, action: int, hidden: Sequence[int], *, layer_norm: bool = False) -> None:
        super().__init__()
        self.net = MLP(observation, hidden, action, layer_norm=layer_norm)
        self.log_std = nn.Parameter(torch.zeros(action))

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (B, A) in [-1, 1] and log standard deviation (A,)."""
        return torch.tanh(self.net(observation)), self.log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)

    def log_prob(self, observation: Tensor, action: Tensor) -> Tensor:
        """log π(a∣s), (B,)."""
        mean, log_std = self(observation)
        return normal_log_prob(action, mean, log_std)


class TanhGaussianPolicy(nn.Module):
    """A normal distribution squashed by tanh, as SAC uses (Haarnoja et al. 2018, arXiv 1801.01290, appendix C)."""

    def __init__(self, observation: int, action: int, hidden: Sequence[int], *, layer_norm: bool = False) -> None:
        super().__init__()
        self.net = MLP(observation, hidden, 2 * action, layer_norm=layer_norm)

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation before the squashing, (B, A) each."""
        mean, log_std = self.net(observation).chunk(2, dim=-1)
        # The usual range of SAC: wider below than IQL's.
        return mean, log_std.clamp(-20.0, LOG_STD_MAX)

    def sample(self, observation: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions in [-1, 1] and their log-probabilities. `noise` is standard normal, (…, B, A), and leads the shape."""
        mean, log_std = self(observation)
        raw = mean + log_std.exp() * noise
        return torch.tanh(raw), normal_log_prob(raw, mean, log_std) - tanh_log_jacobian(raw)

    def log_prob(self, observation: Tensor, action: Tensor) -> Tensor:
        """log π(a∣s) of given actions in [-1, 1], which are pulled inside the open interval first."""
        mean, log_std = self(observation)
        raw = torch.atanh(action.clamp(-1.0 + 1e-6, 1.0 - 1e-6))
        return normal_log_prob(raw, mean, log_std) - tanh_log_jacobian(raw)


def normal_log_prob(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Σ_A log N(x; mean, exp(log_std)²), shape (…, B)."""
    standardised = (x - mean) * torch.exp(-log_std)
    return (-0.5 * standardised.square() - log_std - 0.5 * math.log(2.0 * math.pi)).sum(-1)


def tanh_log_jacobian(raw: Tensor) -> Tensor:
    """Σ_A log(1 − tanh²(raw)) in the form that does not underflow: 2(log 2 − raw − softplus(−2 raw))."""
    return (2.0 * (math.log(2.0) - raw - F.softplus(-2.0 * raw))).sum(-1)
