"""Drawing: which transitions a step sees, as which tasks and towards which goals. A pure function of (seed, stream,
sequence)."""

from __future__ import annotations

import numpy as np

from replay.batch import Request
from replay.draw_goals import with_goals
from replay.draw_tasks import balanced, with_tasks
from replay.errors import DataError
from replay.random_words import FEW, TRAIN, UNIT, check_count, check_whole, choose, uniforms, words
from replay.rows import Rows
from replay.view import View, located

_TRANSITIONS = Request()


def draw(
    view: View,
    *,
    seed: int,
    sequence: int,
    count: int,
    stream: int = TRAIN,
    shards_per_draw: int | None = None,
    request: Request = _TRANSITIONS,
) -> Rows:
    """`count` transitions, with replacement, sorted by index so that memory is walked forward.

    Every transition is equally likely; in a weighted view, every transition of the same dataset. With
    `shards_per_draw`, they come from that many shards, chosen (with replacement) in proportion to
    their transitions, so that the probability of each transition stays the same and only the
    transitions of one draw become dependent. Where the request is for episodes, they are the first of so many episodes.

    What the request says of tasks and goals is drawn with them, from streams of their own: the same transitions are
    drawn with and without, unless tasks are balanced. Raises `DataError` for what the view cannot give.
    """
    check_count("draw", count)
    if view.transitions == 0:
        raise DataError("draw: the view has no transitions; it is one for gathering only (`view.extended`).")
    chosen: np.ndarray | None = None
    if request.kind == "episodes":
        if shards_per_draw is not None:
            raise DataError(f"shards_per_draw: found {shards_per_draw}, but whole episodes are drawn from all shards.")
        rows = draw_episodes(view, seed=seed, sequence=sequence, count=count, stream=stream)
    else:
        if shards_per_draw is not None:
            check_whole("shards_per_draw", shards_per_draw, 1, FEW)
        if request.tasks is not None and request.tasks.balance:
            if shards_per_draw is not None:
                raise DataError(
                    f"shards_per_draw: found {shards_per_draw}, but balanced tasks are drawn from all shards."
                )
            index = balanced(view, request.tasks, uniforms(seed, stream, sequence, 2 * count))
        elif shards_per_draw is not None:
            uniform = uniforms(seed, stream, sequence, shards_per_draw + 2 * count)
            chosen = choose(uniform[:shards_per_draw], _shard_mass(view))
            index = _within_shards(view, chosen, uniform[shards_per_draw:])
        elif view.weighted:
            index = _weighted(uniforms(seed, stream, sequence, 2 * count), view.shares, view.member_starts)
        else:
            index = _scale(words(seed, stream, sequence, count), view.transitions)
        rows = located(view, _ordered(index, view.transitions))
    if request.tasks is None and request.goals is None:
        return rows
    return as_asked(view, rows, request, seed=seed, stream=stream, sequence=sequence, shards=chosen)


def as_asked(
    view: View,
    rows: Rows,
    request: Request,
    *,
    seed: int,
    stream: int,
    sequence: int,
    shards: np.ndarray | None = None,
) -> Rows:
    """Rows drawn at an address, with the tasks and goals that belong there. `shards` are those that the draw keeps to.

    Raises `DataError` for what the view cannot give.
    """
    if request.tasks is not None:
        rows = with_tasks(view, rows, request.tasks, seed=seed, stream=stream, sequence=sequence)
    if request.goals is not None:
        rows = with_goals(view, rows, request.goals, seed=seed, stream=stream, sequence=sequence, shards=shards)
    return rows


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
    number *= total * UNIT
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
    member = choose(uniform[:count], shares)
    size = starts[1:] - starts[:-1]
    return starts[member] + (uniform[count:] * size[member]).astype(np.int64)


def _shard_mass(view: View) -> np.ndarray:
    """float64 (S,): the probability of each shard, up to a factor."""
    mass = np.diff(view.shard_starts).astype(np.float64)
    if view.weighted:
        member_size = np.diff(view.member_starts)
        for number, member in enumerate(view.members):
            mass[slice(*member.shards)] *= member.share / member_size[number]
    return mass


def _within_shards(view: View, shards: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """One of these shards by the first half of the numbers, a transition of it by the second."""
    count = len(uniform) // 2
    shard = shards[(uniform[:count] * len(shards)).astype(np.int64)]
    return view.shard_starts[shard] + (uniform[count:] * np.diff(view.shard_starts)[shard]).astype(np.int64)
