"""From a run to its result: actors first, then the last checks, and only then the run's folder and the loop."""

from __future__ import annotations

from collections.abc import Callable

from cluster import checkpoint
from cluster.actor_plan import plan_actors
from cluster.actors import Actors
from cluster.backends.backend import LearnerDiedError
from cluster.backends.placement import make_backend
from cluster.checks import check_actors, check_same_machine
from cluster.diagnostics import keep_diagnostic_batches
from cluster.errors import RunError
from cluster.restarts import RunResult, run_with_restarts
from cluster.resume import identity, machines
from cluster.run import Run
from cluster.source import Source


def execute(run: Run, source: Callable[[Run, Actors], Source]) -> RunResult:
    """Start the actors, check them, write the configuration, and run the loop to its end.

    `source` opens where the rows come from, once the run has begun. Whatever is refused, fails or is interrupted before
    the configuration is written leaves nothing behind.
    """
    claim, mixed = run.claim, run.topology.allow_mixed
    plan = plan_actors(run)
    backend = make_backend(run, plan)
    try:
        try:
            actors = Actors(backend, run, plan)
            machine = check_actors(actors, allow_mixed=mixed)
            step = 0 if run.start is None else run.start.step
            history = machines(run.folder.config, claim.before, step, machine, allow_mixed=mixed)
            keep_diagnostic_batches(run, actors)
        except LearnerDiedError as error:
            raise RunError(
                f"{run.folder.path}: an actor died before the run began ({error}). Find out why (memory?), then give "
                "the same command again."
            ) from error
        claim.begin({**run.config, "id": identity(claim.before), "machine": machine, "machines": history})
        if run.start is not None:
            checkpoint.cut_back(run.folder.checkpoints, run.start)

        def renew() -> None:
            """Start dead learners anew, and refuse them on another kind of machine."""
            actors.restart_learners()
            check_same_machine(actors, machine, allow_mixed=mixed)
            keep_diagnostic_batches(run, actors)

        with source(run, actors) as rows:
            return run_with_restarts(run, actors, rows, renew=renew)
    finally:
        backend.stop()
