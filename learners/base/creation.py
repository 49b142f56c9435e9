"""From a name and knobs to an algorithm that is ready to train."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from learners.algorithm import Algorithm
from learners.base.checks import check_seed, check_spaces, check_statistics, usable_device
from learners.base.footprint import require_memory
from learners.catalogue import CATALOGUE
from learners.errors import LearnerError
from replay.ranges import shown
from replay.spaces import Discrete, Spaces


def algorithm_class(name: str) -> Any:
    """The class behind a name. Raises `LearnerError` with near matches for an unknown one."""
    if not isinstance(name, str) or name not in CATALOGUE:
        raise LearnerError(
            f"algorithm: found {shown(name)}, expected one of {', '.join(sorted(CATALOGUE))}.{_near(name, CATALOGUE)}"
        )
    return _load(CATALOGUE[name].where)


def _near(name: Any, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1) if isinstance(name, str) and len(name) < 100 else ()
    return f" Did you mean {near[0]!r}?" if near else ""


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
    rows: int = 0,
    **knobs: Any,
) -> Algorithm:
    """An algorithm ready to train, on `device`: cpu, cuda or cuda:N. `statistics` (a dataset's) are what observations
    are normalised by. `rows` are those of the batches that it will be trained on, where it will be.

    Raises `LearnerError` for an unknown name or knob, for spaces the algorithm cannot serve, and, before it takes any,
    for more memory than there is: of the algorithm, and of a step on so many rows.
    """
    algorithm = algorithm_class(name)
    known = {entry.name for entry in fields(algorithm.Config)}
    for knob in knobs:
        if knob not in known:
            raise LearnerError(
                f"{name}: unknown knob {shown(knob)}; it has {', '.join(sorted(known))}.{_near(knob, known)}"
            )
    config = algorithm.Config(**knobs)
    check_seed(seed)
    check_spaces(spaces)
    check_statistics(spaces, statistics, config)
    place = usable_device(device)
    if isinstance(spaces.action, Discrete) and algorithm.discrete is not None:
        algorithm = _load(algorithm.discrete)
    algorithm.refuse_unserved(spaces)
    require_memory(algorithm, spaces, config, place, rows=rows, compile=compile)
    return algorithm(spaces, config, seed=seed, statistics=statistics, device=device, compile=compile)
