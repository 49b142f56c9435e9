"""The run's topology as it stands in `ray_config.yaml`, under `metadata.quiver`, checked key by key.

`ray up` reads the same file and leaves `metadata` to its users.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cluster.errors import RunError
from cluster.options import Role, Topology

WHERE = "metadata.quiver"
_DEFAULTS = Topology()


class _Section(BaseModel):
    # Strict: "2" is no number. Extra keys are refused: a misspelt one would go unnoticed.
    model_config = ConfigDict(extra="forbid", strict=True)


class RoleSection(_Section):
    """What stands under one role. What is left out keeps the role's default."""

    count: int | None = Field(default=None, ge=0)
    num_cpus: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    num_gpus: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    resources: dict[str, float] | None = None

    def over(self, role: Role) -> Role:
        """`role` with what the file says of it."""
        return Role(**{**vars(role), **self.model_dump(exclude_none=True)})


class RolesSection(_Section):
    replay_shards: RoleSection = RoleSection()
    bellman_updaters: RoleSection = RoleSection()
    learners: RoleSection = RoleSection()
    evaluators: RoleSection = RoleSection()
    env_runners: RoleSection = RoleSection()
    online_writers: RoleSection = RoleSection()


class QuiverSection(_Section):
    """Everything under `metadata.quiver`."""

    roles: RolesSection = RolesSection()
    address: str | None = _DEFAULTS.address
    stage: str | None = _DEFAULTS.stage
    allow_mixed: bool = _DEFAULTS.allow_mixed
    max_restarts: int = Field(default=_DEFAULTS.max_restarts, ge=0)
    late_chunk_seconds: float = Field(default=_DEFAULTS.late_chunk_seconds, gt=0, allow_inf_nan=False)


_SECTIONS: dict[str, type[_Section]] = {
    "": QuiverSection,
    "roles": RolesSection,
    **{f"roles.{role}": RoleSection for role in RolesSection.model_fields},
}


def read_topology(path: Path) -> Topology:
    """The topology in a cluster file. Raises `RunError`, naming file and key, for anything that does not fit."""
    import yaml

    try:
        record = yaml.safe_load(path.read_text())
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); --config names a YAML file.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: is no YAML ({' '.join(str(error).split())}).") from error
    section: Any = record
    for key in WHERE.split("."):
        section = section.get(key) if isinstance(section, dict) else None
    if section is None:
        raise RunError(f"{path}: has no {WHERE}; the topology of a run stands there. Copy the one in ray_config.yaml.")
    return parse_topology(section, str(path))


def parse_topology(section: Any, where: str) -> Topology:
    """The topology that `section`, the content of `metadata.quiver`, describes; `where` begins every message."""
    try:
        checked = QuiverSection.model_validate(section)
    except ValidationError as error:
        raise RunError("\n".join(f"{where}: {_message(entry)}" for entry in error.errors())) from None
    roles = {name: getattr(checked.roles, name).over(getattr(_DEFAULTS, name)) for name in RolesSection.model_fields}
    for name in ("replay_shards", "learners"):
        if roles[name].count < 1:
            raise RunError(f"{where}: {WHERE}.roles.{name}.count: found {roles[name].count}, expected at least 1.")
    return Topology(
        **roles,
        address=checked.address,
        stage=checked.stage,
        allow_mixed=checked.allow_mixed,
        max_restarts=checked.max_restarts,
        late_chunk_seconds=checked.late_chunk_seconds,
    )


def _message(entry: Any) -> str:
    parents, key = [str(part) for part in entry["loc"][:-1]], str(entry["loc"][-1]) if entry["loc"] else ""
    full = ".".join([WHERE, *parents, key]).rstrip(".")
    if entry["type"] == "extra_forbidden":
        known = list(_SECTIONS[".".join(parents)].model_fields)
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}."
        return f"{full}: unknown; {hint}"
    if entry["type"] == "model_type":
        return f"{full}: found {entry['input']!r}, expected keys with values below it."
    return f"{full}: found {entry['input']!r}, expected: {entry['msg'].removeprefix('Input should be ')}."
