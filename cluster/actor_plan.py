"""The actors of a run, each with its name and what it is made of: placement reserves from this, `Actors` starts it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cluster.options import Recipe, Role, Topology
from cluster.roles.bellman_updater import BellmanUpdater
from cluster.roles.env_runner import EnvRunner
from cluster.roles.evaluator import Evaluator
from cluster.roles.learner import Learner
from cluster.roles.online_writer import OnlineWriter
from cluster.roles.replay_shard import ReplayShard
from cluster.run import Run
from replay.view import View


@dataclass(frozen=True)
class PlannedActor:
    """One actor that is to be started."""

    name: str
    role: type
    resources: Role
    """What it is given, of which it is one."""
    arguments: tuple[Any, ...]
    restartable: bool = True
    """Whether it holds nothing that a restart loses."""

    def serving(self, shards: list[int]) -> PlannedActor:
        """This shard actor with the shards of its node, which are known once it has a place."""
        outline, *others = self.arguments
        return replace(self, arguments=(outline, shards, *others))


@dataclass(frozen=True)
class ActorPlan:
    """All of them, by role. Iterating gives them in the order in which room is reserved."""

    shards: list[PlannedActor]
    updaters: list[PlannedActor]
    learners: list[PlannedActor]
    evaluators: list[PlannedActor]
    writers: list[PlannedActor]
    """One where there is fresh data, or none."""
    runners: list[PlannedActor]

    def __iter__(self) -> Iterator[PlannedActor]:
        yield from (
            *self.shards,
            *self.updaters,
            *self.learners,
            *self.evaluators,
            *self.writers,
            *self.runners,
        )


def plan_actors(run: Run) -> ActorPlan:
    recipe, topology, spec, online = run.recipe, run.topology, run.algorithm, run.interaction
    store = None if online is None else online.store
    # Priorities have one owner, the learner, and it draws by them.
    drawn = run.view if recipe.priority_exponent > 0 else None
    learners = topology.learners.count
    # Of a serial run all roles share the process; elsewhere each decodes with what it was given.
    decoding = recipe.threads if topology.serial else max(1, int(topology.replay_shards.num_cpus))
    updater_device = "cuda" if topology.bellman_updaters.num_gpus else "cpu"
    return ActorPlan(
        shards=[
            PlannedActor(
                f"replay_shard-{number}",
                ReplayShard,
                topology.replay_shards,
                (_outline(run.view), run.request, topology.stage, store, decoding),
            )
            for number in range(_shard_actors(run.view, topology))
        ],
        updaters=[
            PlannedActor(
                f"bellman_updater-{number}",
                BellmanUpdater,
                topology.bellman_updaters,
                (spec, recipe.threads, updater_device),
            )
            for number in range(_updaters(recipe, topology))
        ],
        learners=[
            PlannedActor(
                f"learner-{rank}",
                Learner,
                topology.learners,
                (spec, recipe, recipe.device, drawn, learners),
                restartable=False,
            )
            for rank in range(learners)
        ],
        evaluators=[
            PlannedActor(f"evaluator-{number}", Evaluator, topology.evaluators, (spec, run.evaluation, recipe.threads))
            for number in range(0 if run.evaluation is None else topology.evaluators.count)
        ],
        writers=[]
        if online is None
        else [PlannedActor("online_writer", OnlineWriter, topology.online_writers, (online.store, online.eviction))],
        runners=[]
        if online is None
        else [
            PlannedActor(f"env_runner-{number}", EnvRunner, topology.env_runners, (number, online.runner))
            for number in range(topology.env_runners.count)
        ],
    )


def _outline(view: View) -> View:
    """The view without its episodes: all that a shard actor needs, small enough to travel with its restarts."""
    nothing = np.zeros(0, np.int64)
    return replace(
        view,
        shard=nothing,
        first_row=nothing,
        length=nothing,
        dataset=nothing,
        episode=nothing,
        task=None,
        success=None,
    )


def _shard_actors(view: View, topology: Topology) -> int:
    """No more than there are shards."""
    return min(topology.replay_shards.count, max(len(view.files), 1))


def _updaters(recipe: Recipe, topology: Topology) -> int:
    """Where the learner computes its own labels and nothing is imagined, there is nothing to do for them."""
    idle = recipe.fused and recipe.imagine_every is None
    return 0 if idle else max(1, topology.bellman_updaters.count)
