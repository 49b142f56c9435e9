"""The noise of a batch: a function of the batch's key and, where there are several learners, of each row."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from learners.base import randomness
from replay.batch import Batch


class BatchNoise:
    """Noise for the rows of one learner's batches.

    A learner that is alone draws the noise of a batch at once. One of several (`distribute`) draws for each row on its
    own, at the row's place in the whole batch, so that a row has the same noise however many learners share the batch,
    and none draws for the rows of another. Both are addressed by the batch's key, but they are different numbers.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._rank: int | None = None

    def distribute(self, rank: int) -> None:
        """From now on every batch is the `rank`-th of equal parts of a whole one."""
        self._rank = rank

    def normal(self, batch: Batch[Any], purpose: str, shape: tuple[int, ...], width: int) -> Tensor:
        """Standard normal noise (*shape, B, width), float32."""
        if self._rank is None:
            return randomness.normal(batch.key, purpose, (*shape, len(batch), width), self._device)
        return randomness.normal_of_rows(batch.key, purpose, self._rows(batch), shape, width, self._device)

    def uniform(self, batch: Batch[Any], purpose: str, shape: tuple[int, ...], width: int) -> Tensor:
        """Uniform noise in [0, 1), (*shape, B, width), float32."""
        if self._rank is None:
            return randomness.uniform(batch.key, purpose, (*shape, len(batch), width), self._device)
        return randomness.uniform_of_rows(batch.key, purpose, self._rows(batch), shape, width, self._device)

    def uniform_of_batch(self, batch: Batch[Any], purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Uniform noise in [0, 1), of that very shape: the same for every row and in every learner."""
        return randomness.uniform(batch.key, purpose, shape, self._device)

    def _rows(self, batch: Batch[Any]) -> range:
        """Where the rows of this learner are in the whole batch."""
        assert self._rank is not None
        return range(self._rank * len(batch), (self._rank + 1) * len(batch))
