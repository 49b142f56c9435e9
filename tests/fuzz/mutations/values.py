"""Changes of JSON and YAML by what they say: other values, keys removed, renamed and doubled, absurd depth."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.target import Mutation, UnchangedError

_DEEP, _DIGITS, _DOUBLED = "@deep@", "@digits@", "@doubled@"
"""Stand for what no Python object says: written out in the text."""

VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    7,
    1000,
    2**31,
    2**63 - 1,
    2**63,
    2**64,
    10**12,
    10**30,
    10**400,
    _DIGITS,
    0.5,
    -0.5,
    1e-300,
    1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
    "",
    "text",
    "1",
    "²",
    "NaN",
    "../../../../etc/passwd",
    "/dev/zero",
    "module:Name-v0",
    "nul\0l",
    "\u202e[/b]\x1b[2J<script>",
    "\ud800",
    "a\nb",
    "x" * 100_000,
    [],
    [[]],
    [None],
    [1],
    ["a"],
    [0.5] * 1000,
    {},
    {"a": 1},
    {"": {}},
    _DEEP,
)


def changed(document: Any, random: Random) -> tuple[Any, str]:
    """A copy with one value, key or entry changed; what was done. A document of a text dump that needs `text`."""
    document = copy.deepcopy(document)
    places = list(_places(document))
    if not places or random.random() < 0.02:
        value = random.choice(VALUES)
        return value, f"the document becomes {_short(value)}"
    holder, key, path = random.choice(places)
    where = ".".join(map(str, path))
    way = random.choice((_replace, _replace, _replace, _replace, _nudge, _nudge, _remove, _rename, _exchange, _repeat))
    return document, f"{where} {way(document, holder, key, random)}"


def text(document: Any) -> str:
    """As JSON, with what stands for more written out."""
    written = json.dumps(document, indent=1)
    written = written.replace(f'"{_DEEP}"', "[" * 100_000 + "]" * 100_000).replace(f'"{_DIGITS}"', "9" * 5000)
    return re.sub(rf'"{_DOUBLED}(.*?)"', r'"\1"', written)


def in_json(pattern: str, finish: Callable[[Path], None] | None = None) -> Mutation:
    """Changes one of the JSON files that match; then `finish` makes hashes right again."""

    def mutate(folder: Path, random: Random) -> str:
        path = random.choice(sorted(folder.glob(pattern)))
        document, done = changed(json.loads(path.read_text()), random)
        path.write_text(text(document))
        if finish is not None:
            finish(folder)
        return f"{path.relative_to(folder)}: {done}"

    return mutate


def in_json_lines(pattern: str, finish: Callable[[Path], None] | None = None) -> Mutation:
    """Changes one line of a file of JSON lines, or their order."""

    def mutate(folder: Path, random: Random) -> str:
        path = random.choice(sorted(folder.glob(pattern)))
        lines = path.read_text().splitlines()
        number = random.randrange(len(lines))
        way = random.choice(("value", "value", "value", "value", "value", "doubled", "removed", "moved", "blank"))
        done = f"line {number + 1} {way}"
        if way == "value":
            document, done = changed(json.loads(lines[number]), random)
            lines[number] = text(document).replace("\n", " ")
            done = f"line {number + 1}, {done}"
        elif way == "doubled":
            lines.insert(number, lines[number])
        elif way == "removed":
            del lines[number]
        elif way == "moved":
            lines.insert(random.randrange(len(lines)), lines.pop(number))
        else:
            lines[number] = random.choice(("", " ", "\0", "null", "[" * 200_000))
        path.write_text("".join(line + "\n" for line in lines))
        if finish is not None:
            finish(folder)
        return f"{path.relative_to(folder)}: {done}"

    return mutate


def _places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, Any, tuple[Any, ...]]]:
    """Each entry of each object and list: its holder, its key there, and its path."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in entries:
        yield node, key, (*path, key)
        yield from _places(value, (*path, key))


def _replace(document: Any, holder: Any, key: Any, random: Random) -> str:
    holder[key] = copy.deepcopy(random.choice(VALUES))
    return f"becomes {_short(holder[key])}"


def _nudge(document: Any, holder: Any, key: Any, random: Random) -> str:
    value = holder[key]
    if isinstance(value, bool) or value is None:
        holder[key] = not value
    elif isinstance(value, int | float):
        holder[key] = random.choice((value + 1, value - 1, -value, value * 1000, value / 3, str(value), [value]))
    elif isinstance(value, str):
        holder[key] = random.choice((value + "x", value[:-1], value.upper(), [value], "../" + value, value * 2))
    elif isinstance(value, list):
        holder[key] = random.choice((value + value, value[:-1], value[::-1], [value], [*value, None]))
    else:
        holder[key] = random.choice((list(value), [value], str(value)))
    return f"becomes {_short(holder[key])}"


def _remove(document: Any, holder: Any, key: Any, random: Random) -> str:
    del holder[key]
    return "is removed"


def _rename(document: Any, holder: Any, key: Any, random: Random) -> str:
    if isinstance(holder, list):
        return _remove(document, holder, key, random)
    name = random.choice((f"{key}x", str(key).upper(), "", "__class__", "\u202e", f"{key}\0"))
    holder[name] = holder.pop(key)
    return f"is called {name!r}"


def _exchange(document: Any, holder: Any, key: Any, random: Random) -> str:
    there, other, path = random.choice(list(_places(document)))
    holder[key], there[other] = copy.deepcopy(there[other]), copy.deepcopy(holder[key])
    return f"and {'.'.join(map(str, path))} are exchanged"


def _repeat(document: Any, holder: Any, key: Any, random: Random) -> str:
    if isinstance(holder, list):
        holder.extend(copy.deepcopy(holder[key]) for _ in range(random.choice((1, 100))))
    else:
        holder[f"{_DOUBLED}{key}"] = copy.deepcopy(random.choice(VALUES))
    return "is there twice"


def _short(value: Any) -> str:
    if isinstance(value, int) and abs(value) > 10**40:
        return "a huge number"
    shown = repr(value)
    return shown if len(shown) < 80 else f"{shown[:80]}…"


__all__ = ["VALUES", "UnchangedError", "changed", "in_json", "in_json_lines", "text"]
