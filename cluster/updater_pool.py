"""The Bellman updaters as the driver sees them: who is asked for what, and who is late."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cluster.backends.backend import Actor, Backend, Reference


@dataclass(frozen=True)
class _Try:
    """One updater's answer, which is there or will be."""

    updater: int
    answer: list[Reference]
    since: float


@dataclass
class PendingLabels:
    """A call in flight that any updater can answer: at one of them, and, where that one is late, at a second, too."""

    method: str
    arguments: tuple[Any, ...]
    returns: int
    tries: list[_Try] = field(default_factory=list)


class UpdaterPool:
    """Asks the updater with the least to do, and another one where it is late. Whose answer is taken does not matter:
    it is the same."""

    def __init__(self, updaters: Sequence[Actor], backend: Backend, *, late_seconds: float) -> None:
        self._updaters, self._backend, self._late = updaters, backend, late_seconds
        self._pending: list[PendingLabels] = []
        self._owed: list[_Try] = []
        """Of calls that another updater has answered."""
        self._durations: deque[float] = deque(maxlen=50)
        self.answered_by = [0] * len(updaters)
        """Calls of which each updater's answer was taken."""

    def ask(self, method: str, *arguments: Any, returns: int = 1) -> PendingLabels:
        pending = PendingLabels(method, arguments, returns)
        self._try(pending, self._freest(()))
        self._pending.append(pending)
        return pending

    def answer(self, pending: PendingLabels, meanwhile: Callable[[], None]) -> list[Reference]:
        """References to its results, from whichever updater answers first. While it waits, it calls `meanwhile`."""
        while True:
            patience = self._late
            if self._durations:
                patience = max(patience, 3.0 * float(np.median(self._durations)))
            ready = self._backend.wait([attempt.answer[0] for attempt in pending.tries], patience)
            for attempt in pending.tries:
                if any(attempt.answer[0] is found for found in ready):
                    self._durations.append(time.monotonic() - attempt.since)
                    self.answered_by[attempt.updater] += 1
                    self._owed += [other for other in pending.tries if other is not attempt]
                    self._pending.remove(pending)
                    return attempt.answer
            meanwhile()
            tried = tuple(attempt.updater for attempt in pending.tries)
            if len(tried) < len(self._updaters):
                self._try(pending, self._freest(tried))

    def _try(self, pending: PendingLabels, updater: int) -> None:
        answer = self._backend.call(
            self._updaters[updater], pending.method, *pending.arguments, returns=pending.returns
        )
        answers = [answer] if pending.returns == 1 else list(answer)
        pending.tries.append(_Try(updater, answers, time.monotonic()))

    def _freest(self, excluded: tuple[int, ...]) -> int:
        """The updater with the fewest calls under way; among equals, the one whose answers were taken least often.

        One that still owes an answer that somebody else gave comes last: it may be swapping, or cut off.
        """
        self._owed = [attempt for attempt in self._owed if not self._backend.wait([attempt.answer[0]], 0.0)]
        owing = [attempt.updater for attempt in self._owed]
        busy = [attempt.updater for pending in self._pending for attempt in pending.tries]
        candidates = [number for number in range(len(self._updaters)) if number not in excluded]
        return min(candidates, key=lambda n: (owing.count(n), busy.count(n), self.answered_by[n], n))
