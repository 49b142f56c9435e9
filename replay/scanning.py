"""The ordered pass over a whole view: for statistics, closed-form methods, evaluation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from replay.batch import Batch, Request
from replay.gather.store import Store
from replay.random_words import check_count
from replay.rows import Rows
from replay.view import View, located


def scan(view: View, store: Store, request: Request, count: int) -> Iterator[Batch[np.ndarray]]:
    """Batches of `count` (the last may be smaller), in the order of the view, with key (0, 0), (0, 1), …

    Every transition is met once: as a start of its own, as a step of one window (windows follow each
    other without overlap from the start of each episode), or in its episode. Weights of a view are
    ignored. Raises `DataError` as `Store.gather` does.
    """
    check_count("scan", count)
    return _batches(view, store, request, count)


def _batches(view: View, store: Store, request: Request, count: int) -> Iterator[Batch[np.ndarray]]:
    if request.kind == "transitions":
        total = view.transitions
    else:
        stride = request.length if request.kind == "windows" else 1 << 62
        # Windows per episode, rounded up; and the first window of each.
        pieces = -(-view.length // stride)
        first = np.concatenate([[0], np.cumsum(pieces)])
        total = int(first[-1])
    for number, start in enumerate(range(0, total, count)):
        place = np.arange(start, min(start + count, total))
        if request.kind == "transitions":
            rows = located(view, place)
        else:
            episode = np.searchsorted(first[1:], place, "right")
            step = (place - first[episode]) * stride
            rows = Rows(
                view.starts[episode] + step,
                view.shard[episode],
                view.first_row[episode] + step,
                view.length[episode] - step,
                step,
            )
        yield store.gather(rows, request, (0, number))
