"""From a plan to its result: actors first, then the last checks, and only then the run's folder and the loop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from cluster import checkpoint
from cluster.actors import Actors, OnlineSpec
from cluster.backends.backend import LearnerDiedError
from cluster.backends.placement import make_backend
from cluster.build import AlgorithmSpec
from cluster.checkpoint import Checkpoint
from cluster.checks import check_actors, check_same_machine
from cluster.claim import Claim
from cluster.errors import RunError
from cluster.options import Cadence, Recipe, Topology
from cluster.restarts import RunResult, run_with_restarts
from cluster.resume import identity, machines
from cluster.roles.evaluator import EvaluationSpec
from cluster.source import Source
from replay.batch import Request
from replay.view import View


@dataclass(frozen=True)
class Plan:
    """A run, once every check has passed that needs no actors."""

    recipe: Recipe
    topology: Topology
    cadence: Cadence
    algorithm: AlgorithmSpec
    request: Request
    """What its batches hold."""
    view: View
    """What the shard actors serve."""
    evaluation: EvaluationSpec | None
    config: dict[str, Any]
    """`config.json`, but for the machine: that is the learner's, which is not there yet."""
    start: Checkpoint | None
    """Where it begins; None: at the algorithm's own beginning."""
    online: OnlineSpec | None = None


def execute(
    plan: Plan,
    claim: Claim,
    console: Console,
    *,
    source: Callable[[Actors], AbstractContextManager[Source]],
    prepare: Callable[[Actors], None],
) -> RunResult:
    """Start the actors, check them, write the configuration, and run the loop to its end.

    `source` opens where the rows come from, once the run has begun. `prepare` tells a new learner what it needs
    besides. Whatever is refused, fails or is interrupted before the configuration is written leaves nothing behind.
    """
    recipe, topology, folder = plan.recipe, plan.topology, claim.folder
    backend = make_backend(recipe, topology, plan.view, plan.evaluation is not None, online=plan.online is not None)
    try:
        try:
            actors = Actors(
                backend, plan.algorithm, recipe, topology, plan.view, plan.request, plan.evaluation, plan.online
            )
            machine = check_actors(actors, allow_mixed=topology.allow_mixed)
            step = 0 if plan.start is None else plan.start.step
            where = folder.config
            history = machines(where, claim.before, step, machine, allow_mixed=topology.allow_mixed)
            prepare(actors)
        except LearnerDiedError as error:
            raise RunError(
                f"{folder.path}: an actor died before the run began ({error}). Find out why (memory?), then give the "
                "same command again."
            ) from error
        claim.begin({**plan.config, "id": identity(claim.before), "machine": machine, "machines": history})
        if plan.start is not None:
            checkpoint.cut_back(folder.checkpoints, plan.start)
        with source(actors) as rows:
            renew = _Renewal(actors, machine, prepare, allow_mixed=topology.allow_mixed)
            return run_with_restarts(
                actors, rows, recipe, topology, plan.cadence, folder, plan.start, console, prepare=renew
            )
    finally:
        backend.stop()


class _Renewal:
    """Prepares each learner but the first, which is prepared, and refuses one on another kind of machine."""

    def __init__(
        self, actors: Actors, machine: dict[str, str], prepare: Callable[[Actors], None], *, allow_mixed: bool
    ) -> None:
        self._actors, self._machine, self._prepare, self._allow_mixed = actors, machine, prepare, allow_mixed
        self._first = True

    def __call__(self) -> None:
        if not self._first:
            check_same_machine(self._actors, self._machine, allow_mixed=self._allow_mixed)
            self._prepare(self._actors)
        self._first = False
