"""A small robot to learn about: three numbers seen, two commanded, each in its own range."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from replay.batch import Batch, Request
from replay.spaces import Box, Spaces
from tests.learners.batches import random_batch


@pytest.fixture
def spaces() -> Spaces:
    return Spaces(Box((3,)), Box((2,), low=(-2.0, 0.0), high=(2.0, 1.0)))


@pytest.fixture
def make_batch(spaces: Spaces) -> Callable[..., Batch[np.ndarray]]:
    """`make_batch(count, sequence)`: random transitions with rewards in [0, 1], every fourth of them terminal."""

    def make(count: int = 8, sequence: int = 0) -> Batch[np.ndarray]:
        return random_batch(spaces, Request(), count, sequence)

    return make
