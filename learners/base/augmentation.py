"""What a gradient step changes at random about its batch and its networks: crops of pictures and dropout's masks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from learners.base.noise import BatchNoise
from learners.networks.dropout import dropouts_of
from learners.networks.encoders import Features, random_crop
from replay.batch import Batch


class Crops:
    """Moves every picture of a batch by a few pixels, each row by its own."""

    def __init__(self, noise: BatchNoise, images: Iterable[str], padding: int) -> None:
        """`images` are the names of pictures in `Features`; `padding` is how many pixels they are moved at most."""
        self._noise = noise
        self._images = tuple(images)
        self._padding = padding

    def __call__(self, observation: Features, batch: Batch[Any], purpose: str) -> Features:
        if not self._padding or not isinstance(observation, dict):
            return observation
        changed: dict[str, Tensor] = {}
        for name in self._images:
            noise = self._noise.uniform(batch, f"crop/{purpose}/{name}", (), 2)
            changed[name] = random_crop(observation[name], noise, self._padding)
        return observation | changed


class DropoutMasks:
    """The dropout layers of the trained networks, which drop units while a loss is computed and at no other time."""

    def __init__(self, noise: BatchNoise, trained: Iterable[nn.Module]) -> None:
        self._noise = noise
        self._layers = dropouts_of(trained)

    def begin(self, batch: Batch[Any]) -> None:
        """Draw the masks of one step."""
        for number, layer in enumerate(self._layers):

            def noise(width: int, purpose: str = f"dropout/{number}") -> Tensor:
                return self._noise.uniform(batch, purpose, (), width)

            layer.refill(noise)
            layer.active = True

    def end(self) -> None:
        for layer in self._layers:
            layer.active = False

    def masks(self) -> list[Tensor]:
        return [layer.mask for layer in self._layers]
