"""Drawing: which transitions a step sees. A pure function of (seed, stream, sequence).

Random words come from Philox, whose raw output never changes between versions of NumPy; the counter
holds the address, so that no draw depends on what was drawn before. A lost or repeated draw is
harmless, and resuming a run takes one integer.
"""

from __future__ import annotations

import threading
from typing import Annotated, Any

import numpy as np

from replay.batch import Kind
from replay.errors import DataError
from replay.memory import require
from replay.ranges import Range, fits, shown
from replay.rows import Rows
from replay.view import View, located

TRAIN, VALIDATION, PROBE, REUSE, PRIORITY, FRESH, STARTS, IMAGINED = range(8)
"""Streams: independent sequences of the same seed."""

_UNIT = 2.0**-53
_LARGEST = (1 << 63) - 1
"""Of a seed or a sequence number."""
_STREAMS = 1 << 16
_MOST = 1 << 40
"""Transitions in a draw: more than any machine holds."""
_FEW = 1 << 20
"""Transitions that are drawn without asking whether there is memory for them."""
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
    return (words(seed, stream, sequence, count) >> 11) * _UNIT


def check_address(seed: Any, stream: Any, sequence: Any) -> None:
    """Raises `DataError` for what is no address of random words."""
    for name, value, most in (("seed", seed, _LARGEST), ("stream", stream, _STREAMS), ("sequence", sequence, _LARGEST)):
        if not (type(value) is int and 0 <= value <= most):  # which says the same in a tenth of the time
            _check_whole(name, value, 0, most)


def check_count(what: str, count: Any) -> None:
    """Raises `DataError` for no number of transitions, and for one that memory cannot hold."""
    if not (type(count) is int and 1 <= count <= _FEW):
        _check_whole(f"{what}: count", count, 1, _MOST)
        if count > _FEW:
            require(_DRAWN_BYTES * int(count), f"{what}: count", f"a draw of {count:,}", "ask for fewer at once.")


def _check_whole(name: str, value: Any, least: int, most: int) -> None:
    if not fits(value, Annotated[int, Range(least, most)]):
        raise DataError(f"{name}: found {shown(value)}, expected a whole number from {least} to {most}.")


def draw(
    view: View,
    *,
    seed: int,
    sequence: int,
    count: int,
    stream: int = TRAIN,
    shards_per_draw: int | None = None,
    kind: Kind = "transitions",
) -> Rows:
    """`count` transitions, with replacement, sorted by index so that memory is walked forward.

    Every transition is equally likely; in a weighted view, every transition of the same dataset. With
    `shards_per_draw`, they come from that many shards, chosen (with replacement) in proportion to
    their transitions, so that the probability of each transition stays the same and only the
    transitions of one draw become dependent. Where `kind` is episodes, they are the first of so many episodes.
    """
    check_count("draw", count)
    if view.transitions == 0:
        raise DataError("draw: the view has no transitions; it is one for gathering only (`view.extended`).")
    if kind == "episodes":
        if shards_per_draw is not None:
            raise DataError(f"shards_per_draw: found {shards_per_draw}, but whole episodes are drawn from all shards.")
        return draw_episodes(view, seed=seed, sequence=sequence, count=count, stream=stream)
    if shards_per_draw is not None:
        _check_whole("shards_per_draw", shards_per_draw, 1, _FEW)
        index = _few_shards(view, uniforms(seed, stream, sequence, shards_per_draw + 2 * count), shards_per_draw)
    elif view.weighted:
        index = _weighted(uniforms(seed, stream, sequence, 2 * count), view.shares, view.member_starts)
    else:
        index = _scale(words(seed, stream, sequence, count), view.transitions)
    return located(view, _ordered(index, view.transitions))


def draw_episodes(view: View, *, seed: int, sequence: int, count: int, stream: int = TRAIN) -> Rows:
    """The first steps of `count` episodes, with replacement, each equally likely (in a weighted view: among
    those of its dataset), sorted."""
    check_count("draw", count)
    if view.weighted:
        bounds = np.searchsorted(view.dataset, np.arange(len(view.members) + 1))
        episode = _weighted(uniforms(seed, stream, sequence, 2 * count), view.shares, bounds)
    else:
        episode = _scale(words(seed, stream, sequence, count), view.episodes)
    episode.sort()
    first = np.zeros_like(episode)
    return Rows(view.starts[episode], view.shard[episode], view.first_row[episode], view.length[episode], first)


def _scale(raw: np.ndarray, total: int) -> np.ndarray:
    """int64 in [0, total), from raw words. Below the total even after rounding: the largest number, 1 - 2^-53, is
    at least half a unit away from one."""
    raw >>= 11
    number = raw.astype(np.float64)
    number *= total * _UNIT
    return number.astype(np.int64)


def _ordered(index: np.ndarray, total: int) -> np.ndarray:
    """Sorted; numbers of half the width take half the time."""
    if total <= 1 << 32:
        narrow = index.astype(np.uint32)
        narrow.sort()
        return narrow.astype(np.int64)
    index.sort()
    return index


def _weighted(uniform: np.ndarray, shares: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """A member by the first half of the numbers, a position within it by the second."""
    count = len(uniform) // 2
    member = _choose(uniform[:count], shares)
    size = starts[1:] - starts[:-1]
    return starts[member] + (uniform[count:] * size[member]).astype(np.int64)


def _few_shards(view: View, uniform: np.ndarray, shards: int) -> np.ndarray:
    count = (len(uniform) - shards) // 2
    size = np.diff(view.shard_starts)
    mass = size.astype(np.float64)
    if view.weighted:
        member_size = np.diff(view.member_starts)
        for number, member in enumerate(view.members):
            mass[slice(*member.shards)] *= member.share / member_size[number]
    chosen = _choose(uniform[:shards], mass)
    shard = chosen[(uniform[shards : shards + count] * shards).astype(np.int64)]
    return view.shard_starts[shard] + (uniform[shards + count :] * size[shard]).astype(np.int64)


def _choose(uniform: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Positions in proportion to `mass`; one of no mass is never chosen."""
    edges = np.cumsum(mass)
    chosen = np.searchsorted(edges, uniform * edges[-1], "right")
    return np.minimum(chosen, np.flatnonzero(mass)[-1])
