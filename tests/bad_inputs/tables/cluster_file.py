"""`--config`: cluster files whose `metadata.quiver` does not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.bad_inputs.rows import Material, Row

_COMMAND = "train --dataset {data} --algo bc --run new --serial --steps 2 --config cluster.yaml"


def _written(text: str) -> Callable[[Path, Material], None]:
    def prepare(folder: Path, material: Material) -> None:
        (folder / "cluster.yaml").write_text(text)

    return prepare


def _row(name: str, text: str, says: str, lines: int = 1) -> Row:
    return Row(name, _COMMAND, says, _written(text), lines=lines)


def _quiver(text: str) -> str:
    return f"metadata: {{quiver: {text}}}"


def _role(role: str, text: str) -> str:
    return _quiver(f"{{roles: {{{role}: {text}}}}}")


_COUNTS = ("-1", "0.5", "nan", ".nan", ".inf", "1e30", "10001", "text", "'1'", "true", "null x", "[1]", "{a: 1}", "²")
_AMOUNTS = ("-1", ".nan", ".inf", "-.inf", "1e300", "0.00001", "text", "'1'", "true", "[1]", "{}")
_ROLES = ("replay_shards", "bellman_updaters", "learners", "evaluators", "env_runners")

ROWS: list[Row] = [
    *(
        _row(f"{role}.count: {v}", _role(role, f"{{count: {v}}}"), rf"cluster\.yaml: .*roles\.{role}\.count: found")
        for role in _ROLES
        for v in _COUNTS
    ),
    *(
        _row(
            f"{role}.num_cpus: {v}",
            _role(role, f"{{num_cpus: {v}}}"),
            rf"cluster\.yaml: .*roles\.{role}\.num_cpus: found",
        )
        for role in _ROLES[:2]
        for v in _AMOUNTS
    ),
    *(
        _row(f"learners.num_gpus: {v}", _role("learners", f"{{num_gpus: {v}}}"), r"roles\.learners\.num_gpus: found")
        for v in (*_AMOUNTS, "1.5")
    ),
    *(
        _row(f"learners.resources: {v}", _role("learners", f"{{resources: {v}}}"), r"roles\.learners\.resources")
        for v in ("1", "[a]", "{a: -1}", "{a: .nan}", "{a: x}", "{CPU: 1}", "{1: 1}")
    ),
    *(
        _row(f"max_restarts: {v}", _quiver(f"{{max_restarts: {v}}}"), r"quiver\.max_restarts: found")
        for v in ("-1", "0.5", ".nan", "x", "true", "[]")
    ),
    *(
        _row(f"late_chunk_seconds: {v}", _quiver(f"{{late_chunk_seconds: {v}}}"), r"quiver\.late_chunk_seconds: found")
        for v in ("0", "-1", ".nan", ".inf", "x", "true")
    ),
    *(
        _row(f"allow_mixed: {v}", _quiver(f"{{allow_mixed: {v}}}"), r"quiver\.allow_mixed: found")
        for v in ("1", "'yes'", "[]")
    ),
    *(_row(f"address: {v}", _quiver(f"{{address: {v}}}"), r"quiver\.address: found") for v in ("1", "[]", "true")),
    *(_row(f"stage: {v}", _quiver(f"{{stage: {v}}}"), r"quiver\.stage: found") for v in ("1", "{}", "true")),
    *(
        _row(f"metadata.quiver: {v}", _quiver(v), r"metadata\.quiver: found .*expected keys")
        for v in ("1", "text", "[]", "true")
    ),
    *(
        _row(f"roles: {v}", _quiver(f"{{roles: {v}}}"), r"metadata\.quiver\.roles: found")
        for v in ("1", "text", "[]", "null")
    ),
    *(_row(f"a role: {v}", _role("learners", v), r"roles\.learners: found") for v in ("1", "text", "[]", "null")),
    _row("no shards", _role("replay_shards", "{count: 0}"), r"replay_shards\.count: found 0, expected at least 1"),
    _row("no learners", _role("learners", "{count: 0}"), r"learners\.count: found 0, expected at least 1"),
    _row("two writers", _role("online_writers", "{count: 2}"), r"online_writers\.count: found 2, expected 1"),
    _row("a GPU for shards", _role("replay_shards", "{num_gpus: 1}"), r"replay_shards\.num_gpus"),
    _row("a misspelt role", _role("lerners", "{count: 1}"), r"lerners: unknown; did you mean learners\?"),
    _row("a misspelt key", _role("learners", "{cuont: 1}"), r"cuont: unknown; did you mean count\?"),
    _row("a key of nothing", _quiver("{zzz: 1}"), r"zzz: unknown; expected one of"),
    _row("two mistakes", _quiver("{max_restarts: -1, roles: {learners: {count: x}}}"), r"learners\.count", 2),
    _row("nothing", "", r"cluster\.yaml: has no metadata\.quiver"),
    _row("another document", "a: 1", r"has no metadata\.quiver"),
    _row("a list", "[1, 2]", r"has no metadata\.quiver"),
    _row("text", "text", r"has no metadata\.quiver"),
    _row("metadata is a number", "metadata: 3", r"has no metadata\.quiver"),
    _row("no YAML", "a: [1", r"cluster\.yaml: is no YAML"),
    _row("a tab", "a:\n\tb: 1", r"is no YAML"),
    _row("an object of Python", "metadata: !!python/object/apply:os.system ['true']", r"is no YAML"),
    _row("an anchor that is not there", "a: *b", r"is no YAML"),
    _row(
        "an anchor of itself",
        "metadata: &m {quiver: *m}",
        r"cluster\.yaml: metadata\.quiver \(line 1\): stands in itself",
    ),
    _row("a day that is none", "a: 2026-02-30", r"is no YAML"),
    _row("absurd depth", "[" * 100_000, r"is no YAML"),
    _row("a number of 5,000 digits", _quiver(f"{{max_restarts: {'9' * 5000}}}"), r"max_restarts|is no YAML"),
    _row("two documents", "a: 1\n---\nb: 2", r"is no YAML"),
]
