"""The run's topology as it stands in `ray_config.yaml`, under `metadata.quiver`, checked key by key.

`ray up` reads the same file and leaves `metadata` to its users.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from cluster import ranges
from cluster.errors import RunError
from cluster.options import Role, Topology
from cluster.ranges import LEAST_SHARE
from cluster.settings import ADDRESS, PATH, Text
from cluster.yaml_text import read_yaml
from replay.ranges import range_of, shown

WHERE = "metadata.quiver"
_DEFAULTS = Topology()

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


def _countable(amount: float) -> float:
    if 0.0 < amount < LEAST_SHARE:
        raise ValueError(f"0, or at least {LEAST_SHARE:g}, which is what Ray counts in")
    return amount


def _whole_above_one(amount: float) -> float:
    if amount > 1.0 and not amount.is_integer():
        raise ValueError("a share of one GPU, or a whole number of them")
    return amount


def _resource_name(name: str) -> str:
    if name in _RESERVED:
        raise ValueError(_RESERVED[name])
    return name


def _holding(kind: Text) -> AfterValidator:
    def check(text: str) -> str:
        if not kind.fits(text):
            raise ValueError(kind.what)
        return text

    return AfterValidator(check)


def _within(kind: Any) -> Any:
    """The range that is declared for a run's record, in pydantic's words."""
    span = range_of(kind)
    assert span is not None
    if span.above:
        return Field(gt=span.least, le=span.most)
    return Field(ge=span.least, le=span.most)


_FINITE = Field(allow_inf_nan=False)
_Amount = Annotated[float, _within(ranges.Amount), _FINITE, AfterValidator(_countable)]


class _Section(BaseModel):
    # Strict: "2" is no number. Extra keys are refused: a misspelt one would go unnoticed.
    model_config = ConfigDict(extra="forbid", strict=True)


class RoleSection(_Section):
    """What stands under one role. What is left out keeps the role's default."""

    count: Annotated[int, _within(ranges.Actors)] | None = None
    num_cpus: _Amount | None = None
    num_gpus: Annotated[_Amount, AfterValidator(_whole_above_one)] | None = None
    resources: dict[Annotated[str, AfterValidator(_resource_name)], _Amount] | None = None

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
    address: Annotated[str, _holding(ADDRESS)] | None = _DEFAULTS.address
    stage: Annotated[str, _holding(PATH)] | None = _DEFAULTS.stage
    allow_mixed: bool = _DEFAULTS.allow_mixed
    max_restarts: Annotated[int, _within(ranges.Restarts)] = _DEFAULTS.max_restarts
    late_chunk_seconds: Annotated[float, _within(ranges.Seconds), _FINITE] = _DEFAULTS.late_chunk_seconds
    env_timeout: Annotated[float, _within(ranges.EnvTimeout), _FINITE] = _DEFAULTS.env_timeout


_SECTIONS: dict[str, type[_Section]] = {
    "": QuiverSection,
    "roles": RolesSection,
    **{f"roles.{role}": RoleSection for role in RolesSection.model_fields},
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
    """The topology that `section`, the content of `metadata.quiver`, describes; `where` begins every message."""
    try:
        checked = QuiverSection.model_validate(section)
    except ValidationError as error:
        raise RunError("\n".join(f"{where}: {_message(entry)}" for entry in error.errors())) from None
    roles = {name: getattr(checked.roles, name).over(getattr(_DEFAULTS, name)) for name in RolesSection.model_fields}
    for name, role in roles.items():
        _check_role(name, role, f"{where}: {WHERE}.roles.{name}")
    return Topology(
        **roles,
        address=checked.address,
        stage=checked.stage,
        allow_mixed=checked.allow_mixed,
        max_restarts=checked.max_restarts,
        late_chunk_seconds=checked.late_chunk_seconds,
        env_timeout=checked.env_timeout,
    )


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


def _message(entry: Any) -> str:
    # In a dictionary, an entry about a key itself ends so.
    path = [str(part) for part in entry["loc"] if part != "[key]"]
    parents, key = path[:-1], path[-1] if path else ""
    full = ".".join([WHERE, *parents, key]).rstrip(".")
    if entry["type"] == "extra_forbidden":
        known = list(_SECTIONS[".".join(parents)].model_fields)
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}."
        return f"{full}: unknown; {hint}"
    found = shown(entry["input"])
    if entry["type"] == "model_type":
        return f"{full}: found {found}, expected keys with values below it."
    expected = entry["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return f"{full}: found {found}, expected: {expected}."
