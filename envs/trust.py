"""What may be made because a file says so: built-in environments, with arguments that open nothing.

An id `module:name` runs the module, and an argument such as `xml_file` opens a file: whoever wrote the data would
decide what happens here. So what a person has named is made as it is, and what only data has named must pass `check`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym

from envs.errors import EnvError
from envs.spec import EnvSpec

PACKAGES = ("gymnasium", "gymnasium_robotics", "ogbench")
"""Those that Quiver and its extras install: their environments are built in."""

OGBENCH_NAMES = re.compile(
    r"(visual-)?(pointmaze|antmaze|humanoidmaze|antsoccer|cube|scene|puzzle|powderworld|online)-"
)
"""How the names of OGBench's environments and datasets begin; nobody else's do."""

WORDS: Mapping[str, frozenset[str]] = {
    "map_name": frozenset({"4x4", "8x8"}),
    "maze_map": frozenset({"r", "g", "c"}),
    "mode": frozenset({"task", "data_collection"}),
    "ob_type": frozenset({"states", "pixels"}),
    "render_mode": frozenset({"rgb_array"}),
    "reward_type": frozenset({"sparse", "dense"}),
    "success_timing": frozenset({"pre", "post"}),
    "tasks_to_complete": frozenset(
        {
            "bottom burner",
            "top burner",
            "light switch",
            "slide cabinet",
            "hinge cabinet",
            "microwave",
            "kettle",
        }
    ),
}
"""Arguments that take text, and what data may say there: words that built-in environments choose by, never files."""


def check(spec: EnvSpec) -> None:
    """Raises `EnvError` for what data has named in `spec` and only a person may: see `EnvSpec.recorded`.

    The packages must have been registered: it reads gymnasium's registry, and imports nothing.
    """
    if "id" in spec.recorded:
        _check_id(spec)
    for part, option in (("kwargs", "--env-kwargs"), ("reset_options", "--reset-options")):
        where = spec.recorded.get(part)
        for name, value in (getattr(spec, part) or {}).items():
            if where is not None and not _harmless(value, WORDS.get(name, frozenset())):
                raise EnvError(
                    f"environment {spec.id}, {part}: {where} names {name} = {value!r}, and what data names may be "
                    "numbers, truth values and the words of built-in environments: other text could open files. "
                    f"If you trust it, repeat it in {option}, or add --trust-env."
                )


def _check_id(spec: EnvSpec) -> None:
    where = spec.recorded["id"]
    remedy = f"If you trust it, name it yourself with --env {spec.id}, or add --trust-env."
    if ":" in spec.id:
        raise EnvError(
            f"environment {spec.id}: {where} names it, and making it would run the module "
            f"{spec.id.partition(':')[0]}. {remedy}"
        )
    # An id without a version means the newest one.
    known = [entry for name, entry in gym.registry.items() if name == spec.id or name.startswith(f"{spec.id}-v")]
    for entry in known:
        for made_by in (entry.entry_point, entry.vector_entry_point):
            if made_by is not None and (package := _package(made_by)) not in PACKAGES:
                raise EnvError(
                    f"environment {spec.id}: {where} names it, and it is made by {package}, which is none of "
                    f"{', '.join(PACKAGES)}. {remedy}"
                )


def _package(made_by: str | Callable[..., Any]) -> str:
    """The package of an entry point: `module:attribute`, or the function or class itself."""
    module = made_by if isinstance(made_by, str) else str(getattr(made_by, "__module__", None))
    return module.partition(":")[0].partition(".")[0]


def _harmless(value: Any, words: frozenset[str]) -> bool:
    if isinstance(value, Mapping):
        return all(_harmless(item, words) for item in value.values())
    if isinstance(value, list):
        return all(_harmless(item, words) for item in value)
    return value in words if isinstance(value, str) else True
