"""IQL and behaviour cloning as one would write them by hand for speed: PyTorch and nothing of Quiver.

One summed loss, one fused Adam, one fused target update; all of the loss, the bootstrapped label included, in one
function that can be compiled. The losses are those of `learners/iql.py` and `learners/bc.py`; observations are taken
to be normalised beforehand, metrics other than the loss are left out.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

Arrays = Mapping[str, np.ndarray]


def mlp(inputs: int, outputs: int, width: int) -> nn.Sequential:
    hidden = [nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(width, outputs))


class TwoCritics(nn.Module):
    """Twin Qs as two networks, (2, B)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.members = nn.ModuleList([mlp(inputs, 1, width), mlp(inputs, 1, width)])

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.stack([member(inputs).squeeze(-1) for member in self.members])


class BatchedCritics(nn.Module):
    """Twin Qs as one batched product, (2, B)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        stacks = [[layer for layer in mlp(inputs, 1, width) if isinstance(layer, nn.Linear)] for _ in range(2)]
        layers = list(zip(*stacks, strict=True))
        self.weights = nn.ParameterList([torch.stack([x.weight.detach().T for x in layer]) for layer in layers])
        self.biases = nn.ParameterList([torch.stack([x.bias.detach()[None] for x in layer]) for layer in layers])

    def forward(self, inputs: Tensor) -> Tensor:
        x = inputs.expand(2, *inputs.shape)
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, torch.relu(x) if number else x, weight)
        return x.squeeze(-1)


class Policy(nn.Module):
    def __init__(self, observation: int, action: int, width: int) -> None:
        super().__init__()
        self.net = mlp(observation, action, width)
        self.log_std = nn.Parameter(torch.zeros(action))

    def log_prob(self, observation: Tensor, action: Tensor) -> Tensor:
        log_std = self.log_std.clamp(-5.0, 2.0)
        error = (action - torch.tanh(self.net(observation))) * torch.exp(-log_std)
        return (-0.5 * error.square() - log_std - 0.5 * math.log(2.0 * math.pi)).sum(-1)


class PlainIQL:
    def __init__(self, observation: int, action: int, *, width: int, batched: bool, compile: bool) -> None:
        critics = BatchedCritics if batched else TwoCritics
        self.critic = critics(observation + action, width)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.value, self.policy = mlp(observation, 1, width), Policy(observation, action, width)
        self.optimiser = torch.optim.Adam(
            [*self.critic.parameters(), *self.value.parameters(), *self.policy.parameters()], lr=3e-4, fused=True
        )
        self.targets: list[Tensor] = [*self.target_critic.parameters()]
        self.followed: list[Tensor] = [*self.critic.parameters()]
        self.loss_function = torch.compile(self.loss) if compile else self.loss

    def loss(
        self, observation: Tensor, action: Tensor, reward: Tensor, discount: Tensor, next_observation: Tensor
    ) -> Tensor:
        inputs = torch.cat([observation, action], dim=-1)
        with torch.no_grad():
            target = reward + discount * self.value(next_observation).squeeze(-1)
            target_q = self.target_critic(inputs).amin(0)
        advantage = target_q - self.value(observation).squeeze(-1)
        value_loss = (torch.where(advantage < 0, 0.3, 0.7) * advantage.square()).mean()
        weight = torch.exp(3.0 * advantage.detach()).clamp(max=100.0)
        policy_loss = -(weight * self.policy.log_prob(observation, action)).mean()
        critic_loss = (self.critic(inputs) - target).square().sum(0).mean()
        return value_loss + policy_loss + critic_loss

    def update(self, batch: Arrays) -> Tensor:
        names = ("observation", "action", "reward", "discount", "next_observation")
        loss = self.loss_function(*(torch.from_numpy(batch[name]) for name in names))
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.targets, self.followed, 0.005)
        return loss.detach()


class PlainBC:
    def __init__(self, observation: int, action: int, *, width: int, compile: bool) -> None:
        self.policy = Policy(observation, action, width)
        self.optimiser = torch.optim.Adam(self.policy.parameters(), lr=3e-4, fused=True)
        self.loss_function = torch.compile(self.loss) if compile else self.loss

    def loss(self, observation: Tensor, action: Tensor) -> Tensor:
        return -self.policy.log_prob(observation, action).mean()

    def update(self, batch: Arrays) -> Tensor:
        loss = self.loss_function(torch.from_numpy(batch["observation"]), torch.from_numpy(batch["action"]))
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimiser.step()
        return loss.detach()
