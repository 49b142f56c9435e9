"""Algorithms, one file each. Adding one: its file, and its line below."""

from __future__ import annotations

import difflib
import importlib
from dataclasses import fields
from typing import Any

from learners.algorithm import Algorithm, Metrics, Observation, Targets, Weights
from learners.errors import LearnerError
from replay.spaces import Discrete, Spaces

__all__ = [
    "Algorithm",
    "LearnerError",
    "Metrics",
    "Observation",
    "Targets",
    "Weights",
    "config_class",
    "create",
    "names",
]

ALGORITHMS = {
    "bc": "learners.bc:BC",
    "iql": "learners.iql:IQL",
    "cql": "learners.cql:CQL",
    "calql": "learners.calql:CalQL",
    "sac": "learners.sac:SAC",
    "td3": "learners.td3:TD3",
    "td3bc": "learners.td3bc:TD3BC",
    "rebrac": "learners.rebrac:ReBRAC",
    "awac": "learners.awac:AWAC",
    "awr": "learners.awr:AWR",
    "edac": "learners.edac:EDAC",
    "redq": "learners.redq:REDQ",
    "rlpd": "learners.rlpd:RLPD",
    "msg": "learners.msg:MSG",
    "qtopt": "learners.qtopt:QTOpt",
    "fql": "learners.fql:FQL",
    "lstd": "learners.lstd:LSTD",
    "lspi": "learners.lspi:LSPI",
    "bcq": "learners.bcq:BCQ",
    "bear": "learners.bear:BEAR",
    "brac": "learners.brac:BRAC",
}


def names() -> list[str]:
    return sorted(ALGORITHMS)


def algorithm_class(name: str) -> Any:
    """The class behind a name. Raises `LearnerError` with near matches for an unknown one."""
    if name not in ALGORITHMS:
        near = difflib.get_close_matches(name, ALGORITHMS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise LearnerError(f"algorithm: found {name!r}, expected one of {', '.join(names())}.{hint}")
    return _load(ALGORITHMS[name])


def _load(where: str) -> Any:
    module, _, attribute = where.partition(":")
    return getattr(importlib.import_module(module), attribute)


def config_class(name: str) -> type[Any]:
    """The frozen dataclass of an algorithm's knobs."""
    return algorithm_class(name).Config


def create(
    name: str,
    spaces: Spaces,
    *,
    seed: int = 0,
    statistics: Any = None,
    device: str = "cpu",
    compile: bool = False,
    **knobs: Any,
) -> Algorithm:
    """An algorithm ready to train. `statistics` (a dataset's) are what observations are normalised by.

    Raises `LearnerError` for an unknown name or knob, and for spaces the algorithm cannot serve.
    """
    algorithm = algorithm_class(name)
    known = {entry.name for entry in fields(algorithm.Config)}
    for knob in knobs:
        if knob not in known:
            near = difflib.get_close_matches(knob, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise LearnerError(f"{name}: unknown knob {knob!r}; it has {', '.join(sorted(known))}.{hint}")
    if isinstance(spaces.action, Discrete) and algorithm.discrete is not None:
        algorithm = _load(algorithm.discrete)
    return algorithm(
        spaces, algorithm.Config(**knobs), seed=seed, statistics=statistics, device=device, compile=compile
    )
