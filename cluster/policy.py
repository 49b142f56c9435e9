"""A trained policy out of a run folder, without its dataset and without Ray."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cluster import checkpoint
from cluster.build import AlgorithmSpec
from cluster.errors import RunError
from cluster.run_folder import RunFolder
from cluster.run_record import read_recipe, read_spaces
from envs import Act
from learners.algorithm import Algorithm, Observation
from learners.base.observations import finite
from learners.errors import LearnerError
from replay.ranges import shown
from replay.records import listed

logger = logging.getLogger(__name__)


def load_policy(run: Path, which: str = "latest", *, device: str = "cpu") -> tuple[Algorithm, dict[str, Any]]:
    """The algorithm at a checkpoint (`latest`, `best` or `step-N`) and the run's configuration.

    Raises `RunError` where the run, or that checkpoint of it, is missing or damaged.
    """
    folder = RunFolder(run)
    config = folder.read_config()
    try:
        algorithm = algorithm_spec(config, str(folder.config)).create(device)
    except LearnerError as error:
        raise RunError(f"{folder.config}: {error}") from error
    path, saved = checkpoint.read(folder.checkpoints, which)
    checkpoint.check_layout(path, saved.learner, algorithm)
    algorithm.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in saved.learner.items()})
    return algorithm, config


def algorithm_spec(config: dict[str, Any], where: str) -> AlgorithmSpec:
    """What builds a run's algorithm again, from its `config.json`, which is `where`."""
    recipe = read_recipe(config["recipe"], where)
    return AlgorithmSpec(
        recipe.algorithm,
        recipe.knobs,
        read_spaces(config["spaces"], where),
        config["statistics"],
        recipe.seed,
    )


def acting(algorithm: Algorithm, *, seed: int, deterministic: bool = True, task: str | None = None) -> Act:
    """The policy as `envs.evaluate`, `envs.collect` and `envs.Rollout` call it; each call draws its own noise.

    It is shown 0 in the place of what float32 cannot hold, and the first time a warning says so. In fine-tuning that
    may be NaN or infinite, as a broken sensor's numbers are; where an environment must be finite, as in evaluation and
    collecting, it is what is too large. Raises `RunError` for a task that it does not know, or none where it knows
    some, and for a policy that acts towards goals, which environments do not give.
    """
    _check_task(algorithm, task)
    calls = 0
    told = False

    def act(observation: Observation, state: Any, first: NDArray[np.bool_]) -> tuple[NDArray[Any], Any]:
        nonlocal calls, told
        calls += 1
        shown, changed = finite(observation)
        if changed and not told:
            told = True
            logger.warning(
                "the environment observes NaN, infinite numbers or such as float32 cannot hold; the policy is shown 0 "
                "in their place."
            )
        return algorithm.act(shown, state, first, key=(seed, calls), deterministic=deterministic, task=task)

    return act


def _check_task(algorithm: Algorithm, task: str | None) -> None:
    if algorithm.requires.goals is not None:
        raise RunError("the policy acts towards a goal, and environments give it none yet; `act` takes one.")
    known = () if algorithm.requires.tasks is None else algorithm.requires.tasks.names
    if task is not None and not known:
        raise RunError(f"--task: found {shown(task)}, but the policy knows no tasks; leave it out.")
    if known and task not in known:
        raise RunError(
            f"--task: {'is missing' if task is None else f'found {shown(task)}'}, expected one of {listed(known)}."
        )
