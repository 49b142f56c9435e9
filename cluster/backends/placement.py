"""Where the roles of a run go: which device each computes on, and the backend with a place for every actor."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import Any

from cluster import process
from cluster.actor_plan import ActorPlan
from cluster.backends.backend import Backend
from cluster.backends.room import Place
from cluster.backends.serial_backend import SerialBackend
from cluster.errors import RunError
from cluster.options import Recipe, Role, Topology
from cluster.ranges import LEAST_SHARE
from cluster.run import Run
from replay.memory import require

LEARNER_SHARE = 0.6
"""Of a GPU that a learner shares with updaters: above one half, so that no two learners meet on one."""

PROCESS_BYTES = 64 << 20
"""Of memory that a process of a run does not share with others, PyTorch in it."""

_ACTORS = 256
"""Of a serial run, one after the other."""

_THREADS, _THREADS_EACH = 256, 64
"""That this machine may be asked for, all processes together: so many, or so many for each of its processors."""


def settle_devices(recipe: Recipe, topology: Topology) -> tuple[Recipe, Topology]:
    """What `--device` means for every role: the recipe's device is cpu or cuda then, and the topology says so too.

    cpu: no role asks for a GPU, whatever the topology gives it. cuda: learners and updaters each have a GPU, or a
    share of one. auto: as the topology has it; where it says nothing, a GPU if the run stays on this machine and
    PyTorch finds one here. A run that joins a cluster never looks at the driver's machine.
    A GPU of evaluators or runners is for what their environments render or simulate: their policies act on the CPU.

    Raises `RunError` for another device, and for cuda in a serial run where this process has none.
    """
    wanted = recipe.device
    if wanted not in ("auto", "cpu", "cuda"):
        raise RunError(f"--device: found {wanted!r}, expected auto, cpu or cuda.")
    if topology.serial:
        if wanted == "auto":
            wanted = "cuda" if process.gpu_present() else "cpu"
        if wanted == "cuda" and not process.gpu_present():
            raise RunError("--device cuda: PyTorch finds no GPU on this machine; use --device auto or cpu.")
        # Actors asks the topology which updaters compute on a GPU.
        return replace(recipe, device=wanted), _with_gpus(topology) if wanted == "cuda" else _without_gpus(topology)
    if wanted == "cpu":
        return recipe, _without_gpus(topology)
    computing = (topology.learners, topology.bellman_updaters)
    if wanted == "auto" and any(role.count and role.num_gpus for role in computing):
        return replace(recipe, device="cuda" if topology.learners.num_gpus > 0 else "cpu"), topology
    if wanted == "auto" and (joins_a_cluster(topology) or not process.gpu_present()):
        return replace(recipe, device="cpu"), topology
    return replace(recipe, device="cuda"), _with_gpus(topology)


def joins_a_cluster(topology: Topology) -> bool:
    """Whether the run goes to a Ray that is there already, instead of starting it on this machine."""
    return (topology.address or os.environ.get("RAY_ADDRESS") or "local") != "local"


def _without_gpus(topology: Topology) -> Topology:
    roles: dict[str, Any] = {
        name: replace(role, num_gpus=0.0) for name, role in vars(topology).items() if isinstance(role, Role)
    }
    return replace(topology, **roles)


def _with_gpus(topology: Topology) -> Topology:
    """Learners and updaters that were given no GPU get one, or a share; not so updaters that may differ from them."""
    learners, updaters = topology.learners, topology.bellman_updaters
    lacking = updaters.count > 0 and updaters.num_gpus == 0 and not topology.allow_mixed
    if learners.num_gpus > 0:
        left, sharing = 1.0, updaters.count
    elif lacking:
        # Neither was given one: each learner's GPU serves its part of the updaters, too.
        left, sharing = 1.0 - LEARNER_SHARE, math.ceil(updaters.count / learners.count)
        learners = replace(learners, num_gpus=LEARNER_SHARE)
    else:
        learners = replace(learners, num_gpus=1.0)
    if lacking:
        share = math.floor(left / sharing / LEAST_SHARE) * LEAST_SHARE
        updaters = replace(updaters, num_gpus=max(round(share, 4), LEAST_SHARE))
    return replace(topology, learners=learners, bellman_updaters=updaters)


def make_backend(run: Run, plan: ActorPlan) -> Backend:
    """The backend, with a place for each actor of the plan.

    Raises `RunError` where there is no room for them.
    """
    recipe, topology = run.recipe, run.topology
    places = [Place(actor.name, _asking(actor.resources)) for actor in plan]
    if topology.serial:
        if len(places) > _ACTORS:
            raise RunError(
                f"--serial: {len(places):,} actors in one process, expected at most {_ACTORS}; lower --shards, "
                "--updaters, --evaluators or --runners, or leave --serial out."
            )
        check_processes(1, recipe.threads)
        return SerialBackend()
    if not joins_a_cluster(topology):
        check_processes(len(places), recipe.threads)
    from cluster.backends.ray_backend import RayBackend  # the only import of ray, so that --serial never needs it

    return RayBackend(topology, places, threads=recipe.threads)


def check_processes(processes: int, threads: int) -> None:
    """Raises `RunError` for more threads than this machine can make use of, and `DataError` where it has no memory for
    so many processes of a run."""
    processors = len(os.sched_getaffinity(0))
    most = max(_THREADS, _THREADS_EACH * processors)
    if processes * threads > most:
        raise RunError(
            f"--threads {threads}: {processes:,} processes of {threads} threads each, on {processors} processors, "
            f"expected at most {most:,} threads in all. Lower --threads, or how many actors there are."
        )
    require(
        processes * PROCESS_BYTES,
        "--shards, --updaters, --learners, --evaluators, --runners",
        f"{processes:,} processes",
        "ask for fewer, or join a cluster with --address.",
    )


def _asking(role: Role) -> Role:
    """Ray places nothing that asks for nothing: such a role asks for next to nothing."""
    asks = role.num_cpus > 0 or role.num_gpus > 0 or any(amount > 0 for amount in role.resources.values())
    return role if asks else replace(role, num_cpus=LEAST_SHARE)
