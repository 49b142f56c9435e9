"""Small fine-tuning runs for the tests of this folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from cluster.finetune import finetune
from cluster.options import Cadence, OnlineRecipe, Recipe, Topology
from cluster.restarts import RunResult
from cluster.stages import Stage
from envs import EnvSpec
from tests.cluster.runs import KNOBS, SERIAL
from tests.point_reach import ID

REACH = EnvSpec(ID)
QUIET = Cadence(log_every=20, validate_every=0, checkpoint_every=0, eval_episodes=0)
ONLINE = OnlineRecipe(env_steps=120, rollout_steps=5)


def online_recipe(dataset: Path | None, algorithm: str = "iql", **changes: Any) -> Recipe:
    """Chunks of four steps, the learner's own labels."""
    base = Recipe(
        datasets=() if dataset is None else ((str(dataset), None),),
        algorithm=algorithm,
        knobs=KNOBS[algorithm],
        batch_size=16,
        chunk_steps=4,
        fused=True,
    )
    return replace(base, **changes)


def run_online(
    run: Path,
    recipe: Recipe,
    online: OnlineRecipe = ONLINE,
    topology: Topology = SERIAL,
    cadence: Cadence = QUIET,
    **options: Any,
) -> RunResult:
    return finetune(recipe, online, topology, cadence, run=run, environment=REACH, **options)


def beginning_of(run: Path) -> tuple[Stage, ...]:
    """All of the newest checkpoint of an offline run."""
    return (Stage("all", str(run)),)
