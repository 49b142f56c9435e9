"""Parameters of named modules as one flat vector, which travels, and as named tensors, which are kept."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from learners.algorithm import Weights
from learners.errors import LearnerError


@torch.no_grad()
def flat_weights(modules: Mapping[str, nn.Module], names: tuple[str, ...]) -> Weights:
    """The parameters of the named modules, one after the other."""
    parameters = _parameters(modules, names)
    if not parameters:
        return np.zeros(0, np.float32)
    return torch.cat([parameter.reshape(-1) for parameter in parameters]).cpu().numpy()


@torch.no_grad()
def load_flat_weights(modules: Mapping[str, nn.Module], names: tuple[str, ...], vector: Tensor) -> None:
    """The reverse. Raises `LearnerError` where the vector has another length."""
    parameters = _parameters(modules, names)
    expected = sum(parameter.numel() for parameter in parameters)
    if vector.numel() != expected:
        raise LearnerError(f"weights of {names}: {vector.numel()} numbers, expected {expected}.")
    offset = 0
    for parameter in parameters:
        parameter.copy_(vector[offset : offset + parameter.numel()].view_as(parameter))
        offset += parameter.numel()


def named_state(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """`<module>.<parameter>` to tensor."""
    return {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}


def load_named_state(modules: Mapping[str, nn.Module], state: Mapping[str, Tensor]) -> None:
    """Raises `LearnerError` where a name is missing or a shape differs."""
    for name, module in modules.items():
        try:
            module.load_state_dict(part(state, name))
        except RuntimeError as error:
            raise LearnerError(
                f"state of {name!r} does not fit: {error}. Was the checkpoint made with other knobs?"
            ) from error


def part(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The entries below `name`, without it."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _parameters(modules: Mapping[str, nn.Module], names: tuple[str, ...]) -> list[nn.Parameter]:
    return [parameter for name in names for parameter in modules[name].parameters()]
