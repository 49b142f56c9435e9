"""Small real runs for the tests of this folder: a dataset, a recipe for each algorithm, and what a run ended with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from safetensors.numpy import load_file

import replay
from cluster.build import AlgorithmSpec
from cluster.claim import Claim
from cluster.options import Cadence, Recipe, Role, Topology
from cluster.restarts import RunResult
from cluster.run import Run
from cluster.run_folder import plain
from cluster.train import train
from replay.episode import Episode
from replay.spaces import Box, Spaces
from replay.writer import DatasetWriter

SMALL = {"hidden": (16, 16)}
KNOBS: dict[str, dict[str, Any]] = {
    "bc": SMALL,
    "gcbc": SMALL,
    "iql": SMALL,
    "cql": SMALL,
    "calql": SMALL,
    "td3bc": SMALL,
    "rebrac": SMALL,
    "awac": SMALL,
    "awr": SMALL,
    "sac": SMALL,
    "td3": SMALL,
    "edac": {**SMALL, "members": 4},
    "redq": {**SMALL, "members": 4},
    "rlpd": {**SMALL, "members": 4, "policy_every": 4},
    "msg": {**SMALL, "members": 4},
    "qtopt": {**SMALL, "lag_steps": 8},
    "fql": SMALL,
    "lstd": {"features": 32, "solve_every": 4},
    "lspi": {"features": 32, "solve_every": 4},
    "bcq": {**SMALL, "generative_hidden": (16,), "acting_samples": 10},
    "bear": {**SMALL, "generative_hidden": (16,), "warm_up_steps": 4},
    "brac": {**SMALL, "warm_up_steps": 4},
}
SPACES = Spaces(Box((4,)), Box((2,), low=(-1.0,), high=(1.0,)))


def make_dataset(path: Path, *, episodes: int = 48, steps: int = 20, seed: int = 0, **provenance: Any) -> Path:
    """Random episodes with rewards in [0, 1], in several shards, every third one terminated."""
    rng = np.random.default_rng(seed)
    with DatasetWriter(path, SPACES, provenance={"source": "tests", **provenance}, shard_bytes=8_000) as writer:
        for number in range(episodes):
            terminated, truncated = np.zeros(steps, np.uint8), np.zeros(steps, np.uint8)
            (terminated if number % 3 == 0 else truncated)[-1] = 1
            writer.add(
                Episode(
                    observation=rng.standard_normal((steps + 1, 4)).astype(np.float32),
                    action=rng.uniform(-1, 1, (steps, 2)).astype(np.float32),
                    reward=rng.uniform(0, 1, steps).astype(np.float32),
                    terminated=terminated,
                    truncated=truncated,
                )
            )
        writer.finish()
    return path


def recipe(dataset: Path, algorithm: str = "iql", **changes: Any) -> Recipe:
    """Six chunks of four steps, labelled two chunks behind."""
    base = Recipe(
        datasets=((str(dataset), None),),
        algorithm=algorithm,
        knobs=KNOBS[algorithm],
        batch_size=16,
        steps=24,
        chunk_steps=4,
        depth=2,
    )
    return replace(base, **changes)


SERIAL = Topology(serial=True)


def on_ray(*, updaters: int, shards: int) -> Topology:
    return Topology(
        replay_shards=Role(shards, num_cpus=0.1),
        bellman_updaters=Role(updaters, num_cpus=0.1),
        learners=Role(1, num_cpus=0.1),
        evaluators=Role(1, num_cpus=0.1),
        late_chunk_seconds=120.0,
    )


QUIET = Cadence(log_every=8, validate_every=0, checkpoint_every=0)


def parameters(run: Path) -> dict[str, np.ndarray]:
    """Everything the newest checkpoint holds of the learner."""
    newest = (run / "checkpoints" / "LATEST").read_text().strip()
    return load_file(run / "checkpoints" / newest / "learner.safetensors")


def assert_same_parameters(one: Path, other: Path) -> None:
    """Bit for bit, moments and step counts included."""
    ours, theirs = parameters(one), parameters(other)
    assert ours.keys() == theirs.keys()
    different = [name for name in ours if ours[name].tobytes() != theirs[name].tobytes()]
    assert not different, f"{one} and {other} differ in {different}"


def run_once(where: Path, recipe: Recipe, topology: Topology = SERIAL, cadence: Cadence = QUIET) -> RunResult:
    return train(recipe, topology, cadence, run=where)


def run_of(recipe: Recipe, topology: Topology = SERIAL, cadence: Cadence = QUIET) -> Run:
    """A run of that recipe as its parts are given it, without a folder."""
    dataset = replay.open(recipe.datasets[0][0])
    view = dataset.view()
    spec = AlgorithmSpec(recipe.algorithm, recipe.knobs, dataset.spaces, plain(view.statistics), recipe.seed)
    claim, console = Claim(Path("nowhere"), resume=False), Console(quiet=True)
    return Run(recipe, topology, cadence, claim, console, spec, spec.create("cpu").requires, view, view)


def assert_all_worked(result: RunResult, *, updaters: int, shards: int) -> None:
    """Every shard actor served rows and every updater's labels were trained on."""
    assert len(result.summary["shards"]) == shards
    assert len(result.summary["updaters"]) == updaters
    assert all(shard["rows"] > 0 for shard in result.summary["shards"]), result.summary
    assert all(updater["chunks"] > 0 for updater in result.summary["updaters"]), result.summary
