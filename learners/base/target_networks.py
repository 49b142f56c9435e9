"""Target networks: copies of trained networks that follow them by Polyak averaging."""

from __future__ import annotations

import copy
from typing import NamedTuple, TypeVar

from torch import Tensor, nn

from learners.base.optimisation import Optimiser, flatten_, polyak_

Network = TypeVar("Network", bound=nn.Module)


class _Follower(NamedTuple):
    target: str
    source: str
    rate: float
    every: int


class TargetNetworks:
    """`vectors` holds the parameters of each target network, as one vector."""

    def __init__(self) -> None:
        self.vectors: dict[str, Tensor] = {}
        self._followers: list[_Follower] = []

    def add(self, name: str, source: str, network: Network, rate: float, every: int) -> Network:
        """A copy of `network`, trained under the name `source`, that moves towards it at every so many steps."""
        target = frozen_copy(network)
        self.vectors[name] = flatten_([target])
        self._followers.append(_Follower(name, source, rate, every))
        return target

    def followers(self, source: str) -> list[str]:
        """The targets of a network."""
        return [follower.target for follower in self._followers if follower.source == source]

    def move(self, optimiser: Optimiser, step: int) -> None:
        """After step number `step`, counted from 1. What follows a frozen network stays."""
        for target, source, rate, every in self._followers:
            if step % every == 0 and source not in optimiser.frozen:
                polyak_(self.vectors[target], optimiser.segment(source), rate)


def frozen_copy(network: Network) -> Network:
    """It moves, but not by gradients."""
    return copy.deepcopy(network).requires_grad_(False)
