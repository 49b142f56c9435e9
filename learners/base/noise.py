"""The noise of a batch: a function of the batch's key and of the row that it is for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from learners.base import randomness
from replay.batch import Batch


class BatchNoise:
    """Noise for the rows of one learner's part of a batch.

    It is drawn for the rows of the whole batch, of which every one of several learners takes its own.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.rank, self.world = 0, 1

    def distribute(self, rank: int, world: int) -> None:
        """From now on batches are the `rank`-th of `world` equal parts."""
        self.rank, self.world = rank, world

    def normal(self, batch: Batch[Any], purpose: str, shape: tuple[int, ...], width: int) -> Tensor:
        """Standard normal noise (*shape, B, width), float32."""
        return self._rows(randomness.normal, batch, purpose, shape, width)

    def uniform(self, batch: Batch[Any], purpose: str, shape: tuple[int, ...], width: int) -> Tensor:
        """Uniform noise in [0, 1), (*shape, B, width), float32."""
        return self._rows(randomness.uniform, batch, purpose, shape, width)

    def uniform_of_batch(self, batch: Batch[Any], purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Uniform noise in [0, 1), of that very shape: the same for every row and in every learner."""
        return randomness.uniform(batch.key, purpose, shape, self._device)

    def _rows(
        self, draw: Callable[..., Tensor], batch: Batch[Any], purpose: str, shape: tuple[int, ...], width: int
    ) -> Tensor:
        count = len(batch)
        noise = draw(batch.key, purpose, (*shape, count * self.world, width), self._device)
        return noise.narrow(-2, self.rank * count, count) if self.world > 1 else noise
