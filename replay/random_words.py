"""Random words at an address: a pure function of (seed, stream, sequence), and choices made by them.

They come from Philox, whose raw output never changes between versions of NumPy; the counter holds the address, so
that no draw depends on what was drawn before. A lost or repeated draw is harmless, and resuming a run takes one
integer.
"""

from __future__ import annotations

import threading
from typing import Annotated, Any

import numpy as np

from replay.errors import DataError
from replay.memory import require
from replay.ranges import Range, fits, shown

TRAIN, VALIDATION, PROBE, REUSE, PRIORITY, FRESH, STARTS, IMAGINED = range(8)
"""Streams: independent sequences of the same seed."""
GOALS, TASKS = 1 << 8, 2 << 8
"""Added to the stream of a draw: that of its goals, and that of its tasks."""

UNIT = 2.0**-53
FEW = 1 << 20
"""Transitions that are drawn without asking whether there is memory for them."""
_LARGEST = (1 << 63) - 1
"""Of a seed or a sequence number."""
_STREAMS = 1 << 16
_MOST = 1 << 40
"""Transitions in a draw: more than any machine holds."""
_DRAWN_BYTES = 100
"""Of memory for each transition while it is drawn."""


class _Generator(threading.local):
    """One Philox per thread. Setting its state takes a quarter of the time of making one; nothing of it
    outlives a call, since every call sets all of the state."""

    def __init__(self) -> None:
        self.philox = np.random.Philox(0)
        self.state = self.philox.state
        self.state["buffer_pos"] = 4  # the buffer is empty
        self.key = self.state["state"]["key"]
        self.counter = self.state["state"]["counter"]
        self.counter[:] = 0


_generator = _Generator()


def words(seed: int, stream: int, sequence: int, count: int) -> np.ndarray:
    """uint64 (count,): the raw words at address (seed, stream, sequence). Longer draws begin with shorter ones. Raises
    `DataError` for a seed or a sequence number that is none."""
    check_address(seed, stream, sequence)
    generator = _generator
    generator.key[0] = seed
    generator.key[1] = stream
    generator.counter[2] = sequence
    generator.philox.state = generator.state
    return generator.philox.random_raw(count)


def uniforms(seed: int, stream: int, sequence: int, count: int) -> np.ndarray:
    """float64 (count,) in [0, 1): the top 53 bits of each word."""
    return (words(seed, stream, sequence, count) >> 11) * UNIT


def choose(uniform: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Positions in proportion to `mass`; one of no mass is never chosen."""
    edges = np.cumsum(mass)
    chosen = np.searchsorted(edges, uniform * edges[-1], "right")
    return np.minimum(chosen, np.flatnonzero(mass)[-1])


def check_address(seed: Any, stream: Any, sequence: Any) -> None:
    """Raises `DataError` for what is no address of random words."""
    if (
        type(seed) is type(stream) is type(sequence) is int
        and 0 <= seed <= _LARGEST
        and 0 <= stream <= _STREAMS
        and 0 <= sequence <= _LARGEST
    ):
        return  # which says the same in a tenth of the time
    for name, value, most in (("seed", seed, _LARGEST), ("stream", stream, _STREAMS), ("sequence", sequence, _LARGEST)):
        check_whole(name, value, 0, most)


def check_count(what: str, count: Any) -> None:
    """Raises `DataError` for no number of transitions, and for one that memory cannot hold."""
    if not (type(count) is int and 1 <= count <= FEW):
        check_whole(f"{what}: count", count, 1, _MOST)
        if count > FEW:
            require(_DRAWN_BYTES * int(count), f"{what}: count", f"a draw of {count:,}", "ask for fewer at once.")


def check_whole(name: str, value: Any, least: int, most: int) -> None:
    """Raises `DataError` unless the value is a whole number from `least` to `most`."""
    if not fits(value, Annotated[int, Range(least, most)]):
        raise DataError(f"{name}: found {shown(value)}, expected a whole number from {least} to {most}.")
