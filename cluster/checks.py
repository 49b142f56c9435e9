"""What must fit before work starts, or goes on: environments, resumed runs, processors."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import numpy as np

import envs
import replay
from cluster import process
from cluster.backend import Backend
from cluster.crew import Crew
from cluster.errors import RunError
from cluster.options import Recipe, Topology, recipe_from_json
from cluster.run_folder import RunFolder
from envs import EnvSpec, Exploration
from learners.algorithm import Algorithm
from replay.spaces import Spaces, observation_columns

logger = logging.getLogger(__name__)


def check_algorithm(algorithm: Algorithm, recipe: Recipe, topology: Topology) -> None:
    """Raises `RunError` for updaters without anything to compute, and for batches that learners cannot share."""
    if not recipe.fused and not algorithm.has_targets:
        raise RunError(f"--updaters: {recipe.algorithm} has no targets to compute; leave the option out.")
    if recipe.batch_size % topology.learners.count:
        raise RunError(f"--batch-size: {recipe.batch_size} does not divide by --learners {topology.learners.count}.")


def check_interaction(spec: EnvSpec, vectorization: str, exploration: Exploration) -> None:
    """Raises `EnvError` for environments that cannot be stepped so, or explored so."""
    vector = envs.make_vector(spec, 1, vectorization)
    try:
        envs.explore(
            lambda observation, state: (observation, state),
            vector.single_action_space,
            exploration,
            np.random.default_rng(0),
        )
    finally:
        vector.close()


def check_environment(spec: EnvSpec, spaces: Spaces) -> None:
    """Raises `EnvError` for an environment that cannot be made, `RunError` for one with other spaces."""
    environment = envs.make(spec)
    try:
        ours = {name: tuple(leaf.shape) for name, leaf in observation_columns(spaces.observation).items()}
        space = environment.observation_space
        parts = getattr(space, "spaces", None)
        theirs = (
            {"observation": tuple(space.shape or ())}
            if parts is None
            else {f"observation.{key}": tuple(part.shape or ()) for key, part in parts.items()}
        )
        if ours != theirs:
            raise RunError(
                f"--env {spec.id}: observes {theirs}, the data holds {ours}. "
                "Where the data kept one key of a dictionary, name it with --observation-key."
            )
        if tuple(environment.action_space.shape or ()) != tuple(spaces.action.shape):
            raise RunError(
                f"--env {spec.id}: takes actions of shape {environment.action_space.shape}, "
                f"the data holds {spaces.action.shape}."
            )
    finally:
        environment.close()


def check_resume(folder: RunFolder, recipe: Recipe, config: dict[str, Any]) -> None:
    """A run goes on as it began: only its length may grow, and its topology and cadence change."""
    before = folder.read_config()
    if ("online" in before) != ("online" in config):
        command = "finetune" if "online" in before else "train"
        raise RunError(f"{folder.path}: go on with this run by `quiver {command} --run {folder.path} --resume`.")
    old = recipe_from_json(before["recipe"], str(folder.path / "config.json"))
    for entry in dataclasses.fields(Recipe):
        ours, theirs = getattr(recipe, entry.name), getattr(old, entry.name)
        if entry.name == "steps" and ours >= theirs:
            continue
        if ours != theirs:
            raise RunError(
                f"{folder.path / 'config.json'}: the run began with {entry.name} = {theirs!r}, now it is {ours!r}. "
                "A resumed run keeps its recipe: use the same options, or start another run."
            )
    for then, now in zip(before["datasets"], config["datasets"], strict=True):
        if then["digest"] != now["digest"]:
            raise RunError(f"{now['path']}: the dataset changed since the run began; restore it, or start another run.")


def check_online_resume(folder: RunFolder, recipe: Recipe, config: dict[str, Any]) -> None:
    """Likewise for fine-tuning: only its environment steps may grow."""
    check_resume(folder, recipe, config)
    where = folder.path / "config.json"
    before = folder.read_config()
    for name, theirs in before["online"].items():
        ours = config["online"].get(name)
        if name == "env_steps" and ours >= theirs and before["online"]["final_share"] is None:
            continue  # a share that moves would have moved more slowly
        if ours != theirs:
            raise RunError(
                f"{where}: the run began with {name} = {theirs!r}, now it is {ours!r}. A resumed run keeps its recipe: "
                "use the same options, or start another run."
            )


def check_fingerprints(backend: Backend, crew: Crew, *, allow_mixed: bool) -> None:
    """Refuse updaters whose labels would differ from the learner's in the last bits."""
    ours = backend.get(crew.learners.ask("fingerprint"))
    for number, updater in enumerate(crew.updaters):
        theirs = backend.get(backend.call(updater, "fingerprint"))
        if difference := process.describe_difference(ours, theirs):
            message = (
                f"bellman_updater-{number} runs on another kind of processor than the learner ({'; '.join(difference)})"
            )
            if not allow_mixed:
                raise RunError(
                    f"{message}: results would depend on who labels what. Pin the roles to one kind of node in "
                    "ray_config.yaml, or accept that with --allow-mixed."
                )
            logger.warning("%s: results are not bit-identical to a serial run's.", message)


def describe_dataset(dataset: replay.Dataset) -> dict[str, Any]:
    return {
        "path": str(dataset.path),
        "digest": dataset.fingerprint,
        "transitions": int(dataset.num_transitions),
        "episodes": int(dataset.num_episodes),
        "provenance": dataset.provenance,
    }
