"""Networks: a multilayer perceptron, a batched ensemble of them, and the value functions built on top."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learners.networks.dropout import Dropout
from learners.networks.encoders import Encoder, Features, Identity

CPU_ROWS = 2048
"""State-action pairs in one product on a CPU, so that activations stay in its cache: 1.1 times faster than at once."""


def as_encoder(observation: int | Encoder) -> Encoder:
    """A number of elements stands for observations that need no encoding."""
    return Identity(observation) if isinstance(observation, int) else observation


class MLP(nn.Module):
    """(…, inputs) → (…, outputs): ReLU layers, optionally with LayerNorm before and dropout after each activation."""

    def __init__(
        self, inputs: int, hidden: Sequence[int], outputs: int, *, layer_norm: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = inputs
        for size in hidden:
            layers.append(nn.Linear(width, size))
            if layer_norm:
                layers.append(nn.LayerNorm(size))
            layers.append(nn.ReLU())
            if dropout:
                layers.append(Dropout(dropout, size))
            width = size
        self.layers = nn.Sequential(*layers, nn.Linear(width, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class EnsembleMLP(nn.Module):
    """E perceptrons, on a GPU as one batched matrix product: (B, inputs) or (E, B, inputs) → (E, B, outputs)."""

    def __init__(
        self,
        members: int,
        inputs: int,
        hidden: Sequence[int],
        outputs: int,
        *,
        layer_norm: bool = False,
        dropout: float = 0.0,
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
        self.dropouts = nn.ModuleList(Dropout(dropout, size, members=members) for size in hidden if dropout)

    def forward(self, x: Tensor, *, frozen: bool = False) -> Tensor:
        """`frozen` stops gradients at the parameters but not at `x`: what a policy loss needs of its critic."""
        groups = [
            [parameter.detach() if frozen else parameter for parameter in group]
            for group in (self.weights, self.biases, self.gains, self.shifts)
        ]
        x = x.expand(self.members, *x.shape[-2:])
        if x.device.type != "cpu":
            return self._run(x, *groups)
        # On a CPU one member after the other: the activations of one stay in its cache, those of all do not.
        apart = [[parameter.unbind(0) for parameter in group] for group in groups]
        members = range(self.members)
        return torch.stack(
            [self._run(x[m], *([parts[m] for parts in group] for group in apart), member=m) for m in members]
        )

    def _run(
        self,
        x: Tensor,
        weights: list[Tensor],
        biases: list[Tensor],
        gains: list[Tensor],
        shifts: list[Tensor],
        *,
        member: int | None = None,
    ) -> Tensor:
        """All members at once, or one: the same operations with or without a leading dimension."""
        product = torch.baddbmm if member is None else torch.addmm
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            x = product(bias, x, weight)
            if layer < len(weights) - 1:
                if self.layer_norm:
                    x = torch.addcmul(shifts[layer], F.layer_norm(x, x.shape[-1:]), gains[layer])
                x = torch.relu_(x)
                if self.dropouts:
                    x = self.dropouts[layer](x, member)
        return x


class EnsembleCritic(nn.Module):
    """E action-value functions: Q(s, a) of shape (E, B)."""

    def __init__(
        self,
        members: int,
        observation: int | Encoder,
        action: int,
        hidden: Sequence[int],
        *,
        layer_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = as_encoder(observation)
        self.net = EnsembleMLP(members, self.encoder.size + action, hidden, 1, layer_norm=layer_norm, dropout=dropout)

    def forward(self, observation: Features, action: Tensor, *, frozen: bool = False) -> Tensor:
        """For N actions at each observation, (N, B, A), it is (E, N, B); the observation is encoded once."""
        embedding = self._embed(observation, frozen)
        if action.dim() == 3:
            rows = len(embedding)
            at_once = max(1, CPU_ROWS // rows) if action.device.type == "cpu" else len(action)
            parts = []
            for part in torch.split(action, at_once):
                inputs = torch.cat([embedding.expand(len(part), *embedding.shape), part], dim=-1)
                parts.append(self.net(inputs.flatten(0, 1), frozen=frozen).view(-1, len(part), rows))
            return torch.cat(parts, dim=1)
        return self.net(torch.cat([embedding, action], dim=-1), frozen=frozen).squeeze(-1)

    def _embed(self, observation: Features, frozen: bool) -> Tensor:
        embedding = self.encoder(observation)
        return embedding.detach() if frozen else embedding

    def with_action_gradient(self, observation: Features, action: Tensor) -> tuple[Tensor, Tensor]:
        """Q (E, B), and ∂Q/∂a of each member, (E, B, A); a loss may use both, one forward pass serves them."""
        embedding = self.encoder(observation)

        def q(actions: Tensor) -> Tensor:
            embeddings = embedding.expand(len(actions), *embedding.shape)
            return self.net(torch.cat([embeddings, actions], dim=-1)).squeeze(-1)

        # Functional, not `autograd.grad`: it can be compiled, and works where gradients are otherwise off.
        value, pullback, *_ = torch.func.vjp(q, action.expand(self.net.members, *action.shape))
        return value, pullback(torch.ones_like(value))[0]


class DiscreteCritic(nn.Module):
    """E action-value functions with an output for each of n actions; called like `EnsembleCritic`, on one-hot ones."""

    def __init__(
        self,
        members: int,
        observation: int | Encoder,
        action: int,
        hidden: Sequence[int],
        *,
        layer_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = as_encoder(observation)
        self.net = EnsembleMLP(members, self.encoder.size, hidden, action, layer_norm=layer_norm, dropout=dropout)

    def every(self, observation: Features, *, frozen: bool = False) -> Tensor:
        """Q of every action, (E, B, n)."""
        embedding = self.encoder(observation)
        return self.net(embedding.detach() if frozen else embedding, frozen=frozen)

    def forward(self, observation: Features, action: Tensor, *, frozen: bool = False) -> Tensor:
        """(E, B), or (E, N, B) for N actions at each observation, (N, B, n)."""
        q = self.every(observation, frozen=frozen)
        return ((q if action.dim() == 2 else q.unsqueeze(1)) * action).sum(-1)


Critic = EnsembleCritic | DiscreteCritic


class EncodedMLP(nn.Module):
    """An encoder and a perceptron behind it: what value functions and policies are made of."""

    def __init__(
        self,
        observation: int | Encoder,
        outputs: int,
        hidden: Sequence[int],
        *,
        layer_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = as_encoder(observation)
        self.net = MLP(self.encoder.size, hidden, outputs, layer_norm=layer_norm, dropout=dropout)

    def output(self, observation: Features) -> Tensor:
        """(…, outputs)."""
        return self.net(self.encoder(observation))


class Value(EncodedMLP):
    """A state value function: V(s) of shape (…,)."""

    def __init__(self, observation: int | Encoder, hidden: Sequence[int], **options: Any) -> None:
        """`options` are those of `EncodedMLP`."""
        super().__init__(observation, 1, hidden, **options)

    def forward(self, observation: Features) -> Tensor:
        return self.output(observation).squeeze(-1)


class PositiveScalar(nn.Module):
    """One learned positive number, kept so by learning its logarithm: a temperature or a multiplier."""

    def __init__(self, initial: float) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(math.log(initial)))

    def forward(self) -> Tensor:
        return self.log.exp()
