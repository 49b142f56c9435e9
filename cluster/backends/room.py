"""Whether a cluster has room for the roles of a run: what each asks for, against what its nodes say that they have."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cluster.errors import RunError
from cluster.options import Role
from cluster.ranges import LEAST_SHARE

logger = logging.getLogger(__name__)

Resources = Mapping[str, float]
"""Amounts by name, as Ray has them: CPU, GPU, and those that a cluster's file names."""


@dataclass(frozen=True)
class Place:
    """One actor to come: its name and what it needs."""

    name: str
    role: Role

    @property
    def bundle(self) -> dict[str, float]:
        """What Ray sets aside for it."""
        gpus = {"GPU": self.role.num_gpus} if self.role.num_gpus else {}
        return {"CPU": self.role.num_cpus, **self.role.resources, **gpus}


def fit(places: Sequence[Place], nodes: Sequence[Resources]) -> list[Place]:
    """The places, their shares of a CPU scaled down until they go together on the nodes.

    A share is a number in Ray's books; on small machines, roles that take turns are better than none. What no node
    has besides CPUs is left to wait for, and its CPUs with it.
    """
    scale = 1.0
    while scale >= LEAST_SHARE and not _go_together([_scaled(place, scale) for place in places], nodes):
        scale *= 0.8
    if scale == 1.0 or scale < LEAST_SHARE:
        return list(places)  # nothing to share, or nothing that sharing would help
    logger.warning(
        "%d roles ask for %.1f CPUs, more than the nodes have (%.0f in all): they share, and none is faster for it.",
        len(places),
        sum(place.role.num_cpus for place in places),
        sum(node.get("CPU", 0.0) for node in nodes),
    )
    # A little less than goes together here: Ray may put them elsewhere.
    return [_scaled(place, 0.9 * scale) for place in places]


def check_this_machine(places: Sequence[Place], present: Resources) -> None:
    """Raises `RunError` where Ray on this machine alone has too little of what the places ask for, CPUs apart.

    A cluster may have it later, and a run waits for that. No node comes here.
    """
    wanted = _sum([{**place.bundle, "CPU": 0.0} for place in places])
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


def missing(bundles: Sequence[Resources], present: Resources) -> str:
    """What the bundles lack, in words."""
    short = [
        f"{name}: {amount:g} wanted, {present.get(name, 0):g} in the cluster"
        for name, amount in _sum(bundles).items()
        if present.get(name, 0) < amount
    ]
    return "; ".join(short) or "all resources exist, but not free or not on one node each"


def _scaled(place: Place, scale: float) -> Place:
    share = max(round(place.role.num_cpus * scale, 4), LEAST_SHARE) if place.role.num_cpus else 0.0
    return place if scale == 1.0 else replace(place, role=replace(place.role, num_cpus=share))


def _go_together(places: Sequence[Place], nodes: Sequence[Resources]) -> bool:
    """Whether each place finds a node, the largest first, each on the node with the most CPUs left."""
    left = [dict(node) for node in nodes]
    for place in sorted(places, key=lambda place: -place.role.num_cpus):
        others = {name: amount for name, amount in place.bundle.items() if name != "CPU"}
        able = [node for node in left if all(node.get(name, 0.0) >= amount for name, amount in others.items())]
        if not able:
            continue  # it waits for a node of another kind
        roomiest = max(able, key=lambda node: node.get("CPU", 0.0))
        if roomiest.get("CPU", 0.0) < place.role.num_cpus:
            return False
        for name, amount in place.bundle.items():
            roomiest[name] = roomiest.get(name, 0.0) - amount
    return True


def _sum(bundles: Sequence[Resources]) -> dict[str, float]:
    total: dict[str, float] = {}
    for bundle in bundles:
        for name, amount in bundle.items():
            total[name] = total.get(name, 0.0) + amount
    return total
