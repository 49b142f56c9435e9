"""What the options of several commands share: how they are parsed, and the JSON, environments and names they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from cluster.errors import RunError
from cluster.json_text import json_object
from cluster.plain_text import plain_text
from cluster.settings import Text, is_number, is_text, number, takes_whole_numbers
from cluster.settings import option as option_of
from replay.ranges import Range, fits, hints, range_of, shown

if TYPE_CHECKING:
    from envs import EnvSpec

Options = TypeVar("Options", bound=Any)


_FLAT = (tyro.conf.OmitArgPrefixes,)


def parse(kind: type[Options], command: str, arguments: Sequence[str], default: Options | None = None) -> Options:
    """The options in `arguments`, over those of `default`. Ends the process after help or a usage message, in which
    both, which may be a run's or a file's names, are text.

    Raises `RunError` for a number that is none, and for what does not fit the record.
    """
    told = draft(kind)
    record = None if default is None else as_a(told, default)
    words, said = [plain_text(word, keep="") for word in arguments], _as_text(record)
    try:
        if words != list(arguments) or said != record:
            _read(told, command, words, said)  # which ends the process where there is something to say
        return as_a(kind, _read(told, command, arguments, record))
    except UnicodeEncodeError as error:  # a usage message quotes what it does not know
        stray = next((word for word in arguments if not is_text(word)), "")
        raise RunError(f"quiver {command}: found {shown(stray)}, expected an option, or a value in UTF-8.") from error


def _read(kind: type[Options], command: str, arguments: Sequence[str], default: Options | None) -> Options:
    given: dict[str, Any] = {} if default is None else {"default": default}
    return tyro.cli(kind, prog=f"quiver {command}", args=list(arguments), config=_FLAT, **given)


def _as_text(value: Any) -> Any:
    """A record of options with all text in it as it may be printed."""
    if isinstance(value, str):
        return plain_text(value, keep="")
    if isinstance(value, tuple):
        return tuple(map(_as_text, value))
    if is_dataclass(value) and not isinstance(value, type):
        old = {entry.name: getattr(value, entry.name) for entry in fields(value)}
        new = {name: _as_text(entry) for name, entry in old.items()}
        return value if new == old else replace(value, **new)
    return value


def draft(kind: type[Options]) -> type[Options]:
    """A dataclass of options as it is before all of them are known: help tells their ranges, numbers are read as
    `settings.number` does, and nothing is checked yet. `as_a` makes the record itself of it, whose errors are then
    those to show, and not a usage message."""
    changed = {name: hinted for name, hint in hints(kind).items() if (hinted := _told(name, hint)) is not hint}
    unchecked = {"__post_init__": lambda self: None}
    body = {"__annotations__": changed, "__doc__": kind.__doc__, "__module__": kind.__module__, **unchecked}
    return dataclass(frozen=True)(type(kind.__name__, (kind,), body))


def as_a(kind: type[Options], record: Any) -> Options:
    """The same fields as a record of another type."""
    return (
        record if type(record) is kind else kind(**{entry.name: getattr(record, entry.name) for entry in fields(kind)})
    )


def _told(name: str, hint: Any) -> Any:
    """The annotation of an option of numbers with its range in the help, and read from ASCII alone; others as they are.

    Raises `RunError` while the command line is read, since what the library says of a bad number is not ours.
    """
    bare = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    several = get_origin(bare) is tuple and get_args(bare)[1:] == (Ellipsis,)
    each = get_args(bare)[0] if several else bare
    if not is_number(each):
        return hint
    span, called = range_of(hint), option_of(name)
    within = each if span is None else Annotated[each, span]
    metavar = "INT" if takes_whole_numbers(each) else "FLOAT"
    reader: PrimitiveConstructorSpec[Any] = PrimitiveConstructorSpec(
        nargs="*" if several else 1,
        metavar=f"[{metavar} [{metavar} ...]]" if several else f"{{None}}|{metavar}" if fits(None, bare) else metavar,
        instance_from_str=lambda words: (
            tuple(number(word, within, called) for word in words) if several else number(words[0], within, called)
        ),
        is_instance=lambda value: fits(value, bare),
        str_from_instance=lambda value: list(map(str, value)) if several else [str(value)],
    )
    if span is None:
        return Annotated[hint, reader]
    return Annotated[hint, reader, tyro.conf.arg(help_behavior_hint=lambda default: _told_of(span, default))]


def _told_of(span: Range, default: str | None) -> str:
    return f"({span})" if default is None else f"({span}; default: {default})"


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


def told(arguments: Sequence[str], name: str, kind: Text) -> str | None:
    """What the option of this name is given, before the others are read: the last time it is, None where it is not.

    Raises `RunError` for text of another kind.
    """
    found = None
    for word, following in pairwise([*arguments, "--"]):
        if given([word], name):
            _, equals, value = word.partition("=")
            found = value if equals else None if following.startswith("--") else following
    if found is not None:
        kind.check(found, option_of(name))
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
