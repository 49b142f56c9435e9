"""A fine-tuning run from its options to its summary: an offline policy, or a new one, learns from fresh data too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

import envs
from cluster import process
from cluster.backends.placement import settle_devices
from cluster.build import AlgorithmSpec
from cluster.checks import acts_towards, check_algorithm, check_environment, check_interaction, rows_here
from cluster.claim import Claim
from cluster.datasets import Weighted, describe_dataset, open_datasets, places
from cluster.diagnostics import diagnostic_batches, validation_view
from cluster.errors import RunError
from cluster.execute import execute
from cluster.footprint import check_batches, check_environments
from cluster.online_source import OnlineSource
from cluster.options import Cadence, OnlineRecipe, Recipe, Topology, as_json
from cluster.recording import spaces_of
from cluster.restarts import RunResult
from cluster.resume import check_kind, check_recipe, resume_point
from cluster.roles.env_runner import RunnerSpec
from cluster.roles.evaluator import EvaluationSpec
from cluster.run import Interaction, Run
from cluster.run_folder import plain, spaces_to_json
from cluster.snapshots import check_snapshots
from cluster.stages import Beginning, Stage, begin, create, first_state
from cluster.train import patience_with
from envs import EnvSpec, Exploration
from replay.mixing import Mixing
from replay.online.store import Eviction, OnlineReader, OnlineStore
from replay.spaces import Spaces
from replay.view import View, extended


def finetune(
    recipe: Recipe,
    online: OnlineRecipe,
    topology: Topology,
    cadence: Cadence,
    *,
    run: Path,
    environment: EnvSpec,
    init: Sequence[Stage] = (),
    resume: bool = False,
    resume_from: str | None = None,
    stalled_seconds: float = 60.0,
    console: Console | None = None,
) -> RunResult:
    """Learn from the recipe's logs, if it has any, and from what the runners gather; or go on with such a run: with
    `resume_from`, from that checkpoint (`step-N`) instead of the newest.

    `recipe.steps` is not asked for: the environment steps and their worth give it.
    Raises `DataError`, `LearnerError`, `EnvError` or `RunError` before any work starts where something does not fit;
    the folder `run` is then as it was. Later, `EnvFailedError` where an evaluation's environment fails, and `RunError`
    where no runner is left, or nothing is left to learn from.
    """
    console = console or Console(stderr=True)
    with Claim(run, resume=resume) as claim:
        check_kind(claim, online=True)
        beginning = begin(init, claim.folder, claim.before, recipe.algorithm)
        recipe, topology = settle_devices(recipe, topology)
        limiter = online.limiter(recipe.chunk_steps, topology.env_runners.count)
        process.prepare(recipe.threads, recipe.device)
        datasets = open_datasets(recipe, claim.before, f"quiver finetune --run {run} --resume")
        recipe = replace(recipe, datasets=places(datasets), steps=limiter.updates(online.env_steps))
        logged = View.of(datasets, split=recipe.split, where=recipe.where) if datasets else None
        spaces = _spaces(environment) if logged is None else logged.spaces
        statistics = None if logged is None else plain(logged.statistics)
        spec = AlgorithmSpec(recipe.algorithm, recipe.knobs, spaces, statistics, recipe.seed, recipe.compile)
        spec, algorithm = create(spec, beginning, rows_here(recipe, topology))
        check_algorithm(algorithm, recipe, topology)
        if reason := acts_towards(algorithm.requires):
            raise RunError(f"--algo: {recipe.algorithm} {reason}; it learns from logs, with `quiver train`.")
        if recipe.shards_per_draw is not None:
            raise RunError("--shards-per-draw: draws of fine-tuning are from all shards; leave the option out.")
        if recipe.imagine_every is not None:
            raise RunError("--imagine-every: transitions are imagined in runs on logs alone; leave it out.")
        validation = validation_view(datasets, recipe)
        check_batches(recipe, topology, spaces, algorithm, logged, held=diagnostic_batches(logged, validation))
        check_environments(online, topology)
        exploration = Exploration(online.noise, online.random_probability)
        patience = patience_with(topology, "finetune", run)
        with envs.watching(environment.id, patience):
            check_environment(environment, spaces)
            check_interaction(environment, online.vectorization, exploration, spaces)
        mixing = Mixing(online.share, online.final_share, recipe.steps if online.final_share is not None else 0)
        eviction = _eviction(online)
        scores = _reference_scores(datasets, beginning)
        evaluation = None
        if cadence.eval_episodes:
            evaluation = EvaluationSpec(
                environment, cadence.eval_episodes, recipe.seed, scores, cadence.eval_stochastic, patience
            )
        check_recipe(claim, recipe, as_json(online), environment.to_json())
        start = resume_point(claim, resume_from, recipe, algorithm, spaces, logged)
        start = start or first_state(beginning, algorithm)
        config = {
            "format": 1,
            "recipe": as_json(recipe),
            "online": as_json(online),
            "init": [] if beginning is None else beginning.record(),
            "topology": as_json(topology),
            "cadence": as_json(cadence),
            "spaces": spaces_to_json(spaces),
            "statistics": spec.statistics,
            "environment": environment.to_json(),
            "reference_scores": scores,
            "datasets": [describe_dataset(dataset) for dataset, _ in datasets],
        }
        # Shard actors and the writer open the store: it is there before them, empty, and goes if they are refused.
        store = claim.folder.online
        if not store.exists():
            OnlineStore.create(store, spaces, provenance=_provenance(config, run), reference_scores=scores).close()
        reader = OnlineReader(store)
        step = 0 if start is None else start.step
        check_snapshots(claim.folder.snapshots, -(-step // recipe.chunk_steps), reader.snapshot)
        view = logged if logged is not None else extended(None, reader.dataset(0))
        runner = RunnerSpec(
            spec,
            environment,
            online.envs_per_runner,
            online.vectorization,
            online.stochastic,
            exploration,
            recipe.seed,
            recipe.threads,
            patience,
        )
        made = Run(
            recipe=recipe,
            topology=topology,
            cadence=cadence,
            claim=claim,
            console=console,
            algorithm=spec,
            request=algorithm.requires,
            view=view,
            logged=logged,
            validation=validation,
            evaluation=evaluation,
            interaction=Interaction(online, str(store), eviction, runner, mixing, stalled_seconds),
            config=config,
            start=start,
        )
        return execute(made, lambda run, actors: OnlineSource(run, actors, reader))


def _eviction(online: OnlineRecipe) -> Eviction | None:
    if online.capacity is None and online.max_age is None and online.min_return is None:
        return None
    return Eviction(online.capacity, online.max_age, online.min_return)


def _reference_scores(datasets: Sequence[Weighted], beginning: Beginning | None) -> tuple[float, float] | None:
    scores = datasets[0][0].reference_scores if len(datasets) == 1 else None
    if scores is None and beginning is not None and beginning.reference_scores is not None:
        scores = (beginning.reference_scores[0], beginning.reference_scores[1])
    return scores


def _spaces(environment: EnvSpec) -> Spaces:
    """Without logs, what the environment says."""
    env = envs.make(environment)
    try:
        return spaces_of(env, environment.id)
    finally:
        env.close()


def _provenance(config: dict[str, Any], run: Path) -> dict[str, Any]:
    """Where the store's episodes come from, as `quiver collect` says it."""
    environment = dict(config["environment"])
    key = environment.pop("observation_key", None)
    found = {
        "source": f"quiver finetune, {environment['id']}",
        "collected_by": "policy",
        "policy": f"{run.resolve().name}, while it learned",
        "algorithm": config["recipe"]["algorithm"],
        "stochastic": config["online"]["stochastic"],
        "noise_in_halves_of_the_range": config["online"]["noise"],
        "random_probability": config["online"]["random_probability"],
        "init": config["init"],
        "datasets": [{"path": entry["path"], "digest": entry["digest"]} for entry in config["datasets"]],
        "env_spec": environment,
    }
    return found | ({} if key is None else {"observation_key": key})
