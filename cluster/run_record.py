"""`config.json`: what stands in it, field by field, and held to that wherever a run is read.

The parts that were records of their own, `recipe`, `topology`, `cadence`, `online` and the algorithm's knobs, are what
those dataclasses say, ranges included; the others are stated here. What earlier versions did not write may be left out,
where it has a default. So whoever has a configuration from `RunFolder.read_config` may rely on all of it.
"""

from __future__ import annotations

import os
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import numpy as np

import learners
from cluster.errors import RunError
from cluster.options import Cadence, OnlineRecipe, Recipe, Role, Topology
from learners.errors import LearnerError
from replay.errors import DataError
from replay.ranges import Range, fits, hints, range_of
from replay.ranges import expected as told
from replay.schema import DTYPES
from replay.spaces import Box, Spaces, observation_columns
from replay.spaces import from_json as space_from_json

REMEDY = "No run writes that; restore the file."
LONGEST = 80
"""Characters of what was found that a message shows."""

Count = Annotated[int, Range(0, 2**63 - 1)]
Positive = Annotated[int, Range(1, 2**63 - 1)]
Shape = Annotated[tuple[int, ...], Range(0, 2**31)]
Bounds = Annotated[tuple[float | None, ...], Range(entries=2**31)]

MOST_ELEMENTS = 2**31
"""Of an observation or an action."""
ROLES = tuple(entry.name for entry in fields(Topology) if isinstance(entry.default, Role))
ALWAYS = ("replay_shards", "bellman_updaters", "learners")
"""Roles that every version wrote; those of fine-tuning, and evaluators, came later."""


# --- The parts that are stated here ---


@dataclass(frozen=True)
class DatasetRecord:
    """An entry of `datasets`."""

    path: str
    transitions: Count
    episodes: Count
    digest: str = ""
    snapshot: Count | None = None
    provenance: dict[str, Any] | None = None


@dataclass(frozen=True)
class EnvironmentRecord:
    """As `EnvSpec.to_json` writes it."""

    id: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    reset_options: dict[str, Any] | None = None
    observation_key: str | None = None


@dataclass(frozen=True)
class BeginningRecord:
    """`from`: the run and the checkpoint that fine-tuning began with."""

    run: str
    checkpoint: str


@dataclass(frozen=True)
class MachineRecord:
    """An entry of `machines`: from which step on the learner was on which kind."""

    step: Count
    machine: dict[str, str]


@dataclass(frozen=True)
class SpacesRecord:
    observation: dict[str, Any]
    action: dict[str, Any]


@dataclass(frozen=True)
class BoxRecord:
    type: Literal["box"]
    shape: Shape
    dtype: str
    low: Bounds
    high: Bounds


@dataclass(frozen=True)
class DiscreteRecord:
    type: Literal["discrete"]
    n: Positive
    start: Annotated[int, Range(-(2**63), 2**63 - 1)] = 0


@dataclass(frozen=True)
class ImageRecord:
    type: Literal["image"]
    shape: Shape
    encoding: str


@dataclass(frozen=True)
class DictRecord:
    type: Literal["dict"]
    spaces: dict[str, Any]


_SPACES: dict[str, type[Any]] = {
    "box": BoxRecord,
    "discrete": DiscreteRecord,
    "image": ImageRecord,
    "dict": DictRecord,
}


# --- The whole ---


def check_config(config: Mapping[str, Any], where: str) -> None:
    """Raises `RunError`, naming the file `where` and the field, unless all of a `config.json` is what a run writes.

    Knobs that an earlier version recorded and that have no effect are taken out of it.
    """
    for name in ("recipe", "topology", "cadence", "spaces"):
        _object(config, name, where)
    for name in ("statistics", "environment", "reference_scores", "datasets"):
        if name not in config:
            raise RunError(f"{where}: {name} is missing. {REMEDY}")
    recipe = read_recipe(config["recipe"], where)
    spaces = read_spaces(config["spaces"], where)
    if recipe.algorithm in learners.names():
        # Those that earlier versions offered although they did nothing.
        knobs = learners.recorded_knobs(recipe.algorithm, spaces, recipe.knobs)
        recipe, config["recipe"]["knobs"] = replace(recipe, knobs=knobs), knobs
    read_knobs(recipe, where)
    read_topology(config["topology"], where)
    made(Cadence, config["cadence"], where, "cadence")
    _datasets(config["datasets"], recipe, where)
    _statistics(config["statistics"], spaces, where)
    if config["environment"] is not None:
        environment = made(EnvironmentRecord, config["environment"], where, "environment")
        if not environment.id:
            raise refusal(where, "environment.id", environment.id, "a name")
    _scores(config["reference_scores"], where)
    if not isinstance(config.get("id", ""), str):
        raise refusal(where, "id", config["id"], "text")
    _machines(config, where)
    if "online" in config:
        _online(config, where)


def read_recipe(record: Any, where: str) -> Recipe:
    """Raises `RunError` as `check_config` does."""
    recipe = made(Recipe, record, where, "recipe")
    for number, (path, _) in enumerate(recipe.datasets):
        check_path(path, where, f"recipe.datasets[{number}][0]")
    knobs = {name: tuple(value) if isinstance(value, list) else value for name, value in recipe.knobs.items()}
    return replace(recipe, knobs=knobs)


def read_knobs(recipe: Recipe, where: str) -> Any:
    """The configuration of the recipe's algorithm. Raises `RunError` as `check_config` does."""
    try:
        kind = learners.config_class(recipe.algorithm)
    except LearnerError as error:
        raise RunError(f"{where}: recipe.algorithm: {error}") from error
    return made(kind, recipe.knobs, where, "recipe.knobs")


def read_topology(record: Any, where: str) -> Topology:
    """Raises `RunError` as `check_config` does."""
    values = dict(record) if isinstance(record, dict) else record
    for name in ROLES if isinstance(values, dict) else ():
        if name in values or name in ALWAYS:
            _object(values, name, where, "topology.")
            values[name] = made(Role, values[name], where, f"topology.{name}", needed=("count",))
    return made(Topology, values, where, "topology")


def read_spaces(record: Any, where: str) -> Spaces:
    """Raises `RunError` as `check_config` does."""
    parts = made(SpacesRecord, record, where, "spaces")
    for name in ("observation", "action"):
        _space(getattr(parts, name), where, f"spaces.{name}", outer=name == "observation")
    try:
        observation = space_from_json(parts.observation, "spaces.observation")
        action = space_from_json(parts.action, "spaces.action")
    except DataError as error:
        raise RunError(f"{where}: {error}") from error
    if parts.action["type"] not in ("box", "discrete"):
        raise refusal(where, "spaces.action.type", parts.action["type"], "box or discrete")
    return Spaces(observation, action)  # type: ignore[arg-type]


def _datasets(record: Any, recipe: Recipe, where: str) -> None:
    if not isinstance(record, list):
        raise refusal(where, "datasets", record, "a list")
    if len(record) != len(recipe.datasets):
        raise RunError(
            f"{where}: datasets: found {len(record)}, and recipe.datasets has {len(recipe.datasets)}. {REMEDY}"
        )
    for number, entry in enumerate(record):
        dataset = made(DatasetRecord, entry, where, f"datasets[{number}]", open_=True)
        check_path(dataset.path, where, f"datasets[{number}].path")


def _statistics(record: Any, spaces: Spaces, where: str) -> None:
    """Numbers by column and name, those of the spaces' columns as many as these have elements."""
    if record is None:
        return
    sizes = {name: leaf.size for name, leaf in observation_columns(spaces.observation).items() if isinstance(leaf, Box)}
    if isinstance(spaces.action, Box):
        sizes["action"] = spaces.action.size
    if not isinstance(record, dict):
        raise refusal(where, "statistics", record, "an object or null")
    for column, entry in record.items():
        if not isinstance(entry, dict):
            raise refusal(where, f"statistics.{column}", entry, "an object")
        for name, value in entry.items():
            try:
                array = np.asarray(value)
            except ValueError:  # lists of unequal lengths
                array = np.zeros(0, object)
            if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
                raise refusal(where, f"statistics.{column}.{name}", value, "finite numbers")
            if column in sizes and name != "count" and array.size != sizes[column]:
                raise RunError(
                    f"{where}: statistics.{column}.{name}: found {array.size:,} numbers, expected {sizes[column]:,}, "
                    f"as many as the space has elements. {REMEDY}"
                )


def _scores(record: Any, where: str) -> None:
    pair = tuple(record) if isinstance(record, list) else record
    if pair is not None and not (fits(pair, tuple[float, float]) and pair[0] < pair[1]):
        raise refusal(where, "reference_scores", record, "two finite numbers, the lower one first, or null")


def _machines(config: Mapping[str, Any], where: str) -> None:
    machine, history = config.get("machine"), config.get("machines")
    if machine is not None and not fits(machine, dict[str, str]):
        raise refusal(where, "machine", machine, "an object of text, or null")
    if history is not None and not isinstance(history, list):
        raise refusal(where, "machines", history, "a list or null")
    for number, entry in enumerate(history or ()):
        made(MachineRecord, entry, where, f"machines[{number}]")


def _online(config: Mapping[str, Any], where: str) -> None:
    made(OnlineRecipe, config["online"], where, "online")
    _object(config, "environment", where)
    if "env_runners" not in config["topology"]:
        raise RunError(f"{where}: topology.env_runners is missing. {REMEDY}")
    if config.get("from") is not None:
        begun = made(BeginningRecord, config["from"], where, "from")
        check_path(begun.run, where, "from.run")


def _space(record: Mapping[str, Any], where: str, at: str, *, outer: bool) -> None:
    kinds = _SPACES if outer else {name: kind for name, kind in _SPACES.items() if name != "dict"}
    kind = record.get("type")
    if not isinstance(kind, str) or kind not in kinds:
        raise refusal(where, f"{at}.type", kind, " or ".join(kinds))
    made(kinds[kind], record, where, at)
    if kind == "box" and record["dtype"] not in DTYPES:
        raise refusal(where, f"{at}.dtype", record["dtype"], f"one of {', '.join(DTYPES)}")
    size = 1
    for side in record.get("shape", ()):
        size *= side
    if size > MOST_ELEMENTS:
        raise refusal(where, f"{at}.shape", record["shape"], f"at most {MOST_ELEMENTS:,} elements")
    for key, part in record["spaces"].items() if kind == "dict" else ():
        if not isinstance(part, dict):
            raise refusal(where, f"{at}.spaces.{key}", part, "an object")
        _space(part, where, f"{at}.spaces.{key}", outer=False)


# --- A record out of JSON ---


def made(
    kind: Callable[..., Any], record: Any, where: str, at: str, *, needed: tuple[str, ...] = (), open_: bool = False
) -> Any:
    """The dataclass `kind` with the values of a JSON object, which stands `at` a place in the file `where`.

    Each must be of its annotated type and range; lists are tuples. Fields with a default may be missing, but for those
    `needed`; other names are refused, unless it is `open_`. Raises `RunError`, naming file and field.
    """
    if not isinstance(record, dict):
        raise refusal(where, at, record, "an object")
    known: dict[str, Any] = hints(kind)
    if (unknown := sorted(record.keys() - known.keys())) and not open_:
        raise RunError(
            f"{where}: {at} has unknown entries {shown(unknown)}; was it written by another version? "
            f"It has {', '.join(known)}."
        )
    values = {}
    for entry in fields(kind):  # type: ignore[arg-type]
        if entry.name in record:
            value = _as_tuple(record[entry.name], known[entry.name])
            # Some settings have no range of their own, but no machine counts further.
            if not fits(value, known[entry.name]) or (isinstance(value, int) and abs(value) >= 2**64):
                raise refusal(where, f"{at}.{entry.name}", record[entry.name], expected(known[entry.name]))
            values[entry.name] = value
        elif entry.name in needed or (entry.default is MISSING and entry.default_factory is MISSING):
            raise RunError(f"{where}: {at}.{entry.name} is missing. {REMEDY}")
    try:
        return kind(**values)
    except (RunError, LearnerError) as error:
        raise RunError(f"{where}: {at}: {error}") from error


def check_path(text: str, where: str, at: str) -> None:
    """Raises `RunError` for what no file system takes for a path."""
    try:
        named = bool(text) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        named = False
    if not named:
        raise refusal(where, at, text, "a path")


def refusal(where: str, at: str, found: Any, expected: str) -> RunError:
    """What is wrong at a place in a file, or with all of it."""
    place = f"{where}: {at}" if at else where
    return RunError(f"{place}: found {shown(found)}, expected {expected}. {REMEDY}")


def shown(value: Any) -> str:
    """A value in at most a line."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "a number too long to show"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def expected(kind: Any, span: Range | None = None) -> str:
    """An annotated type in words, as JSON has it."""
    if get_origin(kind) is Annotated:
        return expected(get_args(kind)[0], range_of(kind) or span)
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(expected(part, span) for part in parts)
    if origin is dict:
        return "an object" if parts[1] is Any else f"an object, each entry {expected(parts[1], span)}"
    if origin is tuple:
        alike = parts[-1:] == (Ellipsis,)
        each = f"each {expected(parts[0], span)}" if alike else ", ".join(expected(part, span) for part in parts)
        return f"a list ({each})"
    return "null" if kind is types.NoneType else told(kind, span)


def _as_tuple(value: Any, kind: Any) -> Any:
    """JSON's lists as tuples, where the annotation has tuples."""
    if get_origin(kind) is Annotated:
        return _as_tuple(value, get_args(kind)[0])
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return next((found for part in parts if (found := _as_tuple(value, part)) is not value), value)
    if origin is not tuple or not isinstance(value, list):
        return value
    if parts[-1:] == (Ellipsis,):
        return tuple(_as_tuple(entry, parts[0]) for entry in value)
    pairs = zip(value, parts, strict=False)
    return tuple(value) if len(value) != len(parts) else tuple(_as_tuple(entry, part) for entry, part in pairs)


def _object(record: Mapping[str, Any], name: str, where: str, prefix: str = "") -> None:
    if not isinstance(record.get(name), dict):
        raise refusal(where, prefix + name, record.get(name), "an object")
