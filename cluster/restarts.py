"""Running the loop to its end: metrics, checkpoints, evaluations, and a learner that dies."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster import checkpoint
from cluster.actors import Actors
from cluster.backends.backend import LearnerDiedError
from cluster.checkpoint import Checkpoint
from cluster.errors import RunError
from cluster.loop import Listeners, Loop
from cluster.options import Cadence
from cluster.reporter import Reporter, score
from cluster.run import Run
from cluster.run_folder import MetricsWriter, RunFolder
from cluster.source import Source

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunResult:
    run: Path
    steps: int
    evaluations: list[dict[str, Any]]
    """Of this call, in the order of their steps."""
    summary: dict[str, Any]


def run_with_restarts(run: Run, actors: Actors, source: Source, *, renew: Callable[[], None]) -> RunResult:
    """Run the loop; where the learner dies, again from the last checkpoint, a bounded number of times.

    `renew` starts the learners anew. Raises `RunError` where the learner dies too often.
    """
    folder, start = run.folder, run.start
    history = {"learner_restarts": 0, "seconds": 0.0, "best": None} | (start.history if start else {})
    died = False
    while True:
        writer = MetricsWriter(folder, offset=start.metrics_offset if start else 0, step=start.step if start else 0)
        reporter = Reporter(
            writer,
            run.recipe.schedule,
            run.cadence,
            run.console,
            fused=run.recipe.fused,
            start=start.step if start else 0,
            seconds=history["seconds"],
            restarts=history["learner_restarts"],
            run=folder.path,
            gauges=actors.backend.gauges,
        )
        with reporter:
            loop = Loop(run, actors, source, _listeners(reporter, folder, run.cadence, history))
            try:
                if died:
                    renew()
                loop.run(start)
                summary = _summary(run, actors, source, loop, reporter, history)
            except LearnerDiedError as error:
                history["learner_restarts"] += 1
                if history["learner_restarts"] > run.topology.max_restarts:
                    raise RunError(
                        f"{folder.path}: the learner died {history['learner_restarts']} times ({error}). "
                        "Find out why (memory?), then go on with --resume."
                    ) from error
                logger.warning("the learner died; going on from the last checkpoint (%s)", error)
                start = checkpoint.latest(folder.checkpoints) or run.start
                died = True
                continue
            folder.write_summary(summary)
            return RunResult(folder.path, run.recipe.steps, reporter.evaluations, summary)


def _summary(
    run: Run, actors: Actors, source: Source, loop: Loop, reporter: Reporter, history: dict[str, Any]
) -> dict[str, Any]:
    served = [actors.backend.get(actors.backend.call(shard, "rows_served")) for shard in actors.shards]
    return {
        "steps": run.recipe.steps,
        "seconds": round(reporter.seconds(), 3),
        "nodes": actors.backend.nodes(),
        "shards": [{"name": f"replay_shard-{n}", "rows": rows} for n, rows in enumerate(served)],
        "updaters": [{"name": f"bellman_updater-{n}", "chunks": chunks} for n, chunks in enumerate(loop.labelled_by)],
        "evaluators": [
            {"name": f"evaluator-{n}", "evaluations": evaluations} for n, evaluations in enumerate(loop.evaluated_by)
        ],
        "learner_restarts": history["learner_restarts"],
        "evaluations": reporter.evaluations,
        **source.summary(),
    }


def _listeners(reporter: Reporter, folder: RunFolder, cadence: Cadence, history: dict[str, Any]) -> Listeners:
    def evaluated(step: int, result: dict[str, Any]) -> None:
        reporter.evaluated(step, result)
        best = history["best"]
        # Of the untrained policy there is no checkpoint.
        if step and (best is None or score(result) > best["score"]):
            history["best"] = {"score": score(result), "step": step}
            checkpoint.mark_best(folder.checkpoints, step)

    def checkpointed(step: int, algorithm: checkpoint.Arrays, pipeline: checkpoint.Arrays) -> None:
        history["seconds"] = reporter.seconds()
        saved = Checkpoint(step, algorithm, pipeline, reporter.offset(), dict(history))
        checkpoint.save(folder.checkpoints, saved)
        if history["best"] is not None:
            # Its result may have come before the checkpoint of its step was written.
            checkpoint.mark_best(folder.checkpoints, history["best"]["step"])
        checkpoint.prune(folder.checkpoints, cadence.keep)

    return Listeners(reporter.trained, reporter.diagnosed, evaluated, checkpointed)
