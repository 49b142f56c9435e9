"""Where the roles of a run go: which device each computes on, and the backend with a place for every actor."""

from __future__ import annotations

from dataclasses import replace

from cluster import process
from cluster.backend import Backend
from cluster.crew import shard_actor_count, updater_count
from cluster.errors import RunError
from cluster.options import Recipe, Topology
from cluster.serial_backend import SerialBackend
from replay.view import View


def settle_devices(recipe: Recipe, topology: Topology) -> tuple[Recipe, Topology]:
    """`auto` becomes the GPU where this machine (or, on a cluster, the topology) has one for the learner."""
    wanted = recipe.device
    if wanted == "auto":
        given = topology.learners.num_gpus > 0
        here = topology.address is None and process.gpu_present()
        wanted = "cuda" if given or here else "cpu"
    if wanted == "cuda" and topology.learners.num_gpus == 0:
        topology = replace(topology, learners=replace(topology.learners, num_gpus=1.0))
    if wanted == "cpu" and topology.learners.num_gpus > 0:
        topology = replace(topology, learners=replace(topology.learners, num_gpus=0.0))
    if wanted not in ("cpu", "cuda"):
        raise RunError(f"--device: found {wanted!r}, expected auto, cpu or cuda.")
    if wanted == "cuda" and topology.serial and not process.gpu_present():
        raise RunError("--device cuda: PyTorch finds no GPU on this machine; use --device auto or cpu.")
    return replace(recipe, device=wanted), topology


def make_backend(recipe: Recipe, topology: Topology, view: View, evaluates: bool, *, online: bool = False) -> Backend:
    if topology.serial:
        return SerialBackend()
    from cluster.ray_backend import Place, RayBackend  # the only import of ray, so that --serial never needs it

    shards = shard_actor_count(view, topology)
    counts = [
        ("replay_shard", topology.replay_shards, shards),
        ("bellman_updater", topology.bellman_updaters, updater_count(recipe, topology)),
        ("learner", topology.learners, topology.learners.count),
        ("evaluator", topology.evaluators, int(evaluates)),
    ]
    if online:
        counts += [
            ("online_writer", topology.online_writers, 1),
            ("env_runner", topology.env_runners, topology.env_runners.count),
        ]
    alone = ("evaluator", "online_writer")
    places = [Place(name if name in alone else f"{name}-{n}", role) for name, role, c in counts for n in range(c)]
    return RayBackend(topology, places, threads=recipe.threads)
