"""What the options of several commands share: how they are parsed, and the JSON, environments and names they hold."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from itertools import pairwise
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast, get_args, get_origin

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from cluster.errors import RunError
from cluster.json_text import json_object
from cluster.options import Role
from cluster.plain_text import plain_text
from cluster.settings import Text, flag_of, is_number, number, takes_whole_numbers
from cluster.settings import option as option_of
from replay.ranges import Range, expected, fits, hints, range_of, shown

if TYPE_CHECKING:
    from envs import EnvSpec

Options = TypeVar("Options", bound=Any)


_FLAT = (tyro.conf.OmitArgPrefixes,)
_KEPT: PrimitiveConstructorSpec[Any] = PrimitiveConstructorSpec(
    nargs=1,
    metavar="",
    instance_from_str=lambda words: words[0],
    is_instance=lambda value: True,
    str_from_instance=lambda value: [str(value)],
)
_UNSHOWN = Annotated[Any, _KEPT, tyro.conf.Fixed[Any].__metadata__[0], tyro.conf.Suppress[Any].__metadata__[0]]
"""An annotation of what is no option: its default stays, of whatever type it is."""


def parse(kind: type[Options], command: str, arguments: Sequence[str], default: Options | None = None) -> Options:
    """The options in `arguments`, over those of `default`. Ends the process after help or a usage message, in which
    both, which may be a run's or a file's names, are text.

    Raises `RunError` for a number that is none, and for what does not fit the record.
    """
    drafted = draft(kind)
    record = None if default is None else as_a(drafted, default)
    words, said = [plain_text(word, keep="") for word in arguments], _as_text(record)
    if words != list(arguments) or said != record:
        _read(drafted, command, words, said)  # which ends the process where there is something to say
    return as_a(kind, _read(drafted, command, arguments, record))


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


def draft(kind: type[Options], unshown: frozenset[str] = frozenset()) -> type[Options]:
    """A dataclass of options as it is before all of them are known: help tells their ranges, numbers are read as
    `settings.number` does, and nothing is checked yet. `as_a` makes the record itself of it, whose errors are then
    those to show, and not a usage message. The fields `unshown` are no options."""
    return cast(type[Options], _draft(cast(Hashable, kind), unshown))


@functools.cache  # as tyro keeps what it has read of a class
def _draft(hashable: Hashable, unshown: frozenset[str]) -> Any:
    kind = cast(Any, hashable)
    changed = {name: _annotation(name, hint, name in unshown) for name, hint in hints(kind).items()}
    unchecked = {"__post_init__": lambda self: None, "drafted": True}
    # An annotation that stands again takes its default along, if that is a value, but not what makes one.
    made = {e.name: field(default_factory=e.default_factory) for e in fields(kind) if e.default_factory is not MISSING}
    body = {"__annotations__": changed, "__doc__": kind.__doc__, "__module__": kind.__module__, **unchecked, **made}
    return dataclass(frozen=True)(type(kind.__name__, (kind,), body))


def as_a(kind: type[Options], record: Any) -> Options:
    """The same fields as a record of another type."""
    return (
        record if type(record) is kind else kind(**{entry.name: getattr(record, entry.name) for entry in fields(kind)})
    )


def kind_of(record: Any) -> type[Any]:
    """The class of a record, or that of which it is a draft."""
    kind: type[Any] = next(base for base in type(record).__mro__ if "drafted" not in vars(base))
    return kind


def _annotation(name: str, hint: Any, unshown: bool) -> Any:
    """A field's annotation as the library reads it."""
    flag = flag_of(hint)
    if unshown or not flag.shown:
        return _UNSHOWN
    bare = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    several = get_origin(bare) is tuple and get_args(bare)[1:] == (Ellipsis,)
    each = get_args(bare)[0] if several else bare
    named: dict[str, Any] = {"name": flag.name} if flag.name else {}
    if bare is Role or is_number(each):
        return _number(name, hint, each, several, named)
    if flag.metavar:
        named["metavar"] = flag.metavar
    told: Any = Annotated[hint, tyro.conf.arg(**named)] if named else hint
    if several and get_origin(each) is tuple:  # written as words, of which `run_options` makes the entries
        told = Annotated[tuple[str, ...], tyro.conf.arg(**named)]
    return tyro.conf.UseAppendAction[told] if several and flag.metavar else told  # type: ignore[misc]


def _number(name: str, hint: Any, each: Any, several: bool, named: dict[str, Any]) -> Any:
    """The annotation of an option of numbers, or of how many actors a role has: read from ASCII alone, with its range
    in the help.

    Raises `RunError` while the command line is read, since what the library says of a bad number is not ours.
    """
    flag, span, called = flag_of(hint), range_of(hint), option_of(name, hint)
    bare = int if each is Role else _without_none(each) if flag.words else each
    within = bare if span is None else Annotated[bare, span]
    words = dict(flag.words)
    kind = "INT" if takes_whole_numbers(bare) else "FLOAT"
    metavar = flag.metavar or (f"{{None}}|{kind}" if fits(None, bare) else kind)

    def read(word: str) -> Any:
        if word in words:
            return words[word]
        try:
            found = number(word, within, called)
            if (flag.words or each is Role) and not fits(found, within):
                raise RunError(f"{called}: found {shown(found)}, expected {expected(within)}.")
        except RunError as error:
            other = f", or {' or '.join(words)}." if words else "."
            raise RunError(f"{str(error).removesuffix('.')}{other}") from None
        return found

    def written(value: Any) -> str:
        if isinstance(value, Role):
            return str(value.count)
        return next((word for word, meant in words.items() if meant == value), str(value))

    reader: PrimitiveConstructorSpec[Any] = PrimitiveConstructorSpec(
        nargs="*" if several else 1,
        metavar=f"[{metavar} [{metavar} ...]]" if several else metavar,
        instance_from_str=lambda found: tuple(map(read, found)) if several else read(found[0]),
        is_instance=lambda value: True,
        str_from_instance=lambda value: list(map(str, value)) if several else [written(value)],
    )
    if span is not None:
        named = {**named, "help_behavior_hint": functools.partial(_range_and_default, span)}
    return Annotated[Any if each is Role else hint, reader, tyro.conf.arg(**named)]


def _without_none(kind: Any) -> Any:
    return next(part for part in get_args(kind) if part is not NoneType)


def _range_and_default(span: Range, default: str | None) -> str:
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
    """Whether the option of this name is among them, spelled with hyphens or underscores, or its denial."""
    name = name.replace("_", "-")
    spelled = {word.partition("=")[0].replace("_", "-") for word in arguments}
    return not spelled.isdisjoint((f"--{name}", f"--no-{name}"))


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
