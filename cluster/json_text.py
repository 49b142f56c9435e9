"""JSON that a person gives as an option: one object, in which every name and number means what it seems to mean."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from cluster.errors import RunError
from cluster.settings import JSON_TEXT, is_text
from replay.ranges import shown

DEEPEST = 32
"""Objects and lists that another may stand in."""
_DIGITS = 400
"""Of a number."""


def json_object(text: str | None, option: str) -> dict[str, Any]:
    """The object an option holds; an empty one for None.

    Raises `RunError`, naming the option, for anything else, for a name given twice in one object (JSON's readers keep
    one of them, each another), for NaN, infinities and numbers beyond a double, which JSON does not have, for text
    that no file can hold, and for more than `DEEPEST` levels.
    """
    if text is None:
        return {}
    JSON_TEXT.check(text, option)
    from replay.records import check_depth  # it imports NumPy, which help does without

    def refuse(why: str) -> RunError:
        return RunError(f"{option}: found {shown(text)}, expected {JSON_TEXT.what} ({why}).")

    def pairs(entries: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in entries:
            if name in found:
                raise refuse(f"the name {shown(name)} is given twice")
            found[name] = value
        return found

    def number(digits: str) -> int | float:
        found = float(digits) if len(digits) <= _DIGITS else math.inf
        if not math.isfinite(found):
            raise refuse(f"{digits[:40]} is no number that a computer can hold")
        return found if set(digits) & set(".eE") else int(digits)

    def constant(name: str) -> Any:
        raise refuse(f"JSON has no {name}")

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_int=number, parse_float=number, parse_constant=constant)
        check_depth(value, DEEPEST)
    except json.JSONDecodeError as error:
        raise refuse(str(error)) from None
    except (RecursionError, ValueError):
        raise refuse(f"it has more than {DEEPEST} levels") from None
    if not isinstance(value, dict):
        raise refuse("it is no object")
    left: list[Any] = [value]
    while left:
        entry = left.pop()
        if isinstance(entry, str) and entry and not is_text(entry):
            raise refuse(f"{shown(entry)} is no text")
        left.extend(_inside(entry))
    return value


def _inside(value: Any) -> list[Any]:
    return [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
