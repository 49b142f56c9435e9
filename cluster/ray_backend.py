"""Ray: each role an actor owned by the driver, placed by one placement group."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.metrics import Gauge
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster import ray_local
from cluster.backend import LearnerDiedError
from cluster.errors import RunError
from cluster.options import Role, Topology
from cluster.ray_session import connect
from cluster.reporter import GAUGES

logger = logging.getLogger(__name__)

PLACEMENT_TIMEOUT = 300.0
"""Seconds to wait for the resources of a run, saying each half minute what is missing."""


@dataclass(frozen=True)
class Place:
    """One actor to come: its name and what it needs."""

    name: str
    role: Role


class RayBackend:
    """The driver owns every actor, so that none outlives the run and no reference dies with an actor."""

    def __init__(self, topology: Topology, places: Sequence[Place], *, threads: int) -> None:
        """Join or start Ray and reserve room for all `places` at once.

        Raises `RunError` where the cluster has no room for them, saying what is missing.
        """
        self._started = not ray.is_initialized()
        joined = not self._started or connect(topology.address)
        self._environment = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        if not joined:
            try:
                _check_this_machine(places)
            except RunError:
                ray_local.end(keep_logs=False)
                raise
        self._places = _fit(places)
        self._group = _reserve(self._places)
        placed = placement_group_table(self._group)["bundles_to_node_id"]
        self._nodes: list[str] = [placed[number] for number in range(len(self._places))]
        self._bundle = {place.name: number for number, place in enumerate(self._places)}
        self._actors: dict[str, Any] = {}
        self._gauges: dict[str, Gauge] = {}

    def start(self, name: str, role: type, options: Role, *args: Any, restartable: bool) -> Any:
        place = self._places[self._bundle[name]].role
        actor = (
            ray.remote(role)
            .options(
                num_cpus=place.num_cpus,
                num_gpus=place.num_gpus,
                resources=place.resources,
                max_restarts=-1 if restartable else 0,
                max_task_retries=-1 if restartable else 0,
                runtime_env={"env_vars": self._environment},
                scheduling_strategy=PlacementGroupSchedulingStrategy(
                    placement_group=self._group, placement_group_bundle_index=self._bundle[name]
                ),
            )
            .remote(*args)
        )
        self._actors[name] = actor
        return actor

    def call(self, actor: Any, method: str, *args: Any, returns: int = 1) -> Any:
        function = getattr(actor, method)
        # Options cost as much as a small call itself.
        return function.remote(*args) if returns == 1 else function.options(num_returns=returns).remote(*args)

    def get(self, reference: Any) -> Any:
        try:
            return ray.get(reference)
        except RayTaskError as error:
            cause = error.cause
            if isinstance(cause, RayActorError):
                raise LearnerDiedError(_first_line(cause)) from error
            if cause is not None and not isinstance(cause, RayError):
                raise cause from None
            raise
        except RayActorError as error:
            if error.actor_init_failed:
                raise RunError(f"an actor could not start: {str(error).strip().splitlines()[-1]}") from error
            # Every other role restarts by itself, without end.
            raise LearnerDiedError(_first_line(error)) from error

    def wait(self, references: Sequence[Any], timeout: float | None) -> list[Any]:
        ready, _ = ray.wait(list(references), num_returns=1, timeout=timeout)
        if len(ready) == len(references):
            return ready
        more, _ = ray.wait(list(references), num_returns=len(references), timeout=0)
        return more

    def put(self, value: Any) -> Any:
        return ray.put(value)

    def gauges(self, values: Mapping[str, float], labels: Mapping[str, str]) -> None:
        for name, value in values.items():
            if name not in self._gauges:
                self._gauges[name] = Gauge(f"quiver_{name}", description=GAUGES[name], tag_keys=tuple(labels))
            self._gauges[name].set(value, tags=dict(labels))

    def node_of(self, name: str) -> str:
        return self._nodes[self._bundle[name]]

    def nodes(self) -> int:
        return len(set(self._nodes))

    def end(self, actors: Sequence[Any]) -> None:
        for actor in actors:
            ray.kill(actor)

    def stop(self) -> None:
        self.end(list(self._actors.values()))
        self._actors.clear()
        remove_placement_group(self._group)
        if self._started:
            ray_local.end(keep_logs=isinstance(sys.exception(), Exception))


def _first_line(error: Exception) -> str:
    """Ray's messages run to a page; what happened is in their first line."""
    return str(error).strip().splitlines()[0]


def _fit(places: Sequence[Place]) -> list[Place]:
    """The places, with their shares of a CPU scaled down where the cluster has fewer than they ask for.

    A share is a number in Ray's books; on a small machine, roles that take turns are better than none.
    """
    wanted = sum(place.role.num_cpus for place in places)
    present = float(ray.cluster_resources().get("CPU", 0.0))
    if wanted <= present:
        return list(places)
    logger.warning(
        "%d roles ask for %.1f CPUs and the cluster has %.0f: they share, and none is faster for it.",
        len(places),
        wanted,
        present,
    )
    # A little less than all, since bundles on several nodes do not pack without gaps.
    scale = 0.9 * present / wanted
    return [
        Place(place.name, replace(place.role, num_cpus=max(round(place.role.num_cpus * scale, 3), 0.001)))
        for place in places
    ]


def _check_this_machine(places: Sequence[Place]) -> None:
    """Raises `RunError` where Ray on this machine alone has too little of what the places ask for, CPUs apart.

    A cluster may have it later, and a run waits for that. No node comes here.
    """
    wanted: dict[str, float] = {}
    for place in places:
        for name, amount in {"GPU": place.role.num_gpus, **place.role.resources}.items():
            wanted[name] = wanted.get(name, 0.0) + amount
    present = ray.cluster_resources()
    lacking = ", ".join(
        f"{name} ({amount:g} wanted, {present.get(name, 0):g} there)"
        for name, amount in wanted.items()
        if amount > present.get(name, 0)
    )
    if lacking:
        raise RunError(
            f"this machine has too little of what the roles ask for: {lacking}. Join a cluster that has it with "
            "--address, leave it out of the --config, or, for GPU, use --device cpu."
        )


def _reserve(places: Sequence[Place]) -> PlacementGroup:
    bundles = []
    for place in places:
        bundle: dict[str, float] = {"CPU": place.role.num_cpus, **place.role.resources}
        if place.role.num_gpus:
            bundle["GPU"] = place.role.num_gpus
        bundles.append(bundle)
    group = placement_group(bundles, strategy="SPREAD")
    waited = 0.0
    while not group.wait(30):
        waited += 30.0
        message = f"{_missing(bundles)}; waited {waited:.0f} s for a placement of {len(bundles)} roles"
        if waited >= PLACEMENT_TIMEOUT:
            remove_placement_group(group)
            raise RunError(f"{message}. Add nodes, or lower the counts in ray_config.yaml's metadata.quiver.")
        logger.warning(message)
    return group


def _missing(bundles: Sequence[dict[str, float]]) -> str:
    present = ray.cluster_resources()
    wanted: dict[str, float] = {}
    for bundle in bundles:
        for name, amount in bundle.items():
            wanted[name] = wanted.get(name, 0.0) + amount
    short = [
        f"{name}: {amount:g} wanted, {present.get(name, 0):g} in the cluster"
        for name, amount in wanted.items()
        if present.get(name, 0) < amount
    ]
    return "; ".join(short) or "all resources exist, but not free or not on one node each"
