"""A training run from its options to its result: every check first, then the loop, restarted where a learner dies."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

import envs
from cluster import process
from cluster.backends.placement import settle_devices
from cluster.build import AlgorithmSpec
from cluster.checks import acts_towards, check_algorithm, check_drawing, check_environment, rows_here
from cluster.claim import Claim
from cluster.datasets import describe_dataset, open_datasets, places
from cluster.diagnostics import diagnostic_batches, validation_view
from cluster.errors import RunError
from cluster.execute import execute
from cluster.footprint import check_batches
from cluster.options import Cadence, Recipe, Topology, as_json
from cluster.restarts import RunResult
from cluster.resume import check_kind, check_recipe, resume_point
from cluster.roles.evaluator import EvaluationSpec
from cluster.run import Run
from cluster.run_folder import plain, spaces_to_json
from cluster.source import LogSource
from cluster.stages import Stage, begin, create, first_state
from envs import EnvSpec, Patience
from replay.view import View


def train(
    recipe: Recipe,
    topology: Topology,
    cadence: Cadence,
    *,
    run: Path,
    environment: EnvSpec | None = None,
    resume: bool = False,
    resume_from: str | None = None,
    init: Sequence[Stage] = (),
    console: Console | None = None,
) -> RunResult:
    """Train, evaluate and save, or go on with a run that was interrupted: with `resume_from`, from that checkpoint
    (`step-N`) instead of the newest.

    Raises `DataError`, `LearnerError`, `EnvError` or `RunError` before any work starts where something does not fit;
    the folder `run` is then as it was. Later, `EnvFailedError` where an evaluation's environment fails.
    """
    console = console or Console(stderr=True)
    with Claim(run, resume=resume) as claim:
        check_kind(claim, online=False)
        beginning = begin(init, claim.folder, claim.before, recipe.algorithm)
        recipe, topology = settle_devices(recipe, topology)
        process.prepare(recipe.threads, recipe.device)
        datasets = open_datasets(recipe, claim.before, f"quiver train --run {run} --resume")
        recipe = replace(recipe, datasets=places(datasets))
        view = View.of(datasets, split=recipe.split, where=recipe.where)
        statistics = plain(view.statistics)
        spec = AlgorithmSpec(recipe.algorithm, recipe.knobs, view.spaces, statistics, recipe.seed, recipe.compile)
        spec, algorithm = create(spec, beginning, rows_here(recipe, topology))
        check_algorithm(algorithm, recipe, topology)
        _check_sampling(recipe, topology, view, algorithm.requires.kind)
        validation = validation_view(datasets, recipe)
        for part in (view, validation):
            if part is not None:
                check_drawing(part, recipe, algorithm.requires)
        check_batches(recipe, topology, view.spaces, algorithm, view, held=diagnostic_batches(view, validation))
        reference_scores = datasets[0][0].reference_scores if len(datasets) == 1 else None
        evaluation = None
        if environment is not None:
            if reason := acts_towards(algorithm.requires):
                raise RunError(
                    f"--env {environment.id}: {recipe.algorithm} {reason}: it is not evaluated; leave it out."
                )
            patience = patience_with(topology, "train", run)
            with envs.watching(environment.id, patience):
                check_environment(environment, view.spaces)
            evaluation = EvaluationSpec(
                environment, cadence.eval_episodes, recipe.seed, reference_scores, cadence.eval_stochastic, patience
            )
        check_recipe(claim, recipe)
        start = resume_point(claim, resume_from, recipe, algorithm, view.spaces, view)
        start = start or first_state(beginning, algorithm)
        _check_end_of_chunk(0 if start is None else start.step, recipe)
        config = {
            "format": 1,
            "recipe": as_json(recipe),
            "topology": as_json(topology),
            "cadence": as_json(cadence),
            "spaces": spaces_to_json(view.spaces),
            "statistics": spec.statistics,
            "init": [] if beginning is None else beginning.record(),
            "environment": None if environment is None else environment.to_json(),
            "reference_scores": reference_scores,
            "datasets": [describe_dataset(dataset) for dataset, _ in datasets],
        }
        made = Run(
            recipe=recipe,
            topology=topology,
            cadence=cadence,
            claim=claim,
            console=console,
            algorithm=spec,
            request=algorithm.requires,
            view=view,
            logged=view,
            validation=validation,
            evaluation=evaluation,
            config=config,
            start=start,
        )
        return execute(made, LogSource)


def patience_with(topology: Topology, command: str, run: Path) -> Patience:
    """With environments. The end of a process that steps one is the end of a serial run; over Ray, the driver tells."""
    how = f"Put the environment right, then go on with: quiver {command} --run {shlex.quote(str(run))} --resume"
    return Patience(topology.env_timeout, tells_end=topology.serial, remedy=how if topology.serial else "")


def _check_sampling(recipe: Recipe, topology: Topology, view: View, kind: str) -> None:
    """Raises `RunError` for ways of drawing that the algorithm, the learners or the datasets' weights rule out."""
    if kind == "episodes" and (recipe.priority_exponent > 0 or recipe.shards_per_draw is not None):
        raise RunError(
            f"--priority-exponent, --shards-per-draw: {recipe.algorithm} learns from whole episodes, and these are for "
            "transitions; leave them out."
        )
    if recipe.priority_exponent > 0 and (topology.learners.count > 1 or view.weighted):
        raise RunError("--priority-exponent: prioritised sampling takes one learner and datasets without weights.")


def _check_end_of_chunk(step: int, recipe: Recipe) -> None:
    if step % recipe.chunk_steps and step != recipe.steps:
        raise RunError(
            f"--steps: the run ended at step {step}, inside a chunk of {recipe.chunk_steps} steps, and cannot go on "
            "from there as one never stopped would have. Where there is an earlier checkpoint, go on from that, with "
            "--resume --resume-from step-N."
        )
