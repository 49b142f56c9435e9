"""Which algorithm's file may import another's: only one that is that algorithm with a change."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import learners

FOLDER = Path(learners.__file__).parent
SHARED = {"__init__", "algorithm", "catalogue", "errors", "losses"}
"""Beside the algorithms, one file each."""
IS_WITH_A_CHANGE = {
    "calql": {"cql"},
    "discrete_bcq": {"bcq"},
    "discrete_cql": {"cql"},
    "gcbc": {"bc"},
    "rlpd": {"redq"},
}
"""Variants, and what they are variants of; what they share beyond that is in `losses`, `networks` or `base`."""
ALGORITHMS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in SHARED)


def modules_of(path: Path) -> set[str]:
    """Modules that a file imports, also those for types alone, dotted."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def imported_algorithms(path: Path) -> set[str]:
    return {name for name in ALGORITHMS if f"learners.{name}" in modules_of(path)} - {path.stem}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithm_imports_only_the_algorithm_that_it_is_with_a_change(name):
    assert imported_algorithms(FOLDER / f"{name}.py") == IS_WITH_A_CHANGE.get(name, set())


def test_what_algorithms_share_imports_none_of_them():
    shared = [*FOLDER.glob("*/*.py"), *(FOLDER / f"{name}.py" for name in SHARED)]
    assert {path.name: found for path in shared if path.exists() and (found := imported_algorithms(path))} == {}
