"""The run's topology as it stands in `ray_config.yaml`, under `metadata.quiver`, checked key by key.

Its keys are the fields of `options.Topology`, and the roles' those of `options.Role`. `ray up` reads the same file and
leaves `metadata` to its users.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cluster.errors import RunError
from cluster.options import Role, Topology
from cluster.ranges import LEAST_SHARE
from cluster.settings import text_of
from cluster.yaml_text import read_yaml
from replay.ranges import expected, fits, hints, shown

WHERE = "metadata.quiver"
_DEFAULTS = Topology()
_ROLES = {name: role for name, role in vars(_DEFAULTS).items() if isinstance(role, Role)}
_SETTINGS = {name: kind for name, kind in hints(Topology).items() if name not in (*_ROLES, "serial")}
"""Whether a run is serial is said at the command line: the file describes a cluster."""

# What no resource of one's own is called, and what to write instead. Ray refuses these names late; the empty one
# aborts the driver.
_RESERVED = {
    "": "a name",
    "CPU": "num_cpus beside `resources`",
    "GPU": "num_gpus beside `resources`",
    "memory": "a resource of your own: Quiver reserves no memory",
    "object_store_memory": "a resource of your own: Quiver reserves no memory",
    "bundle": "another name: Ray uses it for itself",
}


def read_topology(path: Path) -> Topology:
    """The topology in a cluster file. Raises `RunError`, naming file and key, for anything that does not fit."""
    record = read_yaml(path, "--config")
    section: Any = record
    for key in WHERE.split("."):
        section = section.get(key) if isinstance(section, dict) else None
    if section is None:
        raise RunError(f"{path}: has no {WHERE}; the topology of a run stands there. Copy the one in ray_config.yaml.")
    return parse_topology(section, str(path))


def parse_topology(section: Any, where: str) -> Topology:
    """The topology that `section`, the content of `metadata.quiver`, describes; `where` begins every message.

    Raises `RunError` with a line for each mistake.
    """
    mistakes: list[str] = []
    top = _keys(section, WHERE, ("roles", *_SETTINGS), mistakes)
    roles = _keys(top.pop("roles", {}), f"{WHERE}.roles", tuple(_ROLES), mistakes)
    found = {name: value for name, value in top.items() if _fits(value, _SETTINGS[name], f"{WHERE}.{name}", mistakes)}
    sections = {name: _role(name, section, mistakes) for name, section in roles.items()}
    if mistakes:
        raise RunError("\n".join(f"{where}: {mistake}" for mistake in mistakes))
    made: dict[str, Any] = {name: replace(_ROLES[name], **values) for name, values in sections.items()}
    for name, role in made.items():
        _check_role(name, role, f"{where}: {WHERE}.roles.{name}")
    return replace(_DEFAULTS, **made, **found)


def _role(name: str, section: Any, mistakes: list[str]) -> dict[str, Any]:
    """What stands under one role. What is left out, or empty, keeps the role's default."""
    at = f"{WHERE}.roles.{name}"
    kinds = hints(Role)
    values = {key: value for key, value in _keys(section, at, tuple(kinds), mistakes).items() if value is not None}
    for key, value in values.items():
        if key == "resources":
            for resource, amount in _keys(value, f"{at}.resources", None, mistakes).items():
                if not isinstance(resource, str) or resource in _RESERVED:
                    instead = _RESERVED.get(resource, "text")
                    mistakes.append(
                        f"{at}.resources.{resource}".rstrip(".") + f": found {shown(resource)}, expected {instead}."
                    )
                else:
                    _fits_amount(amount, hints(Role)["num_cpus"], f"{at}.resources.{resource}", mistakes)
        elif key == "count":
            _fits(value, kinds[key], f"{at}.{key}", mistakes)
        elif _fits_amount(value, kinds[key], f"{at}.{key}", mistakes) and key == "num_gpus":
            _fits_gpus(value, f"{at}.{key}", mistakes)
    return values


def _keys(section: Any, at: str, known: tuple[str, ...] | None, mistakes: list[str]) -> dict[Any, Any]:
    """What stands below a key by its names, of those `known`, where not all are."""
    if not isinstance(section, Mapping):
        mistakes.append(f"{at}: found {shown(section)}, expected keys with values below it.")
        return {}
    for key in section:
        if known is not None and key not in known:
            near = difflib.get_close_matches(str(key)[:100], known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}."
            mistakes.append(f"{at}.{str(key)[:100]}: unknown; {hint}")
    return {key: value for key, value in section.items() if known is None or key in known}


def _fits(value: Any, kind: Any, at: str, mistakes: list[str]) -> bool:
    text = text_of(kind)
    if not fits(value, kind):
        mistakes.append(f"{at}: found {shown(value)}, expected {expected(kind)}.")
    elif text is not None and value is not None and not text.fits(value):
        mistakes.append(f"{at}: found {shown(value)}, expected {text.what}.")
    else:
        return True
    return False


def _fits_amount(value: Any, kind: Any, at: str, mistakes: list[str]) -> bool:
    if not _fits(value, kind, at, mistakes):
        return False
    if 0 < value < LEAST_SHARE:
        mistakes.append(f"{at}: found {value:g}, expected 0, or at least {LEAST_SHARE:g}, which is what Ray counts in.")
    return True


def _check_role(name: str, role: Role, where: str) -> None:
    """Raises `RunError` for what such a role cannot make use of."""
    if name in ("replay_shards", "learners") and role.count < 1:
        raise RunError(f"{where}.count: found {role.count}, expected at least 1.")
    if name == "online_writers" and role.count != 1:
        raise RunError(
            f"{where}.count: found {role.count}, expected 1: an online store has one writer, which "
            "`quiver finetune` starts and `quiver train` leaves out. Leave out the key."
        )
    if name in ("replay_shards", "online_writers") and role.num_gpus > 0:
        raise RunError(f"{where}.num_gpus: found {role.num_gpus:g}, but this role has no use for a GPU. Leave it out.")


def _fits_gpus(value: float, at: str, mistakes: list[str]) -> None:
    if value > 1 and value != int(value):
        mistakes.append(f"{at}: found {shown(value)}, expected a share of one GPU, or a whole number of them.")
