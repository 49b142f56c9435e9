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


def acting(algorithm: Algorithm, *, seed: int, deterministic: bool = True) -> Act:
    """The policy as `envs.evaluate`, `envs.collect` and `envs.Rollout` call it; each call draws its own noise.

    It is shown 0 in the place of what float32 cannot hold, and the first time a warning says so. In fine-tuning that
    may be NaN or infinite, as a broken sensor's numbers are; where an environment must be finite, as in evaluation and
    collecting, it is what is too large.
    """
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
        return algorithm.act(shown, state, first, key=(seed, calls), deterministic=deterministic)

    return act
