"""No import circle in the four packages: a file can be read, tested and moved without those that build on it."""

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("replay", "learners", "envs", "cluster")


def imported(source: str, modules: Iterable[str]) -> set[str]:
    """Which of `modules` are imported anywhere in `source`: for types and inside functions, too."""
    known, found = set(modules), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import of {node.module}: name the package"
            # `from replay import draw` means the module where there is one, else a name in the package.
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (whole & known) | ({node.module} if whole - known else set())
    return found & known


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The modules that reach each other, by circle (Tarjan 1972), in the order of their names."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        path.append(name)
        for other in sorted(graph[name]):
            if other not in number:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in path:
                lowest[name] = min(lowest[name], number[other])
        if lowest[name] == number[name]:
            place = path.index(name)
            members = path[place:]
            del path[place:]
            if len(members) > 1 or name in graph[name]:
                found.append(sorted(members))

    for name in sorted(graph):
        if name not in number:
            visit(name)
    return sorted(found)


def test_no_file_imports_what_imports_it():
    files = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text()
    assert circles({name: imported(source, files) for name, source in files.items()}) == []


def test_circles_are_found_however_they_are_imported():
    modules = {
        "a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from b import B",
        "b": "def later():\n    import c.d",
        "c": "import json",
        "c.d": "import a\nfrom c import something",
        "e": "import a, b",
    }
    graph = {name: imported(source, modules) for name, source in modules.items()}
    assert graph == {"a": {"b"}, "b": {"c.d"}, "c": set(), "c.d": {"a", "c"}, "e": {"a", "b"}}
    assert circles(graph) == [["a", "b", "c.d"]]
    assert circles({"x": {"x"}, "y": set()}) == [["x"]]
