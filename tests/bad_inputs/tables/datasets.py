"""Dataset folders that were changed: `quiver inspect --verify` and `quiver train` refuse them alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.bad_inputs.changes import bad, becomes, field, holds, shown
from tests.bad_inputs.rows import Row

_COMMANDS = {
    "inspect": "inspect bad --verify",
    "ingest": "ingest bad --out new",
    "train": "train --dataset bad --algo bc --run new --serial --steps 2 --hidden 8",
}


_FIELDS: Mapping[str, tuple[Any, ...]] = {
    "format": (..., None, 3, "another", [], {}),
    "version": (..., None, 0, 2, "1", True, 1e300),
    "spaces": (..., None, 1, [], "box"),
    "spaces.observation": (..., None, 1, [], {}, {"type": "box"}, {"type": "nosuch"}),
    "spaces.observation.shape": (..., None, 3, [], [-3], [0], ["3"], [3.5], [10**12], [[3]], "3", [3] * 40),
    "spaces.observation.dtype": (..., None, 3, "", "object", "nosuch", [], "float99", "x" * 10_000),
    "spaces.observation.low": (..., 3, "x", [[]], ["x"], [None] * 7, {}),
    "spaces.action": (..., None, 1, {"type": "dict", "spaces": {}}),
    "spaces.action.low": (..., 3, "x", ["x"], [1.0, 2.0]),
    "columns": (..., None, 1, [], {}, [1], [{}], "x"),
    "columns.0": (..., None, 1, {}, []),
    "columns.0.name": (..., None, 1, "", "nosuch", []),
    "columns.0.dtype": (..., None, 1, "object", "nosuch", []),
    "columns.0.shape": (..., None, 1, "x", [-1], [10**12], ["x"]),
    "columns.0.group": (..., None, 1, [], "nosuch"),
    "columns.0.kind": (..., None, 1, [], "nosuch"),
    "extras": (..., None, 1, "x", {"more": 1}, {"more": {"type": "discrete", "n": 2}}),
    "reference_scores": (..., 1, "x", [], [1], ["a", "b"], {}),
    "provenance": (..., None, 1, [1], "x"),
    "statistics": (..., None, 1, [], "x", {}),
    "statistics.observation": (..., None, 1, [], {}),
    "statistics.observation.mean": (..., None, "x", [1.0], [[1.0] * 3], ["a"] * 3, {}),
    "statistics.return": (..., None, 1, {}),
    "statistics.return.mean": (..., None, "x", [1.0]),
    "parents": (..., None, 1, "x", [1], [{}], [{"path": 1}], [{"path": "/etc", "sha256": "x"}]),
    "counts": (..., None, 1, [], {}),
    "counts.transitions": (..., None, -1, 0, 25, 1.5, "24", [], 10**30),
    "counts.episodes": (..., None, -1, 0, 7, 1.5, "6", [], 10**30),
    "counts.rows": (..., None, -1, 0, 31, 1.5, "30", [], 10**30),
    "counts.shards": (..., None, -1, 0, 9, 1.5, "1", [], 10**30),
    "tables": (..., None, 1, [], {}),
}


ROWS: list[Row] = [
    *(
        Row(
            f"{path}: {shown(value)}",
            _COMMANDS["inspect"],
            r"/bad[/:]",
            bad("data", field("dataset.json", path, value)),
        )
        for path, values in _FIELDS.items()
        for value in values
    ),
    *(
        Row(
            f"{command}: {file} is {kind}",
            words,
            rf"bad/{where}|'shards/0|bad: (is no|not a) dataset",
            bad("data", becomes(file, kind)),
        )
        for command, words in _COMMANDS.items()
        for file, where in {
            "dataset.json": "dataset",
            "shards.arrow": "shards",
            "episodes.arrow": "episodes",
            "shards/*.arrow": "shards/",
        }.items()
        for kind in (
            "missing",
            "a pipe",
            "a folder",
            "/dev/zero",
            "a link elsewhere",
            "empty",
            "cut short",
            "changed",
            "longer",
        )
        if (file, kind) not in {("dataset.json", "longer"), ("dataset.json", "changed")}
    ),
    *(
        Row(
            f"dataset.json holds {name}",
            _COMMANDS["inspect"],
            r"bad/dataset\.json",
            bad("data", holds("dataset.json", text)),
        )
        for name, text in {
            "nothing": b"",
            "null": b"null",
            "a list": b"[]",
            "text": b'"text"',
            "a number": b"3",
            "no JSON": b"{",
            "no text": b"\xff\xfe\x00",
            "absurd depth": b"[" * 100_000,
            "a number of 5,000 digits": b'{"format": ' + b"9" * 5000 + b"}",
            "another thing": b'{"format": "another", "version": 1}',
        }.items()
    ),
]
