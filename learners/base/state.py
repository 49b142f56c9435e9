"""Parameters of named modules as one flat vector, which travels, and as named tensors, which are kept."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

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


def check_modules(modules: Mapping[str, nn.Module], given: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Raises `LearnerError`, naming module and tensor, for a module that is not there, and for tensors of other
    names or shapes than it has."""
    for name, tensors in given.items():
        if name not in modules:
            raise LearnerError(f"module {name!r}: found no such module, expected one of {', '.join(modules)}.")
        expected = {key: tuple(tensor.shape) for key, tensor in modules[name].state_dict().items()}
        for key in sorted(expected.keys() | tensors.keys()):
            if key not in tensors:
                raise LearnerError(f"module {name!r}: {key} is missing. Is it of a run with the same networks?")
            if key not in expected:
                raise LearnerError(f"module {name!r}: found {key}, which it does not have. Were the knobs the same?")
            if tuple(tensors[key].shape) != expected[key]:
                raise LearnerError(
                    f"module {name!r}: {key}: found shape {tuple(tensors[key].shape)}, expected {expected[key]}. "
                    "Set the widths and the spaces that the other run had."
                )


def check_frozen(trained: Iterable[str], names: Collection[str]) -> None:
    """Raises `LearnerError` for names of modules that are not trained, and where none would be left to train."""
    trained = list(trained)
    for name in names:
        if name not in trained:
            known = ", ".join(trained) or "of which this algorithm has none"
            raise LearnerError(f"freeze: found {name!r}, expected one of the trained modules, {known}.")
    if trained and set(names) == set(trained):
        raise LearnerError(f"freeze: found all of {', '.join(trained)}, which leaves nothing to train; name fewer.")


def part(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The entries below `name`, without it."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _parameters(modules: Mapping[str, nn.Module], names: tuple[str, ...]) -> list[nn.Parameter]:
    return [parameter for name in names for parameter in modules[name].parameters()]
