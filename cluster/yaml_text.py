"""YAML that a person gives as a file, in which every key counts and nothing is larger than it looks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cluster.errors import RunError
from cluster.settings import PATH
from replay.errors import DataError
from replay.ranges import shown
from replay.regular import read

LONGEST = 1 << 17
"""Bytes of a file, which PyYAML takes seconds for. A cluster's file has some ten thousand."""
MOST_VALUES = 100_000
"""In a file, with what its aliases repeat."""
DEEPEST = 64
"""Mappings and lists inside each other."""


def read_yaml(path: Path, option: str) -> Any:
    """What a YAML file of plain values holds.

    Raises `RunError`, naming the file, for anything but a regular file (`option` named it), for one that is too long,
    is no YAML or asks for Python's objects, for a key given twice (YAML's readers keep one of them), and for aliases
    that make it larger, or deeper, than anybody writes; with the line, where there is one.
    """
    import yaml

    PATH.check(str(path), option)
    try:
        # Where a link leads: a person has named it.
        content = read(Path(os.path.realpath(path)), LONGEST)
    except DataError as error:
        raise RunError(f"{option} {path}: {error}") from error
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); {option} names a YAML file.") from error
    try:
        loader = yaml.SafeLoader(content)
        root = loader.get_single_node()
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise _no_yaml(path, error) from error
    if root is None:
        return None
    _check(root, str(path))
    try:
        return loader.construct_document(root)
    except (yaml.YAMLError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError) as error:
        # All but the first are PyYAML's own trouble with a date that is none, with `!!bool maybe`, and the like.
        raise _no_yaml(path, error) from error


def _no_yaml(path: Path, error: Exception) -> RunError:
    return RunError(f"{path}: is no YAML of plain values ({' '.join(str(error).split())[:400]}); correct it.")


def _check(root: Any, where: str) -> None:
    """Raises `RunError` for a key given twice, and for what is too large or too deep, before any of it is made."""
    sizes: dict[int, int] = {}
    """Of nodes whose children are counted."""
    above: set[int] = set()
    """The nodes that are being counted: whatever leads back to one of them has no end."""
    left: list[tuple[Any, str, bool]] = [(root, "", False)]
    while left:
        node, path, counted = left.pop()
        place = f"{where}: {_shown_path(path)} (line {node.start_mark.line + 1})"
        children = _children(node, path)
        if counted:
            above.remove(id(node))
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child, _ in children)
            if sizes[id(node)] > MOST_VALUES:
                raise RunError(
                    f"{place}: found more than {MOST_VALUES:,} values, with what its aliases repeat, expected fewer; "
                    "write out what the aliases (*name) stand for."
                )
        elif id(node) not in sizes:
            if id(node) in above:
                raise RunError(f"{place}: stands in itself, by an alias; write it out.")
            if len(above) >= DEEPEST:
                raise RunError(f"{place}: found more than {DEEPEST} levels, expected fewer; write it flat.")
            above.add(id(node))
            _check_keys(node, place)
            left.append((node, path, True))
            left.extend((child, name, False) for child, name in children)


def _children(node: Any, path: str) -> list[tuple[Any, str]]:
    """The nodes below one, each with the path that leads to it."""
    if node.id == "mapping":
        values = [(value, f"{path}.{key.value if key.id == 'scalar' else '?'}") for key, value in node.value]
        return [*((key, path) for key, _ in node.value), *values]
    return [(child, path) for child in node.value] if node.id == "sequence" else []


def _shown_path(path: str) -> str:
    """In at most a short line."""
    name = path.removeprefix(".") or "the file"
    return name if len(name) <= 100 else f"{name[:100]}…"


def _check_keys(node: Any, place: str) -> None:
    if node.id != "mapping":
        return
    seen = set()
    for key, _ in node.value:
        if key.id == "scalar":
            if (key.tag, key.value) in seen:
                raise RunError(f"{place}: {shown(key.value)} is given twice; keep one of them.")
            seen.add((key.tag, key.value))
