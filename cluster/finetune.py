"""A fine-tuning run from its options to its summary: an offline policy, or a new one, learns from fresh data too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

import envs
import replay
from cluster import checkpoint, process
from cluster.build import AlgorithmSpec
from cluster.checkpoint import Arrays, Checkpoint
from cluster.checks import (
    check_algorithm,
    check_environment,
    check_fingerprints,
    check_interaction,
    check_online_resume,
    describe_dataset,
)
from cluster.crew import Crew, OnlineSpec
from cluster.env_runner import RunnerSpec
from cluster.episode_log import EpisodeLog
from cluster.errors import RunError
from cluster.evaluator import EvaluationSpec
from cluster.online_source import OnlineSource
from cluster.options import Cadence, OnlineRecipe, Recipe, Topology, as_json
from cluster.placement import make_backend, settle_devices
from cluster.recording import spaces_of
from cluster.run_folder import RunFolder, plain, spaces_to_json
from cluster.snapshots import Snapshots
from cluster.supervise import RunResult, supervise
from cluster.train import hold_diagnostics, validation_view
from envs import EnvSpec, Exploration
from replay.mixing import Mixing
from replay.online import Eviction, OnlineReader, OnlineStore
from replay.spaces import Spaces
from replay.view import View, extended


@dataclass(frozen=True)
class Beginning:
    """Where a fine-tuning run starts from."""

    run: str
    """The folder of the offline run."""
    checkpoint: str
    """`step-N`."""
    state: Arrays | None
    """None for a run that goes on from a checkpoint of its own."""
    statistics: dict[str, Any] | None
    """By which its observations are normalised: they stay, whatever the fresh data is."""
    reference_scores: Sequence[float] | None


def finetune(
    recipe: Recipe,
    online: OnlineRecipe,
    topology: Topology,
    cadence: Cadence,
    *,
    run: Path,
    environment: EnvSpec,
    beginning: Beginning | None = None,
    resume: bool = False,
    stalled_seconds: float = 60.0,
    console: Console | None = None,
) -> RunResult:
    """Learn from the recipe's logs, if it has any, and from what the runners gather; or go on with such a run.

    `recipe.steps` is not asked for: the environment steps and their worth give it.
    Raises `DataError`, `LearnerError`, `EnvError` or `RunError` before any work starts where something does not fit.
    """
    console = console or Console(stderr=True)
    folder = RunFolder(run)
    recipe, topology = settle_devices(recipe, topology)
    limiter = online.limiter(recipe.chunk_steps, topology.env_runners.count)
    recipe = replace(recipe, steps=limiter.updates(online.env_steps))
    process.prepare(recipe.threads, recipe.device)
    datasets = [(replay.open(path), weight) for path, weight in recipe.datasets]
    logged = View.of(datasets, split=recipe.split, where=recipe.where) if datasets else None
    spaces = _spaces(environment) if logged is None else logged.spaces
    statistics = None if logged is None else plain(logged.statistics)
    if beginning is not None:
        statistics = beginning.statistics
    spec = AlgorithmSpec(recipe.algorithm, recipe.knobs, spaces, statistics, recipe.seed, recipe.compile)
    algorithm = spec.create("cpu")
    check_algorithm(algorithm, recipe, topology)
    if recipe.shards_per_draw is not None:
        raise RunError("--shards-per-draw: draws of fine-tuning are from all shards; leave the option out.")
    check_environment(environment, spaces)
    exploration = Exploration(online.noise, online.random_probability)
    check_interaction(environment, online.vectorization, exploration)
    mixing = Mixing(online.share, online.final_share, recipe.steps if online.final_share is not None else 0)
    eviction = None
    if online.capacity is not None or online.max_age is not None or online.min_return is not None:
        eviction = Eviction(online.capacity, online.max_age, online.min_return)
    scores = datasets[0][0].reference_scores if len(datasets) == 1 else None
    if scores is None and beginning is not None and beginning.reference_scores is not None:
        scores = (beginning.reference_scores[0], beginning.reference_scores[1])
    evaluation = None
    if cadence.eval_episodes:
        evaluation = EvaluationSpec(environment, cadence.eval_episodes, recipe.seed, scores, cadence.eval_stochastic)
    config = {
        "format": 1,
        "recipe": as_json(recipe),
        "online": as_json(online),
        "from": None if beginning is None else {"run": beginning.run, "checkpoint": beginning.checkpoint},
        "topology": as_json(topology),
        "cadence": as_json(cadence),
        "machine": process.fingerprint(recipe.device),
        "spaces": spaces_to_json(spaces),
        "statistics": statistics,
        "environment": environment.to_json(),
        "reference_scores": scores,
        "datasets": [describe_dataset(dataset) for dataset, _ in datasets],
    }
    start = None
    if beginning is not None and beginning.state is not None:
        start = Checkpoint(0, beginning.state, {}, 0, {})
    if resume:
        check_online_resume(folder, recipe, config)
        start = checkpoint.latest(folder.checkpoints) or start
    store = run / "online"
    folder.begin(config, again=resume)
    if not store.exists():
        OnlineStore.create(store, spaces, provenance=_provenance(config, run), reference_scores=scores).close()
    reader = OnlineReader(store)
    runner = RunnerSpec(
        spec,
        environment,
        online.envs_per_runner,
        online.vectorization,
        online.stochastic,
        exploration,
        recipe.seed,
        recipe.threads,
    )
    view = logged if logged is not None else extended(None, reader.dataset(0))
    backend = make_backend(recipe, topology, view, evaluation is not None, online=True)
    try:
        crew = Crew(
            backend,
            spec,
            recipe,
            topology,
            view,
            algorithm.requires,
            evaluation,
            OnlineSpec(str(store), eviction, runner),
        )
        check_fingerprints(backend, crew, allow_mixed=topology.allow_mixed)
        validation = validation_view(datasets, recipe) if datasets else None
        snapshots = Snapshots(run / "snapshots.jsonl")
        episodes = EpisodeLog(run / "episodes.jsonl", reader.rows_since(0))
        source = OnlineSource(
            crew, logged, recipe, online, mixing, reader, snapshots, episodes, stalled_seconds=stalled_seconds
        )
        try:
            return supervise(
                crew,
                source,
                recipe,
                topology,
                cadence,
                folder,
                start,
                console,
                prepare=lambda: None if logged is None else hold_diagnostics(crew, logged, validation, recipe),
            )
        finally:
            snapshots.close()
            episodes.close()
    finally:
        backend.stop()


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
        "from": config["from"],
        "datasets": [{"path": entry["path"], "digest": entry["digest"]} for entry in config["datasets"]],
        "env_spec": environment,
    }
    return found | ({} if key is None else {"observation_key": key})
