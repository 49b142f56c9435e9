"""One learner, or several that share every batch: seen by the loop as one."""

from __future__ import annotations

from typing import Any

from cluster.backend import Actor, Backend, Reference
from cluster.build import AlgorithmSpec
from cluster.learner import Learner
from cluster.options import Recipe, Role
from replay.view import View


class LearnerGroup:
    """Rank 0 answers for all: with averaged gradients, every rank holds the same parameters."""

    def __init__(self, backend: Backend, spec: AlgorithmSpec, recipe: Recipe, role: Role, view: View | None) -> None:
        self._backend = backend
        self._actors: list[Actor] = [
            backend.start(f"learner-{rank}", Learner, role, spec, recipe, recipe.device, view, restartable=False)
            for rank in range(role.count)
        ]
        if role.count > 1:
            meeting = backend.call(self._actors[0], "meeting_point")
            joined = [backend.call(actor, "join", rank, role.count, meeting) for rank, actor in enumerate(self._actors)]
            for reference in joined:
                backend.get(reference)

    def train(self, method: str, chunk: int, *arguments: Any) -> tuple[Reference, Reference]:
        """References to the chunk's report and to the weights published after it."""
        calls = [self._backend.call(actor, method, chunk, *arguments, returns=2) for actor in self._actors]
        return calls[0][0], calls[0][1]

    def ask(self, method: str, *arguments: Any) -> Reference:
        """A reference to rank 0's answer."""
        return self._backend.call(self._actors[0], method, *arguments)

    def tell(self, method: str, *arguments: Any) -> None:
        """The same call to every rank, done before this returns."""
        for reference in [self._backend.call(actor, method, *arguments) for actor in self._actors]:
            self._backend.get(reference)

    def stop(self) -> None:
        self._backend.end(self._actors)
