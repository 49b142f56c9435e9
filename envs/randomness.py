"""NumPy's global generator, lent to code that draws from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.random import mtrand


class LegacyRandomness:
    """A private state for `np.random.uniform` and its like.

    OGBench's environments and oracles draw from NumPy's global generator, which `reset(seed=…)` does
    not seed, and which all environments of a process would share. Inside `lent()` that generator is
    this one, and nothing drawn there moves the caller's.
    """

    def __init__(self, *seed: int) -> None:
        self._bits = np.random.MT19937(np.random.SeedSequence(seed))

    @contextmanager
    def lent(self) -> Iterator[None]:
        # Swapping bit generators takes under a microsecond; get_state and set_state take 70.
        outer = mtrand.get_bit_generator()
        mtrand.set_bit_generator(self._bits)
        try:
            yield
        finally:
            mtrand.set_bit_generator(outer)
