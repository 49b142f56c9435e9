"""Settings of a run and options of a command: held to what their annotations declare, and read from text.

A field says what it may be: `Annotated[int, Range(1, 1_024)]`, or `Annotated[str, RUN_FOLDER]`. `check_settings`
compares a record with that, wherever its values come from: a command line, a file, Python.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from cluster import ranges
from cluster.errors import RunError
from replay.ranges import check_fields, expected, fits, hints, range_of, shown

_LAST_SEED = int(span.most if (span := range_of(ranges.Seed)) else 0)


def check_settings(record: Any, name: Callable[[str], str] | None = None) -> None:
    """Raises `RunError` for a field of a dataclass that is not of its annotated type, out of its range, or text of
    another kind than it declares. `name` makes what messages call a field of its name; by default its option."""
    kinds = hints(type(record))

    def called(field: str) -> str:
        return name(field) if name is not None else option(field, kinds[field])

    check_fields(record, RunError, called)
    for field, kind in kinds.items():
        held = text_of(kind)
        value = getattr(record, field)
        if held is not None and value is not None:
            for entry in value if isinstance(value, tuple) else (value,):
                held.check(entry, called(field))


class CheckedSettings:
    """A dataclass of settings that is held to its annotations as soon as it is made. Raises `RunError`."""

    positional = ""
    """The field that the command line gives without its name, if there is one."""

    def __post_init__(self) -> None:
        kinds = hints(type(self))
        check_settings(self, lambda name: name.upper() if name == self.positional else option(name, kinds[name]))


def check_seeds(seed: int, episodes: int) -> None:
    """Raises `RunError` unless episode i, of so many, can begin with seed + i."""
    last = _LAST_SEED - max(episodes - 1, 0)
    if seed > last:
        raise RunError(
            f"--seed: found {seed}, expected at most {last}: the last of {episodes:,} episodes begins with that many "
            "more."
        )


@dataclass(frozen=True)
class Flag:
    """How the command line shows a field, where its name and type do not say it all."""

    name: str = ""
    """Of the option; the field's own, unless given."""
    metavar: str = ""
    """What stands for its value in the help."""
    words: tuple[tuple[str, Any], ...] = ()
    """Words that it takes besides numbers, each with the value that it stands for."""
    shown: bool = True
    """Whether there is such an option at all."""


def flag_of(kind: Any) -> Flag:
    """What an annotation says of its option."""
    return next((entry for entry in getattr(kind, "__metadata__", ()) if isinstance(entry, Flag)), Flag())


def option(name: str, kind: Any = None) -> str:
    """What the command line calls a field, which may be annotated."""
    return f"--{(flag_of(kind).name or name).replace('_', '-')}"


# --- Numbers in text ---

_WHOLE = re.compile(r"-?[0-9]{1,40}", re.ASCII)
_REAL = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,4})?|-?inf|nan", re.ASCII)
_LONGEST = 400
"""Characters of a number."""


def whole_number(text: str) -> int | None:
    """What ASCII digits say, of which there may be 40; None for anything else, such as `²`, `1_000`, `+5` and ` 5`."""
    return int(text) if _WHOLE.fullmatch(text) else None


def real_number(text: str) -> float | None:
    """What decimal notation in ASCII says; NaN and infinities by their names; None for anything else."""
    return float(text) if len(text) <= _LONGEST and _REAL.fullmatch(text) else None


def number(text: str, kind: Any, called: str) -> Any:
    """The number, whole or not as `kind` is annotated, that text says; `None` where it may be none.

    Raises `RunError`, naming what it is called, for text that is no number. Its range is left to the record.
    """
    if text == "None" and fits(None, kind):
        return None
    read = whole_number if takes_whole_numbers(kind) else real_number
    if (found := read(text)) is None:
        raise RunError(f"{called}: found {shown(text)}, expected {expected(kind)}.")
    return found


def takes_whole_numbers(kind: Any) -> bool:
    """Whether an annotation is of whole numbers, with or without None."""
    return not fits(0.5, _bare(kind)) and fits(1, _bare(kind))


def is_number(kind: Any) -> bool:
    """Whether an annotation is of numbers, with or without None, and of nothing else."""
    return fits(1, _bare(kind)) and not fits("", _bare(kind)) and not fits(True, _bare(kind))


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


# --- Texts ---


@dataclass(frozen=True)
class Text:
    """What a text holds: `what` in words, as `expected …` goes on, and `holds`, which says whether it does."""

    what: str
    holds: Callable[[str], bool] = bool
    any_bytes: bool = False
    """Whether it may be the name of a file that is there, which need not be UTF-8."""

    def fits(self, text: str) -> bool:
        """Whether the text is one of these, and such as files and records can hold."""
        return (is_name_of_file(text) if self.any_bytes else is_text(text)) and self.holds(text)

    def check(self, text: str, called: str) -> None:
        """Raises `RunError` for text that does not fit."""
        if not self.fits(text):
            raise RunError(f"{called}: found {shown(text)}, expected {self.what}.")


def text_of(kind: Any) -> Text | None:
    """The kind of text that an annotation declares, or None."""
    return next((entry for entry in getattr(kind, "__metadata__", ()) if isinstance(entry, Text)), None)


LONGEST_TEXT = 1_000_000
"""Characters of an option's text: of JSON and expressions, too."""
_LONGEST_WORDS = 1_000
"""Characters of a name, or of words for the record."""
_LONGEST_PATH, _LONGEST_NAME = 4_095, 255
"""Bytes of a path and of each name in it, as Linux has them."""


def is_text(text: str) -> bool:
    """Whether it is not empty and all of it is text: no NUL, and no bytes that are no UTF-8, which Python keeps as
    halves of characters."""
    return 0 < len(text) <= LONGEST_TEXT and "\0" not in text and _encodes(text)


def is_name_of_file(text: str) -> bool:
    """Whether a file can be called so: in whatever bytes the system has."""
    return 0 < len(text) <= LONGEST_TEXT and "\0" not in text and _encodes(text, "surrogateescape")


def _encodes(text: str, errors: str = "strict") -> bool:
    try:
        text.encode(errors=errors)
    except UnicodeEncodeError:
        return False
    return True


def _fits_a_path(text: str) -> bool:
    names = text.encode(errors="surrogateescape").split(b"/")
    return sum(map(len, names)) + len(names) <= _LONGEST_PATH and max(map(len, names)) <= _LONGEST_NAME


def _fits_a_run(text: str) -> bool:
    return _fits_a_path(text) and not text.startswith(("-", "~"))


def _fits_a_new_folder(text: str) -> bool:
    return _fits_a_run(text) and os.path.normpath(text) not in (".", "..", "/", "//")


def one_of(*words: str) -> Text:
    """Text that is one of a few words."""
    *first, last = words
    return Text(f"{', '.join(first)} or {last}" if first else last, lambda text: text in words)


NAME = Text("a name", lambda text: len(text) <= _LONGEST_WORDS)
EXPRESSION = Text('an expression such as "return > 100 and success == 1"')
JSON_TEXT = Text('a JSON object such as {"name": 1}')
_NAMES = "names of up to 255 bytes, in UTF-8"
PATH = Text("a path (names of up to 255 bytes)", _fits_a_path, any_bytes=True)
NEW_FOLDER = Text(f"a folder's path, such as data/maze ({_NAMES}; ./-x for -x)", _fits_a_new_folder)
RUN_FOLDER = Text(f"a run's folder, such as runs/maze ({_NAMES}; ./-x for -x)", _fits_a_run)
_SOURCES = "minari:ID, ogbench:FILE.npz, hdf5:FILE, parquet:GLOB or a dataset's folder"
SOURCE = Text(_SOURCES, _fits_a_path, any_bytes=True)
FUNCTION = Text("FILE.py:FUNCTION", lambda text: len(text) <= 2 * _LONGEST_PATH, any_bytes=True)
ADDRESS = Text("HOST:PORT of a cluster, auto or local", lambda text: len(text) <= _LONGEST_WORDS)
DEVICE = one_of("auto", "cpu", "cuda")
POLICY_DEVICE = one_of("cpu", "cuda")
VECTORIZATION = one_of("sync", "async", "native")
SUCCESS_TIMING = one_of("pre", "post")


def step_of(text: str) -> int | None:
    """N of `step-N`, or of N alone; None for anything else."""
    found = whole_number(text.removeprefix("step-"))
    return found if found is not None and 0 <= found <= ranges.MOST_STEPS else None


STEP = Text("step-N, the name of a checkpoint", lambda text: step_of(text) is not None)
CHECKPOINT = Text(
    "latest, best or step-N, the name of a checkpoint",
    lambda text: text in ("latest", "best") or step_of(text) is not None,
)
WHOLE = "all"
"""Everything that a checkpoint holds of a learner, where `--init` may name a module."""


def init_of(text: str) -> tuple[str, str, str, bool] | None:
    """Name, run, checkpoint, and whether it is frozen, of `NAME=RUN[@latest|best|step-N][:frozen]`; None for anything
    else."""
    name, _, place = text.removesuffix(":frozen").partition("=")
    run, at, which = place.rpartition("@")
    if not (at and CHECKPOINT.fits(which)):
        run, which = place, "latest"
    named = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", name, re.ASCII)
    return (name, run, which, text.endswith(":frozen")) if named and PATH.fits(run) else None


INIT = Text(
    "NAME=RUN, NAME=RUN@latest, @best or @step-N, with :frozen behind it or not",
    lambda text: init_of(text) is not None,
    any_bytes=True,
)
