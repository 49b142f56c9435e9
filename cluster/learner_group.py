"""One learner, or several that share every batch: seen by the loop as one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from cluster.backends.backend import Actor, Backend, LearnerDiedError, Reference
from cluster.build import AlgorithmSpec
from cluster.errors import RunError
from cluster.options import Recipe, Role
from cluster.roles.learner import Learner
from replay.view import View

DEATH_TIMEOUT = 30.0
"""Seconds for the death of a rank to become known, after another's reduction failed."""


class LearnerGroup:
    """Rank 0 answers for all: with averaged gradients, every rank holds the same parameters.

    A rank waits in its reductions for one that is gone, perhaps for half an hour. So whoever waits for rank 0 looks at
    the others, too.
    """

    def __init__(self, backend: Backend, spec: AlgorithmSpec, recipe: Recipe, role: Role, view: View | None) -> None:
        self._backend = backend
        self._unanswered: list[Reference] = []
        """Reports of chunks that the ranks have, where there are several."""
        self._actors: list[Actor] = [
            backend.start(
                f"learner-{rank}", Learner, role, spec, recipe, recipe.device, view, role.count, restartable=False
            )
            for rank in range(role.count)
        ]
        if role.count > 1:
            meeting = backend.call(self._actors[0], "meeting_point")
            self._all([backend.call(actor, "join", n, role.count, meeting) for n, actor in enumerate(self._actors)])

    def train(self, method: str, chunk: int, *arguments: Any) -> tuple[Reference, Reference]:
        """References to the chunk's report and to the weights published after it."""
        calls = [self._backend.call(actor, method, chunk, *arguments, returns=2) for actor in self._actors]
        if len(self._actors) > 1:
            self._unanswered += [report for report, _ in calls]
        return calls[0][0], calls[0][1]

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
            if len(self._actors) > 1:
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
