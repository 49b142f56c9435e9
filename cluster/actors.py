"""The actors of a run: started together, owned by the driver, and asked for rows and labels through here."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from cluster import routing
from cluster.actor_plan import ActorPlan, PlannedActor
from cluster.backends.backend import Actor, Backend
from cluster.gathered import Gathered
from cluster.learner_group import LearnerGroup
from cluster.run import Run
from cluster.serialization import pack_goals, pack_rows
from replay.rows import Rows
from replay.view import View


class Actors:
    """Shard actors, updaters, learners and evaluators over one backend; where there is fresh data, runners and a
    writer, too."""

    def __init__(self, backend: Backend, run: Run, plan: ActorPlan) -> None:
        self.backend = backend
        self._view, self._request, self._plan = run.view, run.request, plan
        self._actors_by_node = routing.actors_by_node([backend.node_of(shard.name) for shard in plan.shards])
        holdings: list[list[int]] = [[] for _ in self._actors_by_node]
        if run.view.files:
            holdings = routing.assign(transitions_by_shard(run.view), [len(actors) for actors in self._actors_by_node])
        self._owner = np.zeros(len(run.view.files), np.int64)
        for node, held in enumerate(holdings):
            self._owner[held] = node
        held_by = {actor: held for actors, held in zip(self._actors_by_node, holdings, strict=True) for actor in actors}
        self._turns = [itertools.cycle(actors) for actors in self._actors_by_node]
        self.shards = [self._start(shard.serving(held_by[number])) for number, shard in enumerate(plan.shards)]
        self.updaters = [self._start(updater) for updater in plan.updaters]
        self.evaluators = [self._start(evaluator) for evaluator in plan.evaluators]
        self.writers = [self._start(writer) for writer in plan.writers]
        self.runners = [self._start(runner) for runner in plan.runners]
        self.learners = LearnerGroup(backend, plan.learners)

    def _start(self, planned: PlannedActor) -> Actor:
        return self.backend.start(planned.name, planned.role, *planned.arguments, restartable=planned.restartable)

    def restart_learners(self) -> None:
        """After a death: all of them anew, to be restored from a checkpoint."""
        self.learners.stop()
        self.learners = LearnerGroup(self.backend, self._plan.learners)

    def gather(self, rows: Rows, snapshot: int | None = None) -> Gathered:
        """The batch of these rows, on its way from the nodes that hold them and their goals, where they have any.

        `snapshot` is how much of the online store the rows lie in; its segments go round the nodes, as it grows.
        """
        known = len(self._owner)
        furthest = max(int(part.shard.max(initial=0)) for part in (rows, rows.goal) if part is not None)
        if snapshot is not None and furthest >= known:
            later = np.arange(known, 2 * furthest + 1) - len(self._view.files)
            self._owner = np.concatenate([self._owner, later % len(self._actors_by_node)])
        route = routing.route(rows, self._owner)
        parts = [
            self.backend.call(self.shards[next(self._turns[node])], "gather", pack_rows(part, self._request), snapshot)
            for node, part in route.parts
        ]
        parts += [
            self.backend.call(self.shards[next(self._turns[node])], "observe", pack_goals(part), snapshot)
            for node, part in route.goals
        ]
        return Gathered(route.assembly, parts)


def transitions_by_shard(view: View) -> NDArray[np.int64]:
    """How many selected transitions each shard of the view holds: (S,)."""
    return np.bincount(view.shard, weights=view.length, minlength=len(view.files)).astype(np.int64)
