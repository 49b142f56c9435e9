"""Networks: a multilayer perceptron, a batched ensemble of them, and the policies built on top."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0
CPU_ROWS = 2048
"""State-action pairs in one product on a CPU, so that activations stay in its cache: 1.1 times faster than at once."""


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
    """E perceptrons, on a GPU as one batched matrix product: (B, inputs) or (E, B, inputs) → (E, B, outputs)."""

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
        groups = [
            [parameter.detach() if frozen else parameter for parameter in group]
            for group in (self.weights, self.biases, self.gains, self.shifts)
        ]
        x = x.expand(self.members, *x.shape[-2:])
        if x.is_cuda:
            return self._run(x, *groups)
        # On a CPU one member after the other: the activations of one stay in its cache, those of all do not.
        apart = [[parameter.unbind(0) for parameter in group] for group in groups]
        members = range(self.members)
        return torch.stack([self._run(x[m], *([parts[m] for parts in group] for group in apart)) for m in members])

    def _run(
        self, x: Tensor, weights: list[Tensor], biases: list[Tensor], gains: list[Tensor], shifts: list[Tensor]
    ) -> Tensor:
        """All members at once, or one: the same operations with or without a leading dimension."""
        product = torch.baddbmm if x.dim() == 3 else torch.addmm
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            x = product(bias, x, weight)
            if layer < len(weights) - 1:
                if self.layer_norm:
                    x = torch.addcmul(shifts[layer], F.layer_norm(x, x.shape[-1:]), gains[layer])
                x = torch.relu_(x)
        return x


class EnsembleCritic(nn.Module):
    """E action-value functions: Q(s, a) of shape (E, B)."""

    def __init__(
        self, members: int, observation: int, action: int, hidden: Sequence[int], *, layer_norm: bool = False
    ) -> None:
        super().__init__()
        self.net = EnsembleMLP(members, observation + action, hidden, 1, layer_norm=layer_norm)

    def forward(self, observation: Tensor, action: Tensor, *, frozen: bool = False) -> Tensor:
        """For N actions at each observation, (N, B, A), it is (E, N, B)."""
        if action.dim() == 3:
            rows = len(observation)
            at_once = len(action) if action.is_cuda else max(1, CPU_ROWS // rows)
            parts = []
            for part in torch.split(action, at_once):
                inputs = torch.cat([observation.expand(len(part), *observation.shape), part], dim=-1)
                parts.append(self.net(inputs.flatten(0, 1), frozen=frozen).view(-1, len(part), rows))
            return torch.cat(parts, dim=1)
        return self.net(torch.cat([observation, action], dim=-1), frozen=frozen).squeeze(-1)

    def with_action_gradient(self, observation: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Q (E, B), and ∂Q/∂a of each member, (E, B, A); a loss may use both, one forward pass serves them."""

        def q(actions: Tensor) -> Tensor:
            observations = observation.expand(len(actions), *observation.shape)
            return self.net(torch.cat([observations, actions], dim=-1)).squeeze(-1)

        # Functional, not `autograd.grad`: it can be compiled, and works where gradients are otherwise off.
        value, pullback, *_ = torch.func.vjp(q, action.expand(self.net.members, *action.shape))
        return value, pullback(torch.ones_like(value))[0]


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

    def __init__(
        self,
        observation: int,
        action: int,
        hidden: Sequence[int],
        *,
        layer_norm: bool = False,
        log_std_min: float = -20.0,  # The usual one of SAC: wider than IQL's.
    ) -> None:
        super().__init__()
        self.net = MLP(observation, hidden, 2 * action, layer_norm=layer_norm)
        self.log_std_min = log_std_min

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation before the squashing, (B, A) each."""
        mean, log_std = self.net(observation).chunk(2, dim=-1)
        return mean, log_std.clamp(self.log_std_min, LOG_STD_MAX)

    def sample(self, observation: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions in [-1, 1] and their log-probabilities, in the shape of `noise`: standard normal, (…, B, A)."""
        mean, log_std = self(observation)
        raw = mean + log_std.exp() * noise
        return torch.tanh(raw), standard_log_prob(noise, log_std) - tanh_log_jacobian(raw)

    def log_prob(self, observation: Tensor, action: Tensor) -> Tensor:
        """log π(a∣s) of given actions in [-1, 1], which are pulled inside the open interval first."""
        mean, log_std = self(observation)
        raw = torch.atanh(action.clamp(-1.0 + 1e-6, 1.0 - 1e-6))
        return normal_log_prob(raw, mean, log_std) - tanh_log_jacobian(raw)


class PositiveScalar(nn.Module):
    """One learned positive number, kept so by learning its logarithm: a temperature or a multiplier."""

    def __init__(self, initial: float) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(math.log(initial)))

    def forward(self) -> Tensor:
        return self.log.exp()


def normal_log_prob(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Σ_A log N(x; mean, exp(log_std)²), shape (…, B)."""
    return standard_log_prob((x - mean) * torch.exp(-log_std), log_std)


def standard_log_prob(standardised: Tensor, log_std: Tensor) -> Tensor:
    """The same for a given (x − mean) / std, as a sampler has it before it has x."""
    return (-0.5 * standardised.square() - log_std - 0.5 * math.log(2.0 * math.pi)).sum(-1)


def tanh_log_jacobian(raw: Tensor) -> Tensor:
    """Σ_A log(1 − tanh²(raw)) in the form that does not underflow: 2(log 2 − raw − softplus(−2 raw))."""
    return (2.0 * (math.log(2.0) - raw - F.softplus(-2.0 * raw))).sum(-1)
