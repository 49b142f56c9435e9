"""Running the loop to its end: metrics, checkpoints, evaluations, and a learner that dies."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from cluster import checkpoint
from cluster.actors import Actors
from cluster.backends.backend import LearnerDiedError
from cluster.checkpoint import Checkpoint
from cluster.errors import RunError
from cluster.loop import Listeners, Loop
from cluster.options import Cadence, Recipe, Topology
from cluster.reporter import Reporter, score
from cluster.run_folder import MetricsWriter, RunFolder
from cluster.schedule import Schedule
from cluster.source import Source

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunResult:
    run: Path
    steps: int
    evaluations: list[dict[str, Any]]
    """Of this call, in the order of their steps."""
    summary: dict[str, Any]


def run_with_restarts(
    actors: Actors,
    source: Source,
    recipe: Recipe,
    topology: Topology,
    cadence: Cadence,
    folder: RunFolder,
    start: Checkpoint | None,
    console: Console,
    *,
    prepare: Callable[[], None],
) -> RunResult:
    """Run the loop; where the learner dies, again from the last checkpoint, a bounded number of times.

    `start` is where it begins (None: at the algorithm's own beginning). `prepare` tells each new learner what it needs
    besides. Raises `RunError` where the learner dies too often.
    """
    beginning = start
    schedule = Schedule(recipe.steps, recipe.chunk_steps, recipe.depth, recipe.label_reuse)
    history = {"learner_restarts": 0, "seconds": 0.0, "best": None} | (start.history if start else {})
    died = False
    while True:
        writer = MetricsWriter(folder, offset=start.metrics_offset if start else 0, step=start.step if start else 0)
        reporter = Reporter(
            writer,
            schedule,
            cadence,
            console,
            fused=recipe.fused,
            start=start.step if start else 0,
            seconds=history["seconds"],
            restarts=history["learner_restarts"],
            run=folder.path,
            gauges=actors.backend.gauges,
        )
        with reporter:
            listeners = _listeners(reporter, folder, cadence, history)
            loop = Loop(actors, source, recipe, cadence, listeners, late_chunk_seconds=topology.late_chunk_seconds)
            try:
                if died:
                    actors.restart_learners()
                prepare()
                loop.run(start)
                summary = _summary(actors, source, recipe, loop, reporter, history)
            except LearnerDiedError as error:
                history["learner_restarts"] += 1
                if history["learner_restarts"] > topology.max_restarts:
                    raise RunError(
                        f"{folder.path}: the learner died {history['learner_restarts']} times ({error}). "
                        "Find out why (memory?), then go on with --resume."
                    ) from error
                logger.warning("the learner died; going on from the last checkpoint (%s)", error)
                start = checkpoint.latest(folder.checkpoints) or beginning
                died = True
                continue
            folder.write_summary(summary)
            return RunResult(folder.path, recipe.steps, reporter.evaluations, summary)


def _summary(
    actors: Actors, source: Source, recipe: Recipe, loop: Loop, reporter: Reporter, history: dict[str, Any]
) -> dict[str, Any]:
    served = [actors.backend.get(actors.backend.call(shard, "rows_served")) for shard in actors.shards]
    return {
        "steps": recipe.steps,
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
