"""What a run takes at least, of this machine: known from what it is told and what the data is, before any is taken."""

from __future__ import annotations

import math

from cluster.backends.placement import joins_a_cluster
from cluster.loop import IN_FLIGHT
from cluster.options import OnlineRecipe, Recipe, Topology
from learners.algorithm import Algorithm
from replay.batch import Request
from replay.memory import require
from replay.schema import columns_of
from replay.spaces import Spaces, observation_columns
from replay.view import View

ENVIRONMENT_BYTES = 16 << 20
"""Of memory that a process that holds an environment does not share with others."""


def check_batches(
    recipe: Recipe, topology: Topology, spaces: Spaces, algorithm: Algorithm, view: View | None, *, held: int
) -> None:
    """Raises `DataError` where this machine's memory cannot hold the batches that are under way at a time and `held`
    more, and the weights that label them: what a gradient step takes is known to `learners.base.footprint`. What a
    cluster's nodes have is not known here.
    """
    if joins_a_cluster(topology):
        return
    request = algorithm.requires
    schedule = recipe.schedule
    ahead = max(recipe.depth, IN_FLIGHT if recipe.fused and not recipe.priority_exponent else 0)
    ahead = min(ahead, schedule.chunks - 1)
    draws = len(schedule.draws_of(0)) * (ahead + 1)
    if recipe.label_reuse > 1:
        draws += len(schedule.steps_of(0))  # the train buffer
    rows = recipe.batch_size * (draws + held) + (recipe.imagined_capacity or 0)
    published = algorithm.imagine_weights() if recipe.fused else algorithm.target_weights()
    weights = published.nbytes * (min(recipe.depth, schedule.chunks) + 1)
    require(
        rows * row_bytes(spaces, request, view) + weights,
        f"--batch-size {recipe.batch_size}, --chunk-steps {recipe.chunk_steps}, --depth {recipe.depth}",
        "what is under way at a time",
        "lower one of them.",
    )


def row_bytes(spaces: Spaces, request: Request, view: View | None) -> int:
    """Of what a batch holds for each of its rows, at least: a transition with its history and its chunk, or the
    steps of a window or an episode."""
    steps = {"transitions": 1, "windows": request.length}.get(request.kind, 1)
    if request.kind == "episodes" and view is not None and len(view.length):
        steps = math.ceil(view.length.mean())
    observations = observation_columns(spaces.observation)
    widths = {column.name: column.width for column in columns_of(spaces, {})}
    observation = sum(widths[name] for name in observations)
    past = request.history + 1
    actions = max(request.action_chunk, 1)
    masks = request.action_chunk + (2 * past if request.history else 0)
    beside = (observation if request.goals is not None else 0) + (8 if request.tasks is not None else 0)
    return steps * (2 * past * observation + actions * widths["action"] + 4 + 4 + 1 + 1) + masks + beside + 8


def check_environments(online: OnlineRecipe, topology: Topology) -> None:
    """Raises `DataError` where this machine has no memory for a process for each environment."""
    if online.vectorization == "async" and not joins_a_cluster(topology):
        runners = topology.env_runners.count
        require(
            runners * online.envs_per_runner * ENVIRONMENT_BYTES,
            f"--envs-per-runner {online.envs_per_runner}",
            f"{runners * online.envs_per_runner:,} environments, in a process each,",
            "ask for fewer.",
        )
