"""Numbers that are out of range, or none, for every option and knob: made of what each of them declares."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from typing import Annotated, Any, get_args, get_origin

from cluster.settings import option as option_of
from replay.ranges import fits, hints, range_of

VALUES: tuple[Any, ...] = (
    float("nan"),
    float("inf"),
    float("-inf"),
    -1,
    -0.5,
    0,
    2**63,
    10**12,
    10**30,
    1e300,
    10**400,
    "²",
    "",
    "text",
    "1",
    True,
    [1],
    {},
    object,
)
WORDS = (
    "nan",
    "inf",
    "-inf",
    "-1",
    "0",
    "0.5",
    "1000000000000",
    "1" + 30 * "0",
    "1e300",
    "²",
    "٣",
    "",
    "text",
    "1_000",
    "0x10",
    "True",
)


@dataclass(frozen=True)
class Setting:
    """A field of numbers of a dataclass of options or knobs."""

    owner: type[Any]
    name: str
    kind: Any
    """Its annotation."""

    @property
    def several(self) -> bool:
        return get_origin(_bare(self.kind)) is tuple

    def read(self, word: str) -> Any:
        """The value that a word stands for, or the word itself where it is no number."""
        whole = not any(fits(0.5, part) for part in _parts(_bare(self.kind)))
        if re.fullmatch(r"-?[0-9]+" if whole else r"-?[0-9.]+(e[0-9]+)?|-?inf|nan", word, re.ASCII):
            return int(word) if whole else float(word)
        return word

    def holds(self, value: Any) -> bool:
        return fits((value,) if self.several else value, self.kind)

    def bad_values(self) -> Iterator[Any]:
        """Values from Python that it does not hold."""
        for value in VALUES:
            for entry in ((value,), value) if self.several else (value,):
                if not fits(entry, self.kind) and entry != [1]:
                    yield entry

    def bad_words(self) -> Iterator[str]:
        return (word for word in WORDS if not self.holds(self.read(word)))


def settings(owner: type[Any]) -> list[Setting]:
    """The fields of numbers, with or without None, and tuples of them."""
    found = [Setting(owner, name, kind) for name, kind in hints(owner).items()]
    return [setting for setting in found if any(_is_number(part) for part in _parts(_bare(setting.kind)))]


def undeclared(owner: type[Any]) -> list[str]:
    """Those that declare no range, or one that has no end where numbers are whole."""
    names = []
    for setting in settings(owner):
        whole = not any(fits(0.5, part) for part in _parts(_bare(setting.kind)))
        if range_of(setting.kind) is None or (whole and (setting.holds(10**30) or setting.holds(-(10**30)))):
            names.append(f"{owner.__name__}.{setting.name}")
    return names


def from_python(owner: type[Any], setting: Setting, value: Any, error: type[Exception], **rest: Any) -> str:
    """What is wrong with how the record refuses a value; nothing, mostly."""
    try:
        owner(**{**rest, setting.name: value})
    except error as refusal:
        return _named(setting, str(refusal))
    except Exception as other:
        return f"raised {type(other).__name__}: {str(other)[:100]}"
    return "was accepted"


def from_words(setting: Setting, word: str, errors: tuple[type[Exception], ...], **rest: Any) -> str:
    """What is wrong with how a word of a command line is refused: while it is read, or by the record."""
    from cluster.commands.options import parse

    default = _default(setting)
    one = make_dataclass("One", [(setting.name, setting.kind, field(default=default))], frozen=True)
    said = io.StringIO()
    option = option_of(setting.name, setting.kind)
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            value = getattr(
                parse(one, "train", [f"{option}={word}"] if not setting.several else [option, word]), setting.name
            )
            setting.owner(**{**rest, setting.name: value})
    except errors as refusal:
        return _named(setting, str(refusal))
    except SystemExit as usage:
        return _named(setting, said.getvalue()) if usage.code == 2 else f"exit status {usage.code}"
    except Exception as other:
        return f"raised {type(other).__name__}: {str(other)[:100]}"
    return "was accepted"


def _named(setting: Setting, message: str) -> str:
    names = setting.name, option_of(setting.name, setting.kind)[2:].replace("-", "_")
    if not re.search(rf"\b({'|'.join(names).replace('_', '[-_]')})\b", message, re.IGNORECASE):
        return f"does not name it: {message[:150]!r}"
    if len(message) > 2000 or (len(message.splitlines()) > 1 and "╭" not in message):
        return f"is no line: {message[:150]!r}"
    return ""


def _default(setting: Setting) -> Any:
    entry = next(entry for entry in fields(setting.owner) if entry.name == setting.name)
    if entry.default is not MISSING:
        return entry.default
    return (1,) if setting.several else 1


def _bare(kind: Any) -> Any:
    return _bare(get_args(kind)[0]) if get_origin(kind) is Annotated else kind


def _parts(kind: Any) -> list[Any]:
    """The kinds of a union, and of a tuple's entries."""
    parts = [part for part in get_args(kind) if part is not Ellipsis]
    return [bare for part in parts for bare in _parts(_bare(part))] if parts else [kind]


def _is_number(kind: Any) -> bool:
    return kind in (int, float)
