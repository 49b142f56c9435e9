"""What must fit before work starts, or goes on: algorithms, environments, actors and their processors."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

import envs
from cluster import process
from cluster.actors import Actors
from cluster.backends.placement import joins_a_cluster
from cluster.errors import RunError
from cluster.fit import check_fit
from cluster.options import Recipe, Topology
from envs import EnvSpec, Exploration
from learners.algorithm import Algorithm
from replay.batch import Request
from replay.draw_tasks import check_tasks
from replay.records import listed
from replay.spaces import Spaces
from replay.view import View

logger = logging.getLogger(__name__)


def rows_here(recipe: Recipe, topology: Topology) -> int:
    """Rows of a learner's step, if this machine's memory is what it has to fit in; 0 where another's or a GPU's is."""
    elsewhere = recipe.device != "cpu" or (joins_a_cluster(topology) and not topology.serial)
    return 0 if elsewhere else recipe.batch_size // topology.learners.count


def check_algorithm(algorithm: Algorithm, recipe: Recipe, topology: Topology) -> None:
    """Raises `RunError` for updaters without anything to compute, for imagining without a model, and for batches that
    learners cannot share."""
    if not recipe.fused and not algorithm.has_targets:
        raise RunError(f"--updaters: {recipe.algorithm} has no targets to compute; leave the option out.")
    if recipe.imagine_every is not None and not algorithm.imagines:
        raise RunError(f"--imagine-every: {recipe.algorithm} has no model to imagine by; leave it out.")
    if recipe.imagine_every is not None and topology.learners.count > 1:
        raise RunError("--learners: imagined transitions are one learner's; leave the option out.")
    if recipe.batch_size % topology.learners.count:
        raise RunError(f"--batch-size: {recipe.batch_size} does not divide by --learners {topology.learners.count}.")


def acts_towards(request: Request) -> str | None:
    """What a policy must be told besides observations, in words: why an environment alone cannot let it act."""
    if request.goals is not None:
        return "acts towards a goal, and environments give it none yet"
    if request.tasks is not None:
        return f"does one of several tasks ({listed(request.tasks.names)}), and an environment does not say which"
    return None


def check_drawing(view: View, recipe: Recipe, request: Request) -> None:
    """Raises `DataError` for tasks that the view's data cannot give, and `RunError` for ways of drawing that rule each
    other out."""
    if request.tasks is None:
        return
    check_tasks(view, request.tasks)
    if request.tasks.balance and (recipe.priority_exponent > 0 or recipe.shards_per_draw is not None):
        raise RunError(
            "--balance-tasks: found with --priority-exponent or --shards-per-draw, and each would decide what is "
            "drawn; leave one of them out."
        )


def check_interaction(spec: EnvSpec, vectorization: str, exploration: Exploration, spaces: Spaces) -> None:
    """Raises `EnvError` for environments that cannot be stepped so, or explored so, and `RunError` for those that have
    other spaces where they are stepped so."""
    vector = envs.make_vector(spec, 1, vectorization)
    try:
        check_fit(vector.single_observation_space, vector.single_action_space, spaces, spec.id)
        envs.explore(
            lambda observation, state, first: (observation, state),
            vector.single_action_space,
            exploration,
            np.random.default_rng(0),
        )
    finally:
        vector.close()


def check_environment(spec: EnvSpec, spaces: Spaces, *, warn: bool = True) -> None:
    """Raises `EnvError` for an environment that cannot be made, `RunError` for one with other spaces (`fit`)."""
    environment = envs.make(spec)
    try:
        warnings = check_fit(environment.observation_space, environment.action_space, spaces, spec.id)
    finally:
        environment.close()
    for warning in warnings if warn else ():
        logger.warning("%s", warning)


def check_actors(actors: Actors, *, allow_mixed: bool) -> dict[str, str]:
    """The learner's fingerprint and the shard actors', once every actor has answered: what one of them lacks (a GPU, an
    environment, room to stage its shards, a library that decodes pictures) is known then.

    Raises what an actor could not be made for, and `RunError` for updaters whose labels would differ from the learner's
    in the last bits, and shard actors whose pictures may differ, unless `allow_mixed`.
    """
    backend = actors.backend
    others = [*actors.evaluators, *actors.writers, *actors.runners]
    shards = [backend.call(shard, "fingerprint") for shard in actors.shards]
    waiting = [backend.call(actor, "ready") for actor in others]
    fingerprints = [backend.call(updater, "fingerprint") for updater in actors.updaters]
    ours: dict[str, str] = backend.get(actors.learners.ask("fingerprint"))
    for reference in waiting:
        backend.get(reference)
    decoders = _decoders([backend.get(shard) for shard in shards], allow_mixed=allow_mixed)
    for number, theirs in enumerate(map(backend.get, fingerprints)):
        if difference := process.describe_difference(ours, theirs):
            message = (
                f"bellman_updater-{number} runs on another kind of processor than the learner ({'; '.join(difference)})"
            )
            if not allow_mixed:
                raise RunError(
                    f"{message}: results would depend on who labels what. Pin the roles to one kind of node in "
                    "ray_config.yaml, or accept that with --allow-mixed."
                )
            logger.warning("%s: results are not bit-identical to a serial run's.", message)
    return {**ours, **decoders}


def _decoders(fingerprints: Sequence[dict[str, str]], *, allow_mixed: bool) -> dict[str, str]:
    """What decodes pictures, the same for every shard actor."""
    for number, theirs in enumerate(fingerprints):
        if difference := process.describe_difference(fingerprints[0], theirs):
            message = f"replay_shard-0 and replay_shard-{number} decode differently ({'; '.join(difference)})"
            if not allow_mixed:
                raise RunError(
                    f"{message}: results would depend on who serves which rows. Install the same version on every "
                    "node, or accept that with --allow-mixed."
                )
            logger.warning("%s: results are not bit-identical to a serial run's.", message)
    return fingerprints[0]


def check_same_machine(actors: Actors, ours: dict[str, str], *, allow_mixed: bool) -> None:
    """Raises `RunError` where a learner that was started again computes on another kind of machine than the first."""
    theirs = actors.backend.get(actors.learners.ask("fingerprint"))
    if difference := process.describe_difference({name: ours[name] for name in ours if name in theirs}, theirs):
        message = f"the learner was started again on another kind of machine ({'; '.join(difference)})"
        if not allow_mixed:
            raise RunError(
                f"{message}: the run would not end as on either of them. Go on with --resume on the kind that it began "
                "on, or accept that with --resume --allow-mixed."
            )
        logger.warning("%s: the run's results are those of neither.", message)
