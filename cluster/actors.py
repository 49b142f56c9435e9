"""The actors of a run: started together, owned by the driver, and asked for rows and labels through here."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cluster import routing
from cluster.backends.backend import Actor, Backend, Reference
from cluster.build import AlgorithmSpec
from cluster.learner_group import LearnerGroup
from cluster.options import Recipe, Topology
from cluster.roles.bellman_updater import BellmanUpdater
from cluster.roles.env_runner import EnvRunner, RunnerSpec
from cluster.roles.evaluator import EvaluationSpec, Evaluator
from cluster.roles.online_writer import OnlineWriter
from cluster.roles.replay_shard import ReplayShard
from cluster.serialization import pack_goals, pack_rows
from replay.batch import Request
from replay.online.store import Eviction
from replay.rows import Rows
from replay.view import View


@dataclass(frozen=True)
class OnlineSpec:
    """What fine-tuning needs besides: its store, and what the runners do."""

    folder: str
    eviction: Eviction | None
    runner: RunnerSpec


class Actors:
    """Shard actors, updaters, learners and evaluators over one backend; with `online`, runners and a writer, too."""

    def __init__(
        self,
        backend: Backend,
        spec: AlgorithmSpec,
        recipe: Recipe,
        topology: Topology,
        view: View,
        request: Request,
        evaluation: EvaluationSpec | None,
        online: OnlineSpec | None = None,
    ) -> None:
        self.backend = backend
        self._spec, self._recipe, self._topology, self._view = spec, recipe, topology, view
        self.request = request
        names = [f"replay_shard-{number}" for number in range(shard_actor_count(view, topology))]
        self._actors_by_node = routing.actors_by_node([backend.node_of(name) for name in names])
        holdings: list[list[int]] = [[] for _ in self._actors_by_node]
        if view.files:
            holdings = routing.assign(transitions_by_shard(view), [len(actors) for actors in self._actors_by_node])
        self._owner = np.zeros(len(view.files), np.int64)
        for node, held in enumerate(holdings):
            self._owner[held] = node
        held_by = {actor: held for actors, held in zip(self._actors_by_node, holdings, strict=True) for actor in actors}
        outline = _outline(view)
        self.shards: list[Actor] = [
            backend.start(
                name,
                ReplayShard,
                topology.replay_shards,
                outline,
                held_by[number],
                request,
                topology.stage,
                None if online is None else online.folder,
                recipe.threads if topology.serial else max(1, int(topology.replay_shards.num_cpus)),
                restartable=True,
            )
            for number, name in enumerate(names)
        ]
        self._turns = [itertools.cycle(actors) for actors in self._actors_by_node]
        self.updaters: list[Actor] = [
            backend.start(
                f"bellman_updater-{number}",
                BellmanUpdater,
                topology.bellman_updaters,
                spec,
                recipe.threads,
                "cuda" if topology.bellman_updaters.num_gpus else "cpu",
                restartable=True,
            )
            for number in range(updater_count(recipe, topology))
        ]
        self.evaluators: list[Actor] = [
            backend.start(
                f"evaluator-{number}",
                Evaluator,
                topology.evaluators,
                spec,
                evaluation,
                recipe.threads,
                restartable=True,
            )
            for number in range(0 if evaluation is None else topology.evaluators.count)
        ]
        self.runners: list[Actor] = []
        self.writer: Actor | None = None
        if online is not None:
            self.writer = backend.start(
                "online_writer",
                OnlineWriter,
                topology.online_writers,
                online.folder,
                online.eviction,
                restartable=True,
            )
            self.runners = [
                backend.start(
                    f"env_runner-{number}", EnvRunner, topology.env_runners, number, online.runner, restartable=True
                )
                for number in range(topology.env_runners.count)
            ]
        self.learners = self._start_learners()

    def restart_learners(self) -> None:
        """After a death: all of them anew, to be restored from a checkpoint."""
        self.learners.stop()
        self.learners = self._start_learners()

    def _start_learners(self) -> LearnerGroup:
        view = self._view if self._recipe.priority_exponent > 0 else None
        return LearnerGroup(self.backend, self._spec, self._recipe, self._topology.learners, view)

    def gather(self, rows: Rows, snapshot: int | None = None) -> tuple[routing.Assembly, list[Reference]]:
        """References to the rows' parts, one for each node that holds some, to those of their goals, where they have
        any, and how all become one batch.

        `snapshot` is how much of the online store the rows lie in; its segments go round the nodes, as it grows.
        """
        known = len(self._owner)
        furthest = max(int(part.shard.max(initial=0)) for part in (rows, rows.goal) if part is not None)
        if snapshot is not None and furthest >= known:
            later = np.arange(known, 2 * furthest + 1) - len(self._view.files)
            self._owner = np.concatenate([self._owner, later % len(self._actors_by_node)])
        route = routing.route(rows, self._owner)
        parts = [
            self.backend.call(self.shards[next(self._turns[node])], "gather", pack_rows(part, self.request), snapshot)
            for node, part in route.parts
        ]
        parts += [
            self.backend.call(self.shards[next(self._turns[node])], "observe", pack_goals(part), snapshot)
            for node, part in route.goals
        ]
        return route.assembly, parts


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


def transitions_by_shard(view: View) -> NDArray[np.int64]:
    """How many selected transitions each shard of the view holds: (S,)."""
    return np.bincount(view.shard, weights=view.length, minlength=len(view.files)).astype(np.int64)


def shard_actor_count(view: View, topology: Topology) -> int:
    """No more than there are shards."""
    return min(topology.replay_shards.count, max(len(view.files), 1))


def updater_count(recipe: Recipe, topology: Topology) -> int:
    return 0 if recipe.fused else max(1, topology.bellman_updaters.count)
