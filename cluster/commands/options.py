"""What the options of several commands share: how they are parsed, and the JSON, environments and names they hold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import tyro

from cluster.errors import RunError
from replay.ranges import Range, hints, range_of

if TYPE_CHECKING:
    from envs import EnvSpec

Options = TypeVar("Options", bound=Any)


def parse(kind: type[Options], command: str, arguments: Sequence[str], default: Options | None = None) -> Options:
    """The options in `arguments`, over those of `default`. Ends the process after help or a usage message."""
    told = with_ranges(kind)
    given: dict[str, Any] = {} if default is None else {"default": as_a(told, default)}
    found = tyro.cli(told, prog=f"quiver {command}", args=list(arguments), config=(tyro.conf.OmitArgPrefixes,), **given)
    return as_a(kind, found)


def with_ranges(kind: type[Options]) -> type[Options]:
    """A subclass of a dataclass of options whose help tells the range that each of them declares.

    It checks nothing: `as_a` makes the real record, whose own error is the one to show, and not a usage message.
    """
    changed = {name: hinted for name, hint in hints(kind).items() if (hinted := _told(hint)) is not hint}
    unchecked = {"__post_init__": lambda self: None}
    body = {"__annotations__": changed, "__doc__": kind.__doc__, "__module__": kind.__module__, **unchecked}
    return dataclass(frozen=True)(type(kind.__name__, (kind,), body)) if changed else kind


def as_a(kind: type[Options], record: Any) -> Options:
    """The same fields as a record of another type."""
    return (
        record if type(record) is kind else kind(**{entry.name: getattr(record, entry.name) for entry in fields(kind)})
    )


def _told(hint: Any) -> Any:
    span = range_of(hint)
    if span is None:
        return hint
    return Annotated[hint, tyro.conf.arg(help_behavior_hint=lambda default: _told_of(span, default))]


def _told_of(span: Range, default: str | None) -> str:
    return f"({span})" if default is None else f"({span}; default: {default})"


def json_object(text: str | None, option: str) -> dict[str, Any]:
    """The object an option holds. Raises `RunError`, naming it, for anything else."""
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise RunError(f"{option}: found {text!r}, expected a JSON object ({error}).") from None
    if not isinstance(value, dict):
        raise RunError(f'{option}: found {text!r}, expected a JSON object such as {{"name": 1}}.')
    return value


def pairs(entries: Sequence[str], option: str) -> dict[str, str]:
    """`a=b` entries as a mapping. Raises `RunError` for one without an equals sign, and for a name given twice."""
    found: dict[str, str] = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not (name and equals and value):
            raise RunError(f"{option}: found {entry!r}, expected NAME=NAME.")
        if name in found:
            raise RunError(f"{option}: {name!r} is given twice.")
        found[name] = value
    return found


def given(arguments: Sequence[str], name: str) -> bool:
    """Whether the option of this name is among them, spelled with hyphens or underscores."""
    option = f"--{name.replace('_', '-')}"
    return any(word.partition("=")[0].replace("_", "-") == option for word in arguments)


def environment(
    env: str | None,
    kwargs: str | None,
    reset_options: str | None,
    observation_key: str | None,
    recorded: Mapping[str, str] | None = None,
) -> EnvSpec | None:
    """The environment that four options describe, or None without `--env`. `recorded` has those of them that a file
    named instead of a person, and the file.

    Raises `RunError` for options that go with an `--env` which is not there, and as `required_environment` does.
    """
    if env is not None:
        found = required_environment(env, kwargs, reset_options, observation_key)
        names = {"env": "id", "env_kwargs": "kwargs", "reset_options": "reset_options"}
        parts = {names[option]: where for option, where in (recorded or {}).items() if option in names}
        return replace(found, recorded=parts)
    given = {"--env-kwargs": kwargs, "--reset-options": reset_options, "--observation-key": observation_key}
    for option, value in given.items():
        if value is not None:
            raise RunError(f"{option}: goes with --env, which is not given.")
    return None


def required_environment(
    env: str, kwargs: str | None, reset_options: str | None, observation_key: str | None
) -> EnvSpec:
    """The environment that four options describe. Raises `RunError` for JSON that is none."""
    from envs import EnvSpec

    resets = None if reset_options is None else json_object(reset_options, "--reset-options")
    return EnvSpec(env, json_object(kwargs, "--env-kwargs"), resets, observation_key)


def recorded_environment(provenance: Mapping[str, Any], where: str = "the dataset") -> EnvSpec | None:
    """The environment that a dataset says it was recorded in, or None where it says nothing. The dataset, which is
    `where`, has named it, and no person.

    Raises `EnvError` for a record that is none.
    """
    record = provenance.get("env_spec")
    if not record:
        return None
    from envs import EnvError, EnvSpec

    if not isinstance(record, Mapping) or not isinstance(record.get("kwargs") or {}, Mapping):
        raise EnvError(f"{where}: provenance.env_spec is {record!r}, expected an object with an 'id' and 'kwargs'.")
    kwargs = dict(record.get("kwargs") or {})
    if record.get("max_episode_steps") is not None:
        kwargs["max_episode_steps"] = record["max_episode_steps"]
    named = {"id": record.get("id"), "kwargs": kwargs, "reset_options": record.get("reset_options")}
    return EnvSpec.from_json({**named, "observation_key": provenance.get("observation_key")}, where)
