"""Networks with values known in advance."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from learners.base.inputs import Inputs
from learners.networks.critics import EnsembleCritic, Value


@torch.no_grad()
def zero_(module: nn.Module) -> None:
    """Every parameter to 0: a policy then has mean 0 and standard deviation 1."""
    for parameter in module.parameters():
        parameter.zero_()


@torch.no_grad()
def constant_(network: EnsembleCritic | Value, *values: float) -> None:
    """The same value everywhere: one number for each member."""
    zero_(network)
    if isinstance(network, Value):
        network.net.layers[-1].bias.fill_(values[0])
    else:
        network.net.biases[-1].copy_(torch.tensor(values).view(-1, 1, 1))


@torch.no_grad()
def linear_(critic: EnsembleCritic, slopes: list[list[float]]) -> None:
    """Q_i(s, a) = slopes[i]·a, from one hidden layer of twice the action's size: a = relu(a) − relu(−a)."""
    zero_(critic)
    first, last = critic.net.weights
    size = len(slopes[0])
    for member, slope in enumerate(slopes):
        for k in range(size):
            row = first.shape[1] - size + k  # the action follows the observation
            first[member, row, 2 * k], first[member, row, 2 * k + 1] = 1.0, -1.0
            last[member, 2 * k], last[member, 2 * k + 1] = slope[k], -slope[k]


def make_inputs(
    observation: Tensor,
    action: Tensor,
    *,
    target: Tensor | None = None,
    reward: Tensor | None = None,
    discount: Tensor | None = None,
    next_observation: Tensor | None = None,
    weight: Tensor | None = None,
    noise: dict[str, Tensor] | None = None,
    extras: dict[str, Tensor] | None = None,
) -> Inputs:
    """What `bootstrap` and `losses` take: `target` is the label `q`; rewards are 0, discounts 1 where not given."""
    rows = len(action)
    return Inputs(
        observation=observation,
        action=action,
        reward=torch.zeros(rows) if reward is None else reward,
        discount=torch.ones(rows) if discount is None else discount,
        next_observation=torch.zeros_like(observation) if next_observation is None else next_observation,
        weight=weight,
        mask=None,
        labels={} if target is None else {"q": target},
        noise=noise or {},
        extras=extras or {},
    )
