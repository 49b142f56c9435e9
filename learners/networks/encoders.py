"""From observations to vectors: nothing to do for numbers, a convolutional network for images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Features = Tensor | dict[str, Tensor]
"""A normalised observation: float32 (…, D), or, where there are images, a dictionary of them, uint8 (…, H, W, C),
with all numbers under `VECTOR`."""

VECTOR = "vector"
STACKS = (16, 32, 32)
"""Channels of the three stages of IMPALA's small network."""


class Encoder(nn.Module, ABC):
    """Features → (…, size). A network joins whatever else it reads (an action) after it."""

    size: int

    @abstractmethod
    def forward(self, observation: Features) -> Tensor: ...


class Identity(Encoder):
    """For numbers, and for what a shared encoder has embedded. `detach` keeps gradients out of the latter."""

    def __init__(self, size: int, *, detach: bool = False) -> None:
        super().__init__()
        self.size = size
        self.detach = detach

    def forward(self, observation: Features) -> Tensor:
        assert isinstance(observation, Tensor)
        return observation.detach() if self.detach else observation


class ImpalaEncoder(Encoder):
    """IMPALA's residual network (Espeholt et al. 2018, arXiv 1802.01561, figure 3), with one residual block a stage.

    Every image has its own; their embeddings and the numbers of the observation (proprioception) are joined after it.
    """

    def __init__(self, images: Mapping[str, Sequence[int]], vector: int, *, width: int = 512) -> None:
        """`images`: name to (height, width, channels); `vector`: how many numbers there are beside them."""
        super().__init__()
        self.names = tuple(images)
        self.towers = nn.ModuleList(_Tower(shape, width) for shape in images.values())
        self.vector = vector
        self.size = width * len(images) + vector

    def forward(self, observation: Features) -> Tensor:
        assert isinstance(observation, dict)
        parts = [tower(observation[name]) for name, tower in zip(self.names, self.towers, strict=True)]
        if self.vector:
            parts.append(observation[VECTOR])
        return torch.cat(parts, dim=-1)


class _Tower(nn.Module):
    def __init__(self, shape: Sequence[int], width: int) -> None:
        super().__init__()
        height, length, channels = shape
        stages: list[nn.Module] = []
        for filters in STACKS:
            stages.append(_Stage(channels, filters))
            channels, height, length = filters, (height + 1) // 2, (length + 1) // 2
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(channels * height * length, width)

    def forward(self, image: Tensor) -> Tensor:
        """uint8 (…, H, W, C) → (…, width)."""
        leading = image.shape[:-3]
        x = image.reshape(-1, *image.shape[-3:]).permute(0, 3, 1, 2).float() / 255.0
        x = F.relu(self.stages(x)).flatten(1)
        return F.relu(self.head(x)).reshape(*leading, -1)


class _Stage(nn.Module):
    """A convolution, half the resolution, and a residual block."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.entry = nn.Conv2d(channels, filters, 3, padding=1)
        self.first = nn.Conv2d(filters, filters, 3, padding=1)
        self.second = nn.Conv2d(filters, filters, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.entry(x), 3, stride=2, padding=1)
        return x + self.second(F.relu(self.first(F.relu(x))))


def rows_of(observation: Features) -> int:
    """B."""
    return len(next(iter(observation.values())) if isinstance(observation, dict) else observation)


def random_crop(image: Tensor, offset: Tensor, padding: int) -> Tensor:
    """Every image (B, …, H, W, C) moved by its row's offset in −padding … padding, its edge repeated (Kostrikov,
    Yarats and Fergus 2020, DrQ, arXiv 2004.13649). The images of an episode move together.

    `offset` (B, 2) is uniform in [0, 1).
    """
    rows, (height, width, channels) = len(image), image.shape[-3:]
    shift = (offset * (2 * padding + 1)).long() - padding
    y = (torch.arange(height, device=image.device) + shift[:, :1]).clamp(0, height - 1)
    x = (torch.arange(width, device=image.device) + shift[:, 1:]).clamp(0, width - 1)
    images = image.reshape(rows, -1, height, width, channels)
    row = torch.arange(rows, device=image.device)[:, None, None, None]
    step = torch.arange(images.shape[1], device=image.device)[:, None, None]
    return images[row, step, y[:, None, :, None], x[:, None, None, :]].view(image.shape)
