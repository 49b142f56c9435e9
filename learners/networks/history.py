"""What networks read where observations come with those before them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from learners.networks.encoders import VECTOR, Features
from learners.networks.normaliser import Normaliser


@dataclass(frozen=True)
class History:
    """`steps` observations before the present one are read beside it: numbers joined to one vector, pictures along
    their channels, oldest first. Behind the numbers stands which of the steps there are."""

    steps: int

    def images(self, normaliser: Normaliser) -> dict[str, tuple[int, ...]]:
        """(height, width, channels) of what networks read."""
        return {name: (*shape[:2], shape[2] * (self.steps + 1)) for name, shape in normaliser.images.items()}

    def vector_size(self, normaliser: Normaliser) -> int:
        frames = self.steps + 1
        return normaliser.vector_size * frames + (frames if self.steps else 0)

    def joined(self, observation: Features, mask: Tensor) -> Features:
        """Normalised observations (B, H + 1, ...) as networks read them, (B, ...); `mask` is (B, H + 1)."""
        present = mask.to(torch.float32)
        if isinstance(observation, Tensor):
            return torch.cat([observation.flatten(1), present], dim=-1)
        found = {name: _stacked(part) for name, part in observation.items() if name != VECTOR}
        vector = observation.get(VECTOR)
        found[VECTOR] = present if vector is None else torch.cat([vector.flatten(1), present], dim=-1)
        return found


def _stacked(image: Tensor) -> Tensor:
    """(B, T, height, width, channels) → (B, height, width, T·channels)."""
    return image.permute(0, 2, 3, 1, 4).flatten(3)
