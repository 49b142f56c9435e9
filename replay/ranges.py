"""What a setting may be: its type and its range, declared once where it is defined, and held wherever it is set.

A field of a dataclass says so by its annotation, `rate: Annotated[float, Range(0, 1)] = 0.5`. `check_fields` holds a
record to all of its annotations, so that a value from Python, from a file and from a command line is judged alike; the
command line shows the same ranges in its help.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
from collections.abc import Callable, Hashable
from numbers import Integral, Real
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints


@dataclasses.dataclass(frozen=True)
class Range:
    """Finite numbers from `least` to `most`, both included unless `above` or `below` says otherwise.

    Of a tuple, it is the range of every entry, of which there may be at most `entries`.
    """

    least: float = -math.inf
    most: float = math.inf
    above: bool = False
    """Only numbers above `least`."""
    below: bool = False
    """Only numbers below `most`."""
    entries: int = 64

    def holds(self, number: float) -> bool:
        """Whether a real number, which may be NaN or infinite, is in the range."""
        if isinstance(number, float) and not math.isfinite(number):
            return False
        low = number > self.least if self.above else number >= self.least
        return low and (number < self.most if self.below else number <= self.most)

    def __str__(self) -> str:
        """In words: `1 to 10,000`, `above 0, below 1`, `0 or more`."""
        low, high = _figure(self.least), _figure(self.most)
        if math.isinf(self.most):
            return "finite" if math.isinf(self.least) else f"above {low}" if self.above else f"{low} or more"
        if math.isinf(self.least):
            return f"below {high}" if self.below else f"{high} or less"
        if not self.above and not self.below:
            return f"{low} to {high}"
        return f"{'above' if self.above else 'at least'} {low}, {'below' if self.below else 'at most'} {high}"


ANY = Range()

# --- Ranges that many settings share ---

MOST_STEPS = 10**12
"""Of a run, an episode count, or anything else that is counted in steps: centuries of them."""

Seed = Annotated[int, Range(0, 2**63 - 1)]
Steps = Annotated[int, Range(1, MOST_STEPS)]
StepsOrNone = Annotated[int, Range(0, MOST_STEPS)]
"""0 leaves out what is counted."""
Share = Annotated[float, Range(0, 1)]


# --- Holding a record to its annotations ---


def check_fields(
    record: Any, error: type[Exception], name: Callable[[str], str] = str, found: Callable[[Any], str] | None = None
) -> None:
    """Raises `error` for a field of a dataclass whose value is not of its annotated type, or out of its range.

    `name` makes what messages call a field of its name. Numbers without a range must be finite. Fields of types that
    are none of numbers, booleans, text, literals, tuples and mappings of them are left to their owner.
    """
    for field, kind in hints(type(record)).items():
        value = getattr(record, field)
        if not fits(value, kind):
            raise error(f"{name(field)}: found {(found or shown)(value)}, expected {expected(kind)}.")


def hints(record: Any) -> dict[str, Any]:
    """The annotations of a dataclass's fields by name, with their ranges."""
    return _hints(record)


@functools.cache
def _hints(record: Hashable) -> dict[str, Any]:
    known = get_type_hints(record, include_extras=True)
    return {field.name: known[field.name] for field in dataclasses.fields(cast(Any, record))}


def range_of(kind: Any) -> Range | None:
    """The range that an annotation declares, or None."""
    return next((entry for entry in getattr(kind, "__metadata__", ()) if isinstance(entry, Range)), None)


def fits(value: Any, kind: Any, span: Range = ANY) -> bool:
    """Whether a value is of an annotated type and in its range. A whole number is a number; a boolean is neither."""
    if get_origin(kind) is Annotated:
        return fits(value, get_args(kind)[0], range_of(kind) or span)
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(fits(value, part, span) for part in parts)
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if origin is tuple:
        if not isinstance(value, tuple) or len(value) > span.entries:
            return False
        if parts[-1:] == (Ellipsis,):
            return all(fits(entry, parts[0], span) for entry in value)
        return len(value) == len(parts) and all(fits(*pair, span) for pair in zip(value, parts, strict=True))
    if kind is bool:
        return isinstance(value, bool)
    if kind is int:
        return isinstance(value, Integral) and not isinstance(value, bool) and span.holds(int(value))
    if kind is float:
        return isinstance(value, Real) and not isinstance(value, bool) and span.holds(_real(value))
    if kind in (str, types.NoneType):
        return isinstance(value, kind)
    if origin is dict:
        return isinstance(value, dict) and all(
            fits(key, parts[0]) and fits(entry, parts[1], span) for key, entry in value.items()
        )
    return True


def expected(kind: Any, span: Range | None = None) -> str:
    """An annotated type and its range in words, as `found …, expected …` goes on."""
    if get_origin(kind) is Annotated:
        return expected(get_args(kind)[0], range_of(kind))
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(expected(part, span) for part in parts)
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if origin is tuple:
        each = expected(parts[0], span)
        return (
            f"up to {(span or ANY).entries} entries, each {each}" if parts[-1:] == (Ellipsis,) else f"a tuple: {kind}"
        )
    words = {bool: "true or false", str: "text", types.NoneType: "none", int: "a whole number", float: "a number"}
    if kind is float and span in (None, ANY):
        return "a finite number"
    return f"{words[kind]}, {span}" if kind in (int, float) and span else words.get(kind, str(kind))


def shown(value: Any) -> str:
    """A value in at most a short line of text."""
    try:
        text = repr(value)
    except Exception as error:  # a whole number of thousands of digits, or an object that cannot say what it is
        return f"a value of type {type(value).__name__} that cannot be shown ({type(error).__name__})"
    return text if len(text) <= 100 else f"{text[:100]}…"


def _real(value: Real) -> float:
    """As a float, infinite where it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _figure(number: float) -> str:
    if not float(number).is_integer() or (isinstance(number, float) and abs(number) >= 1e6):
        return f"{number:g}"
    whole = int(number)
    digits = str(abs(whole)).rstrip("0")
    return (
        f"{whole:,}" if abs(whole) < 1e7 or len(digits) > 2 else f"{whole:.0e}".replace("e+0", "e").replace("e+", "e")
    )
