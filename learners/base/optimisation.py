"""Parameters as vectors: one optimiser step, one target update, one message, however many layers there are."""

from __future__ import annotations

import math
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

    The gradient is one vector too, so averaging it over several learners is one operation.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        make: Callable[[list[dict[str, Any]]], torch.optim.Optimizer],
        *,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        clip: float | None = None,
        every: Mapping[str, int] | None = None,
    ) -> None:
        """`make` builds the optimiser from parameter groups, one for each module; `options` adds to a group.

        `clip` bounds the norm of each group's gradient; a group in `every` moves at every so many steps only.
        """
        self.vector = flatten_(modules.values())
        self.gradient = torch.zeros_like(self.vector)
        """And behind it the averages, from the first step on that has some."""
        self.frozen: set[str] = set()
        """Groups that do not move."""
        self.reduce: Reduce | None = None
        self.clip = clip
        self.every = dict(every or {})
        self.groups: dict[str, slice] = {}
        self._parameters: dict[str, list[nn.Parameter]] = {}
        self._flat: dict[str, nn.Parameter] = {}
        groups: list[dict[str, Any]] = []
        start = 0
        for name, module in modules.items():
            self._parameters[name] = list(module.parameters())
            stop = start + sum(parameter.numel() for parameter in self._parameters[name])
            self.groups[name] = slice(start, stop)
            self._flat[name] = nn.Parameter(self.vector[start:stop])
            groups.append({"params": [self._flat[name]], **(options or {}).get(name, {})})
            start = stop
        self._optimiser = make(groups)
        self._rates = [group["lr"] for group in self._optimiser.param_groups]

    def segment(self, name: str) -> Tensor:
        """One group's parameters, as a view of the vector."""
        return self.vector[self.groups[name]]

    @property
    def averages(self) -> Tensor:
        """The mean over the learners of what each of them gave to the last step as `averages`."""
        return self.gradient[self.vector.numel() :]

    def step(self, loss: Tensor, number: int = 0, averages: Tensor | None = None) -> None:
        """Descent step `number`, from 0, on a summed loss that every trained parameter takes part in.

        `averages`, numbers of a batch, (N,), travel behind the gradient.
        """
        if averages is not None and averages.numel() != self.averages.numel():
            self.gradient = self.vector.new_zeros(self.vector.numel() + averages.numel())
        moving = [
            name for name in self.groups if (number + 1) % self.every.get(name, 1) == 0 and name not in self.frozen
        ]
        parameters = [parameter for name in moving for parameter in self._parameters[name]]
        gradients = torch.autograd.grad(loss, parameters) if parameters else ()
        flat = [gradient.reshape(-1) for gradient in gradients]
        if len(moving) == len(self.groups):
            torch.cat(flat, out=self.gradient[: self.vector.numel()])
        else:
            self.gradient.zero_()
            if flat:
                torch._foreach_copy_(list(self.gradient_parts(moving)), flat)
        for name, parameter in self._flat.items():
            parameter.grad = self.gradient[self.groups[name]] if name in moving else None
        if averages is not None:
            self.averages.copy_(averages)
        if self.reduce is not None:
            self.reduce(self.gradient)
        if self.clip is not None:
            for name in moving:
                clip_(self.gradient[self.groups[name]], self.clip)
        self._optimiser.step()

    def gradient_parts(self, names: Iterable[str]) -> Iterable[Tensor]:
        """The pieces of the gradient that belong to each parameter of the groups, as flat views."""
        for name in names:
            start = self.groups[name].start
            for parameter in self._parameters[name]:
                yield self.gradient[start : start + parameter.numel()]
                start += parameter.numel()

    def freeze(self, names: Iterable[str]) -> None:
        """Groups that no step moves from now on, and that no gradient is computed for."""
        for name in names:
            self.frozen.add(name)
            for parameter in self._parameters[name]:
                parameter.requires_grad_(False)

    def scale_learning_rates(self, factors: Mapping[str, float]) -> None:
        """Set each group's learning rate to its configured one times the factor (1 where none is given)."""
        for name, group, rate in zip(self.groups, self._optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * factors.get(name, 1.0)

    def state_dict(self) -> dict[str, Tensor]:
        """`<group>.<name>` to tensor: the moments and step counts."""
        names = list(self.groups)
        return {
            f"{names[index]}.{key}": value
            for index, state in self._optimiser.state_dict()["state"].items()
            for key, value in state.items()
            if isinstance(value, Tensor)
        }

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """`<group>.<name>` to shape, float32 all of them: what `state_dict` holds once every group has moved."""
        sizes = {name: (part.stop - part.start,) for name, part in self.groups.items()}
        adam = isinstance(self._optimiser, torch.optim.Adam)
        moments = ("exp_avg", "exp_avg_sq") if adam else ("momentum_buffer",)
        found = {f"{name}.{moment}": size for name, size in sizes.items() for moment in moments}
        return found | ({f"{name}.step": () for name in sizes} if adam else {})

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        names = list(self.groups)
        record = self._optimiser.state_dict()
        record["state"] = {}
        for key, value in state.items():
            group, _, name = key.rpartition(".")
            # Clones: the optimiser moves its moments in place, the caller keeps what it passed.
            record["state"].setdefault(names.index(group), {})[name] = value.clone()
        self._optimiser.load_state_dict(record)


def adam(learning_rate: float, *, device: torch.device) -> Callable[..., torch.optim.Optimizer]:
    """Adam with the field's defaults, as one fused kernel."""
    return lambda groups: torch.optim.Adam(groups, lr=learning_rate, fused=True, capturable=device.type == "cuda")


def clip_(gradient: Tensor, norm: float) -> None:
    """Shorten a gradient to `norm`, in place and without asking the device how long it is."""
    gradient.mul_((norm / (torch.linalg.vector_norm(gradient) + 1e-12)).clamp(max=1.0))


def half_cosine(step: int, steps: int) -> float:
    """The factor of a learning rate at `step` (from 0) of a schedule that ends at 0 after `steps`
    (Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5 without restarts)."""
    return 0.5 * (1.0 + math.cos(math.pi * min(step, steps) / steps))
