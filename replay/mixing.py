"""Batches of logged and fresh transitions: how many of each, and which."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from replay.batch import Request
from replay.drawing import draw
from replay.errors import DataError
from replay.random_words import FRESH, check_address, check_count
from replay.ranges import MOST_STEPS, Range, Share, check_fields, expected, fits, shown
from replay.rows import Rows, concatenate_rows
from replay.view import View

_TRANSITIONS = Request()


@dataclass(frozen=True)
class Mixing:
    """The share of fresh transitions in a batch: fixed, moving along a line, or as many as there are.

    With `share` alone it is fixed: half is the symmetric sampling of RLPD (arXiv 2302.02948). With `final_share` it
    moves there over `steps` gradient steps, as in QT-Opt's joint fine-tuning (arXiv 1806.10293, section 4.4). Without
    either, every transition is equally likely, logged or fresh: one growing buffer, as in AWAC and IQL.
    """

    share: Share | None = None
    final_share: Share | None = None
    steps: Annotated[int, Range(0, MOST_STEPS)] = 0

    def __post_init__(self) -> None:
        check_fields(self, DataError)
        if self.final_share is not None and (self.share is None or self.steps < 1):
            raise DataError("final_share: needs a share to begin with, and at least one step to get there.")

    def share_at(self, step: int, fresh: int, logged: int) -> float:
        """At a gradient step, where there are so many transitions of each kind; whatever is not there gives nothing."""
        if fresh == 0 or logged == 0:
            return float(fresh > 0)
        if self.share is None:
            return fresh / (fresh + logged)
        if self.final_share is None:
            return self.share
        return self.share + (self.final_share - self.share) * min(step / self.steps, 1.0)


def fresh_count(share: float, sequence: int, count: int) -> int:
    """Fresh rows among `count` of batch number `sequence`: over many batches exactly the share, however small."""
    return math.floor(share * count * (sequence + 1)) - math.floor(share * count * sequence)


def draw_mixed(
    logged: View | None,
    fresh: View | None,
    share: float,
    *,
    seed: int,
    sequence: int,
    count: int,
    request: Request = _TRANSITIONS,
) -> Rows:
    """`count` rows, logged ones first, each part as `draw` draws it and from a stream of its own.

    Shards and indices of the fresh ones are numbered behind those of the logged view, as in `view.extended`. Random
    goals of logged rows are logged ones, those of fresh rows fresh ones.
    Raises `DataError` where the share asks for rows of a view that is not there.
    """
    if not fits(share, Share):
        raise DataError(f"share: found {shown(share)}, expected {expected(Share)}.")
    check_count("draw", count)
    check_address(seed, FRESH, sequence)
    new = fresh_count(share, sequence, count)
    parts: list[Rows] = []
    if count > new:
        if logged is None:
            raise DataError(f"share: found {share}, but there are no logs to take the rest from; expected 1.")
        parts.append(draw(logged, seed=seed, sequence=sequence, count=count - new, request=request))
    if new:
        if fresh is None:
            raise DataError(f"share: found {share}, but there are no fresh transitions yet; expected 0.")
        rows = draw(fresh, seed=seed, sequence=sequence, count=new, stream=FRESH, request=request)
        shards, transitions = (0, 0) if logged is None else (len(logged.files), logged.transitions)
        parts.append(_behind(rows, transitions, shards))
    return concatenate_rows(parts)


def _behind(rows: Rows, transitions: int, shards: int) -> Rows:
    """The same rows in a view that so many transitions and shards stand before. What is no transition stays none."""
    return replace(
        rows,
        index=np.where(rows.index < 0, rows.index, rows.index + transitions),
        shard=rows.shard + shards,
        goal=None if rows.goal is None else _behind(rows.goal, transitions, shards),
    )
