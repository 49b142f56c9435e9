"""Parameters as vectors: one optimiser step, one target update, one message, however many layers there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Reduce = Callable[[Tensor], None]
"""Averages a gradient over the learners of a run, in place."""


def flatten_(modules: Iterable[nn.Module]) -> Tensor:
    """Move the parameters of the modules into one contiguous vector, of which each becomes a view, in order."""
    parameters = [parameter for module in modules for parameter in module.parameters()]
    vector = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
    offset = 0
    for parameter in parameters:
        parameter.data = vector[offset : offset + parameter.numel()].view_as(parameter)
        offset += parameter.numel()
    return vector


def polyak_(target: Tensor, online: Tensor, rate: float) -> None:
    """θ̄ ← (1 − rate)·θ̄ + rate·θ, over whole vectors."""
    target.lerp_(online, rate)


class Optimiser:
    """One flat vector of trained parameters, in named groups, and the optimiser that moves it.

    The gradient is one vector too, so clipping, or averaging over several learners, is one operation.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        make: Callable[[list[dict[str, Any]]], torch.optim.Optimizer],
        *,
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """`make` builds the optimiser from parameter groups, one for each module; `options` adds to a group."""
        self.vector = flatten_(modules.values())
        self.gradient = torch.zeros_like(self.vector)
        self.reduce: Reduce | None = None
        self._parameters = [parameter for module in modules.values() for parameter in module.parameters()]
        self.groups: dict[str, slice] = {}
        groups: list[dict[str, Any]] = []
        start = 0
        for name, module in modules.items():
            stop = start + sum(parameter.numel() for parameter in module.parameters())
            self.groups[name] = slice(start, stop)
            flat = nn.Parameter(self.vector[start:stop])
            flat.grad = self.gradient[start:stop]
            groups.append({"params": [flat], **(options or {}).get(name, {})})
            start = stop
        self._optimiser = make(groups)

    def segment(self, name: str) -> Tensor:
        """One group's parameters, as a view of the vector."""
        return self.vector[self.groups[name]]

    def step(self, loss: Tensor) -> None:
        """One descent step on a summed loss that every trained parameter takes part in."""
        gradients = torch.autograd.grad(loss, self._parameters)
        torch.cat([gradient.reshape(-1) for gradient in gradients], out=self.gradient)
        if self.reduce is not None:
            self.reduce(self.gradient)
        self._optimiser.step()

    def state_dict(self) -> dict[str, Tensor]:
        """`<group>.<name>` to tensor: the moments and step counts."""
        names = list(self.groups)
        return {
            f"{names[index]}.{key}": value
            for index, state in self._optimiser.state_dict()["state"].items()
            for key, value in state.items()
            if isinstance(value, Tensor)
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        names = list(self.groups)
        record = self._optimiser.state_dict()
        record["state"] = {}
        for key, value in state.items():
            group, _, name = key.rpartition(".")
            # Clones: the optimiser moves its moments in place, the caller keeps what it passed.
            record["state"].setdefault(names.index(group), {})[name] = value.clone()
        self._optimiser.load_state_dict(record)


def adam(
    learning_rate: float, *, device: torch.device, weight_decay: float = 0.0
) -> Callable[..., torch.optim.Optimizer]:
    """Adam with the field's defaults, as one fused kernel."""
    return lambda groups: torch.optim.Adam(
        groups, lr=learning_rate, weight_decay=weight_decay, fused=True, capturable=device.type == "cuda"
    )
