"""A trained policy out of a run folder, without its dataset and without Ray."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cluster import checkpoint
from cluster.build import AlgorithmSpec
from cluster.options import recipe_from_json
from cluster.run_folder import RunFolder, spaces_from_json
from learners.algorithm import Algorithm, Observation
from learners.observations import finite

logger = logging.getLogger(__name__)

Act = Callable[[Observation, Any], tuple[NDArray[Any], Any]]


def load_policy(run: Path, which: str = "latest", *, device: str = "cpu") -> tuple[Algorithm, dict[str, Any]]:
    """The algorithm at a checkpoint (`latest`, `best` or `step-N`) and the run's configuration.

    Raises `RunError` where the run, or that checkpoint of it, is missing or damaged.
    """
    folder = RunFolder(run)
    config = folder.read_config()
    spec = algorithm_spec(config)
    algorithm = spec.create(device)
    path, saved = checkpoint.read(folder.checkpoints, which)
    checkpoint.check_layout(path, saved.learner, algorithm)
    algorithm.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in saved.learner.items()})
    return algorithm, config


def algorithm_spec(config: dict[str, Any]) -> AlgorithmSpec:
    """What builds a run's algorithm again, from its `config.json`."""
    recipe = recipe_from_json(config["recipe"], "config.json")
    return AlgorithmSpec(
        recipe.algorithm,
        recipe.knobs,
        spaces_from_json(config["spaces"]),
        config["statistics"],
        recipe.seed,
    )


def acting(algorithm: Algorithm, *, seed: int, deterministic: bool = True) -> Act:
    """The policy as `envs.evaluate` and `envs.collect` call it; each call draws its own noise.

    It sees 0 in the place of what is not finite, as a broken sensor's numbers are, and the first time says so.
    """
    calls = 0
    told = False

    def act(observation: Observation, state: Any) -> tuple[NDArray[Any], Any]:
        nonlocal calls, told
        calls += 1
        shown, changed = finite(observation)
        if changed and not told:
            told = True
            logger.warning("the environment observes NaN or infinite numbers; the policy is shown 0 in their place.")
        return algorithm.act(shown, state, key=(seed, calls), deterministic=deterministic)

    return act
