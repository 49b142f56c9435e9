"""From the units of the data to those of the networks and back: part of an algorithm's state, exported with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from learners.errors import LearnerError
from learners.networks.encoders import VECTOR, Features
from replay.spaces import MOST_CHOICES, Box, Discrete, Image, Leaf, Spaces, observation_columns, picture_shape

Statistics = Mapping[str, Mapping[str, Any]]
"""Per column: `mean`, `std`, `min` and `max`, each flat over the column's elements. `return` is of the episodes."""

RETURN_RANGE = 1000.0
"""What the range of episode returns is brought to (Kostrikov, Nair and Levine 2021, arXiv 2110.06169)."""


class Normaliser(nn.Module):
    """Numbers to zero mean and unit spread and choices (`Discrete`) to one-hot vectors, joined in the order of their
    names; images as they are; continuous actions to [-1, 1], discrete ones to one-hot vectors; and the scale of
    rewards.

    Raises `LearnerError` for spaces that no network should read: more choices than `MOST_CHOICES`, values outside them
    in the statistics, and pictures that are kept as numbers because their channels come first.
    """

    def __init__(
        self,
        spaces: Spaces,
        statistics: Statistics | None,
        *,
        normalise_observation: bool,
        normalise_reward: bool = False,
    ) -> None:
        super().__init__()
        self.columns = observation_columns(spaces.observation)
        self.images = {name: space.shape for name, space in self.columns.items() if isinstance(space, Image)}
        self.numbers = {name: space for name, space in self.columns.items() if name not in self.images}
        _check_columns(self.columns, spaces.action, statistics)
        means, scales = [np.zeros(0)], [np.zeros(0)]
        for name, space in self.numbers.items():
            size = space.n if isinstance(space, Discrete) else int(np.prod(space.shape, dtype=np.int64))
            mean, std = np.zeros(size), np.ones(size)
            if normalise_observation and statistics is not None and not isinstance(space, Discrete):
                mean, std = _flat(statistics, name, "mean", size), _flat(statistics, name, "std", size)
            means.append(mean)
            # A constant element carries no information: leave it near zero instead of dividing by nothing.
            scales.append(np.where(std > 1e-6, 1.0 / np.maximum(std, 1e-6), 1.0))
        self.vector_size = sum(len(mean) for mean in means)
        self.register_buffer("mean", torch.tensor(np.concatenate(means), dtype=torch.float32))
        self.register_buffer("inverse_std", torch.tensor(np.concatenate(scales), dtype=torch.float32))
        self.mean: Tensor
        self.inverse_std: Tensor
        self.actions: ContinuousActions | DiscreteActions = (
            DiscreteActions(spaces.action)
            if isinstance(spaces.action, Discrete)
            else ContinuousActions(spaces.action, statistics)
        )
        self.action_size = self.actions.size
        scale = _return_scale(statistics) if normalise_reward else 1.0
        self.register_buffer("reward_scale", torch.tensor(scale, dtype=torch.float64))
        self.reward_scale: Tensor

    def observation(self, observation: Tensor | Mapping[str, Tensor]) -> Features:
        """(…, shape) or a dictionary of them → float32 (…, vector_size), or a dictionary where there are images."""
        parts = (
            {name: observation[name.removeprefix("observation.")] for name in self.columns}
            if isinstance(observation, Mapping)
            else dict.fromkeys(self.columns, observation)
        )
        vectors = [
            _one_hot(parts[name], space) if isinstance(space, Discrete) else _flatten(parts[name], len(space.shape))
            for name, space in self.numbers.items()
        ]
        if not self.images:
            return self._normalised(vectors)
        features = {name: parts[name] for name in self.images}
        return {**features, VECTOR: self._normalised(vectors)} if vectors else features

    def _normalised(self, vectors: list[Tensor]) -> Tensor:
        vector = vectors[0] if len(vectors) == 1 else torch.cat(vectors, dim=-1)
        return (vector - self.mean) * self.inverse_std

    def action(self, action: Tensor) -> Tensor:
        """From the environment's units to those of the networks, (…, action_size)."""
        return self.actions.encode(action)

    def environment_action(self, action: Tensor) -> Tensor:
        """And back."""
        return self.actions.decode(action)

    def log_action_scale(self) -> Tensor:
        """The logarithm of the volume in the environment's units of a unit of the networks' actions, (): what the
        logarithm of a density loses on its way into these units. 0 for discrete actions, which have no density."""
        return self.actions.log_scale()


class ContinuousActions(nn.Module):
    """[-1, 1] stands for the bounds of the space, or of the data where the space has none."""

    centre: Tensor
    radius: Tensor

    def __init__(self, space: Box, statistics: Statistics | None) -> None:
        super().__init__()
        self.size, self.rank = space.size, len(space.shape)
        low = np.broadcast_to(np.asarray(space.low, np.float64), (self.size,))
        high = np.broadcast_to(np.asarray(space.high, np.float64), (self.size,))
        if not space.bounded:
            if statistics is None:
                raise LearnerError(
                    "action space: no finite bounds, and no statistics to take them from; "
                    "pass statistics=dataset.statistics, or bound the space."
                )
            low = np.where(np.isfinite(low), low, _flat(statistics, "action", "min", self.size))
            high = np.where(np.isfinite(high), high, _flat(statistics, "action", "max", self.size))
        # An action that never varies still needs a positive radius to divide by.
        high = np.maximum(high, low + 1e-6)
        self.register_buffer("centre", torch.tensor((high + low) / 2, dtype=torch.float32))
        # Beside a bound of 10¹⁰ a millionth is nothing.
        radius = np.where(high > low, (high - low) / 2, 5e-7)
        self.register_buffer("radius", torch.tensor(radius, dtype=torch.float32))

    def encode(self, action: Tensor) -> Tensor:
        return (_flatten(action, self.rank) - self.centre) / self.radius

    def decode(self, action: Tensor) -> Tensor:
        return action * self.radius + self.centre

    def log_scale(self) -> Tensor:
        return self.radius.log().sum()


class DiscreteActions(nn.Module):
    """A one-hot vector stands for each action."""

    def __init__(self, space: Discrete) -> None:
        super().__init__()
        self.space, self.size, self.start = space, space.n, space.start

    def encode(self, action: Tensor) -> Tensor:
        return _one_hot(action, self.space)

    def decode(self, action: Tensor) -> Tensor:
        return action.argmax(-1) + self.start

    def log_scale(self) -> Tensor:
        return torch.zeros(())


def _flatten(part: Tensor, rank: int) -> Tensor:
    """(…, shape) → float32 (…, elements), for a shape of that many dimensions."""
    return part.reshape(*part.shape[: part.dim() - rank], -1).float() if rank != 1 else part.float()


def _one_hot(choice: Tensor, space: Discrete) -> Tensor:
    """(…) → float32 (…, n)."""
    return F.one_hot(choice.long() - space.start, space.n).to(torch.float32)


def _check_columns(columns: Mapping[str, Leaf], action: Leaf, statistics: Statistics | None) -> None:
    choices = {name: space for name, space in columns.items() if isinstance(space, Discrete)}
    if sum(space.n for space in choices.values()) > MOST_CHOICES:
        found = ", ".join(f"{name} with {space.n:,} values" for name, space in choices.items())
        raise LearnerError(
            f"observation space: {found}, expected at most {MOST_CHOICES:,} in all, since each is a number of a "
            "one-hot vector. Record what the value stands for as a Box of numbers instead."
        )
    if isinstance(action, Discrete) and action.n > MOST_CHOICES:
        raise LearnerError(
            f"action space: {action.n:,} discrete actions, expected at most {MOST_CHOICES:,}. Make them a Box of "
            "numbers, or fewer."
        )
    for name, space in {**columns, "action": action}.items():
        if isinstance(space, Discrete):
            _check_range(name, space, statistics)
        elif isinstance(space, Box) and (shape := picture_shape(space.shape, space.dtype)) and space.shape != shape:
            raise LearnerError(
                f"{name}: is of bytes {space.shape}, which are pictures with their channels first, kept as numbers; "
                f"expected pictures {shape}. Ingest or record the data again, which keeps them so; if they are no "
                "pictures, as float32."
            )


def _check_range(name: str, space: Discrete, statistics: Statistics | None) -> None:
    """Raises `LearnerError` where the data is said to hold values that have no place in the one-hot vector."""
    ends = [np.asarray((statistics or {}).get(name, {}).get(end, ()), np.float64).reshape(-1) for end in ("min", "max")]
    if any(end.size != 1 for end in ends):
        return
    low, high = (float(end[0]) for end in ends)
    if low < space.start or high > space.start + space.n - 1:
        raise LearnerError(
            f"statistics of {name!r}: values from {low:g} to {high:g}, and the space says {space.start} to "
            f"{space.start + space.n - 1}. Ingest the data again with the space that it has."
        )


def _return_scale(statistics: Statistics | None) -> float:
    if statistics is None or "return" not in statistics:
        raise LearnerError(
            "normalise_reward: the statistics hold no episode returns; pass statistics=dataset.statistics, "
            "or set reward_scale yourself."
        )
    low, high = (float(_flat(statistics, "return", end, 1)[0]) for end in ("min", "max"))
    if not high > low:
        raise LearnerError(
            f"normalise_reward: every episode of the data returns {low:g}, so there is no range to divide by; "
            "set reward_scale yourself."
        )
    return RETURN_RANGE / (high - low)


def _flat(statistics: Statistics, column: str, name: str, size: int) -> NDArray[np.float64]:
    try:
        values = np.asarray(statistics[column][name], np.float64).reshape(-1)
    except KeyError as error:
        raise LearnerError(f"statistics: no {name} of column {column!r}; found {sorted(statistics)}.") from error
    if values.size != size:
        raise LearnerError(f"statistics of {column!r}: {values.size} values of {name}, expected {size}.")
    return values
