"""From a name and knobs to an algorithm that is ready to train."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from learners.algorithm import Algorithm
from learners.base.checks import check_seed, check_spaces, check_statistics, usable_device
from learners.base.config import CommonConfig
from learners.base.footprint import require_memory
from learners.catalogue import CATALOGUE
from learners.errors import LearnerError
from replay.ranges import fits, hints, shown
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


def recorded_knobs(name: str, spaces: Spaces, knobs: Mapping[str, Any]) -> dict[str, Any]:
    """The knobs of a configuration that an earlier version recorded, as this one takes them: without those that never
    had an effect, where they are what they could be. Others that are unknown stay, to be refused."""
    algorithm = algorithm_class(name)
    known = {entry.name for entry in fields(algorithm.Config)}
    former = hints(CommonConfig)
    kept = {
        knob: value
        for knob, value in knobs.items()
        if knob in known
        or knob not in former
        or not fits(tuple(value) if isinstance(value, list) else value, former[knob])
    }
    try:
        config = algorithm.Config(**kept)
    except (LearnerError, TypeError):
        return kept
    idle = served_class(algorithm, spaces).without_effect(spaces, config)
    return {knob: value for knob, value in kept.items() if knob not in idle}


def served_class(algorithm: Any, spaces: Spaces) -> Any:
    """The class of a method that serves these actions."""
    if isinstance(spaces.action, Discrete) and algorithm.discrete is not None:
        return _load(algorithm.discrete)
    return algorithm


def refuse_idle(algorithm: Any, spaces: Spaces, config: Any) -> None:
    """Raises `LearnerError` for a knob that is set to another value than its default and has no effect."""
    idle = algorithm.without_effect(spaces, config)
    for entry in fields(config):
        value = getattr(config, entry.name)
        if entry.name in idle and value != entry.default:
            raise LearnerError(
                f"{entry.name}: found {shown(value)}, which has no effect: {idle[entry.name]}. Leave it out."
            )


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

    Raises `LearnerError` for an unknown name or knob, for a knob that is set and has no effect, for spaces the
    algorithm cannot serve, and, before it takes any, for more memory than there is: of the algorithm, and of a step on
    so many rows.
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
    algorithm = served_class(algorithm, spaces)
    algorithm.refuse_unserved(spaces)
    refuse_idle(algorithm, spaces, config)
    if rows and place.type == "cpu" and getattr(config, "mixed_precision", False):
        raise LearnerError(f"mixed_precision: found True, which has no effect on {place}; leave it out, or use cuda.")
    require_memory(algorithm, spaces, config, place, rows=rows, compile=compile)
    return algorithm(spaces, config, seed=seed, statistics=statistics, device=device, compile=compile)
