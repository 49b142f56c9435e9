"""Nothing on disk becomes code: no pickles, no `eval`, and modules are imported by name in known places only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = [path for package in ("cluster", "envs", "learners", "replay") for path in (ROOT / package).rglob("*.py")]

MODULES = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
CALLS = {"eval", "exec", "compile", "__import__", "runpy", "torch.load", "numpy.load", "np.load", "yaml.load"}
"""What runs what it reads, or may."""

IMPORTERS = {
    "cluster/cli.py": "a command, from a table",
    "cluster/commands/ingest.py": "the file that --reward names on the command line",
    "envs/make.py": "a package, from a table",
    "envs/scripted/manipspace.py": "a controller, from a table",
    "learners/__init__.py": "what it exports, from a table",
    "learners/base/creation.py": "an algorithm, from a table",
    "replay/__init__.py": "what it exports, from a table",
    "replay/readers/__init__.py": "a reader, from a table",
}
"""The only files that import a module whose name is computed, and what it may be."""


def named(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of each import and call in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            yield node.lineno, ast.unparse(node.func)


def test_nothing_is_read_that_can_run() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in SOURCES
        for line, name in named(path)
        if name.partition(".")[0] in MODULES or name in CALLS
    ]
    assert found == []


def test_modules_are_imported_by_computed_names_in_known_places_only() -> None:
    importing = {"import_module", "spec_from_file_location", "load_env_creator", "resolve_name"}
    found = {
        str(path.relative_to(ROOT)) for path in SOURCES for _, name in named(path) if name.split(".")[-1] in importing
    }
    assert found == set(IMPORTERS)
