"""A small robot to learn about: three numbers seen, two commanded, each in its own range."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from replay.batch import Batch
from replay.spaces import Box, Spaces


@pytest.fixture
def spaces() -> Spaces:
    return Spaces(Box((3,)), Box((2,), low=(-2.0, 0.0), high=(2.0, 1.0)))


@pytest.fixture
def make_batch() -> Callable[..., Batch[np.ndarray]]:
    """`make_batch(count, sequence)`: random transitions with rewards in [0, 1], every fourth of them terminal."""

    def make(count: int = 8, sequence: int = 0) -> Batch[np.ndarray]:
        generator = np.random.default_rng(sequence)
        terminated = (np.arange(count) % 4 == 3).astype(np.uint8)
        return Batch(
            observation=generator.normal(size=(count, 3)).astype(np.float32),
            action=generator.uniform((-2.0, 0.0), (2.0, 1.0), (count, 2)).astype(np.float32),
            reward=generator.uniform(size=count).astype(np.float32),
            discount=np.float32(0.99) * (1 - terminated).astype(np.float32),
            next_observation=generator.normal(size=(count, 3)).astype(np.float32),
            terminated=terminated,
            truncated=np.zeros(count, np.uint8),
            index=np.arange(count),
            key=(0, sequence),
        )

    return make
