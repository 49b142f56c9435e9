"""From the units of the data to those of the networks and back: part of an algorithm's state, exported with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from learners.errors import LearnerError
from replay.spaces import Box, Discrete, Image, Spaces, observation_columns

Statistics = Mapping[str, Mapping[str, Any]]
"""Per column: `mean`, `std`, `min` and `max`, each flat over the column's elements."""


class Normaliser(nn.Module):
    """Observations to zero mean and unit spread, concatenated in the order of their names; actions to [-1, 1]."""

    def __init__(self, spaces: Spaces, statistics: Statistics | None, *, normalise_observation: bool) -> None:
        super().__init__()
        self.columns = observation_columns(spaces.observation)
        means, scales = [], []
        for name, space in self.columns.items():
            if isinstance(space, Image):
                raise LearnerError(
                    f"observation space {name}: images {space.shape} need an encoder, which no algorithm here has yet; "
                    "ingest again with --observation KEY to keep a key that is not an image."
                )
            size = 1 if isinstance(space, Discrete) else space.size
            mean, std = np.zeros(size), np.ones(size)
            if normalise_observation and statistics is not None:
                mean, std = _flat(statistics, name, "mean", size), _flat(statistics, name, "std", size)
            means.append(mean)
            # A constant element carries no information: leave it near zero instead of dividing by nothing.
            scales.append(np.where(std > 1e-6, 1.0 / np.maximum(std, 1e-6), 1.0))
        low, high = _action_range(spaces.action, statistics)
        self.observation_size = sum(len(mean) for mean in means)
        self.action_size = len(low)
        self.register_buffer("mean", torch.tensor(np.concatenate(means), dtype=torch.float32))
        self.register_buffer("inverse_std", torch.tensor(np.concatenate(scales), dtype=torch.float32))
        self.register_buffer("action_centre", torch.tensor((high + low) / 2, dtype=torch.float32))
        self.register_buffer("action_radius", torch.tensor((high - low) / 2, dtype=torch.float32))
        self.mean: Tensor
        self.inverse_std: Tensor
        self.action_centre: Tensor
        self.action_radius: Tensor

    def observation(self, observation: Tensor | Mapping[str, Tensor]) -> Tensor:
        """(B, …) or a dictionary of them → float32 (B, observation_size)."""
        if isinstance(observation, Mapping):
            parts = [observation[name.removeprefix("observation.")] for name in self.columns]
            observation = torch.cat([part.reshape(part.shape[0], -1).float() for part in parts], dim=-1)
        else:
            observation = observation.reshape(observation.shape[0], -1).float()
        return (observation - self.mean) * self.inverse_std

    def action(self, action: Tensor) -> Tensor:
        """From the environment's units to [-1, 1]."""
        return (action.reshape(action.shape[0], -1).float() - self.action_centre) / self.action_radius

    def environment_action(self, action: Tensor) -> Tensor:
        """From [-1, 1] to the environment's units."""
        return action * self.action_radius + self.action_centre


def _action_range(space: Box | Discrete, statistics: Statistics | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """The bounds of the space, or of the data where the space has none."""
    if isinstance(space, Discrete):
        raise LearnerError(f"action space: Discrete({space.n}) found, expected a Box of continuous actions.")
    size = space.size
    low = np.broadcast_to(np.asarray(space.low, np.float64), (size,))
    high = np.broadcast_to(np.asarray(space.high, np.float64), (size,))
    if not space.bounded:
        if statistics is None:
            raise LearnerError(
                "action space: no finite bounds, and no statistics to take them from; "
                "pass statistics=dataset.statistics, or bound the space."
            )
        low = np.where(np.isfinite(low), low, _flat(statistics, "action", "min", size))
        high = np.where(np.isfinite(high), high, _flat(statistics, "action", "max", size))
    # An action that never varies still needs a positive radius to divide by.
    return low, np.maximum(high, low + 1e-6)


def _flat(statistics: Statistics, column: str, name: str, size: int) -> NDArray[np.float64]:
    try:
        values = np.asarray(statistics[column][name], np.float64).reshape(-1)
    except KeyError as error:
        raise LearnerError(f"statistics: no {name} of column {column!r}; found {sorted(statistics)}.") from error
    if values.size != size:
        raise LearnerError(f"statistics of {column!r}: {values.size} values of {name}, expected {size}.")
    return values
