"""One learner, or several, each of which has its rows of every batch: seen by the loop as one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from cluster.actor_plan import PlannedActor
from cluster.backends.backend import Actor, Backend, LearnerDiedError, Reference
from cluster.errors import RunError
from cluster.gathered import Gathered

DEATH_TIMEOUT = 30.0
"""Seconds for the death of a rank to become known, after another's reduction failed."""


class LearnerGroup:
    """Rank 0 answers for all: with averaged gradients, every rank holds the same parameters.

    A rank waits in its reductions for one that is gone, perhaps for half an hour. So whoever waits for rank 0 looks at
    the others, too.
    """

    def __init__(self, backend: Backend, planned: Sequence[PlannedActor]) -> None:
        self._backend = backend
        self._unanswered: list[Reference] = []
        """Reports of chunks that the ranks have, where there are several."""
        self._actors: list[Actor] = [
            backend.start(actor.name, actor.role, *actor.arguments, restartable=actor.restartable) for actor in planned
        ]
        if self.count > 1:
            meeting = backend.call(self._actors[0], "meeting_point")
            self._all([backend.call(actor, "join", n, self.count, meeting) for n, actor in enumerate(self._actors)])

    @property
    def count(self) -> int:
        return len(self._actors)

    def train(self, chunk: int, labelled: Sequence[Reference]) -> tuple[Reference, Reference]:
        """Each rank trains on its labelled rows of a chunk. References to the report, and to the weights after it."""
        calls = [
            self._backend.call(actor, "train", chunk, rows, returns=2)
            for actor, rows in zip(self._actors, labelled, strict=True)
        ]
        self._expect([report for report, _ in calls])
        return calls[0][0], calls[0][1]

    def train_fused(self, chunk: int, gathered: Sequence[Gathered]) -> Reference:
        """Each rank trains on its rows of a chunk, by its own labels: a reference to the report. No weights travel."""
        reports = [
            self._backend.call(actor, "train_fused", chunk, rows.assembly, *rows.parts)
            for actor, rows in zip(self._actors, gathered, strict=True)
        ]
        self._expect(reports)
        return reports[0]

    def _expect(self, reports: Sequence[Reference]) -> None:
        if self.count > 1:
            self._unanswered += reports

    def ask(self, method: str, *arguments: Any) -> Reference:
        """A reference to rank 0's answer."""
        return self._backend.call(self._actors[0], method, *arguments)

    def get(self, reference: Reference) -> Any:
        """The value of rank 0's answer. Raises `LearnerDiedError` once any rank is dead."""
        while self._unanswered and not _contains(self._look([reference], None), reference):
            pass
        return self._answer(reference)

    def check(self) -> None:
        """Raises `LearnerDiedError` where a rank is known to be dead."""
        if self._unanswered:
            self._look([], 0.0)

    def tell(self, method: str, *arguments: Any) -> None:
        """The same call to every rank, done before this returns."""
        self._all([self._backend.call(actor, method, *arguments) for actor in self._actors])

    def stop(self) -> None:
        self._backend.end(self._actors)

    def _all(self, references: Sequence[Reference]) -> None:
        """Wait for all of them, or for the first that fails."""
        while references:
            ready = self._backend.wait(references, None)
            references = [reference for reference in references if not _contains(ready, reference)]
            for reference in ready:
                self._answer(reference)

    def _look(self, references: Sequence[Reference], timeout: float | None) -> list[Reference]:
        """Those that are ready. Raises the errors of chunks."""
        other = [reference for reference in references if not _contains(self._unanswered, reference)]
        ready = self._backend.wait([*other, *self._unanswered], timeout)
        done = [reference for reference in self._unanswered if _contains(ready, reference)]
        self._unanswered = [reference for reference in self._unanswered if not _contains(ready, reference)]
        for reference in done:
            self._answer(reference)
        return ready

    def _answer(self, reference: Reference) -> Any:
        """The value, or its error: where another rank's death brought that about, `LearnerDiedError`."""
        try:
            return self._backend.get(reference)
        except (LearnerDiedError, RunError):
            raise
        except RuntimeError:
            if self.count > 1:
                self._await_death()
            raise

    def _await_death(self) -> None:
        """Raises `LearnerDiedError` once a rank turns out to be dead, soon after a reduction failed."""
        answers = [self._backend.call(actor, "fingerprint") for actor in self._actors]
        deadline = time.monotonic() + DEATH_TIMEOUT
        while answers and (left := deadline - time.monotonic()) > 0:
            ready = self._backend.wait(answers, left)
            answers = [answer for answer in answers if not _contains(ready, answer)]
            for answer in ready:
                self._backend.get(answer)


def _contains(references: Sequence[Reference], one: Reference) -> bool:
    return any(one is reference for reference in references)
