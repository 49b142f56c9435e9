"""Dataset folders that were changed: `quiver inspect --verify` and `quiver train` refuse them alike."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.bad_inputs.rows import Material, Prepare, Row

_COMMANDS = {
    "inspect": "inspect bad --verify",
    "ingest": "ingest bad --out new",
    "train": "train --dataset bad --algo bc --run new --serial --steps 2 --hidden 8",
}


def _bad(change: Callable[[Path], Any]) -> Prepare:
    def prepare(folder: Path, material: Material) -> None:
        shutil.copytree(material.data, folder / "bad")
        change(folder / "bad")

    return prepare


def _field(path: str, value: Any) -> Callable[[Path], None]:
    """A value in dataset.json; `...` removes it."""

    def change(folder: Path) -> None:
        record = json.loads((folder / "dataset.json").read_text())
        *parents, last = path.split(".")
        holder = record
        for name in parents:
            holder = holder[int(name)] if isinstance(holder, list) else holder[name]
        key = int(last) if isinstance(holder, list) else last
        if value is ...:
            del holder[key]
        else:
            holder[key] = value
        (folder / "dataset.json").write_text(json.dumps(record))

    return change


def _becomes(name: str, kind: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = next(folder.glob(name))
        content = path.read_bytes()
        path.unlink()
        if kind == "a pipe":
            os.mkfifo(path)
        elif kind == "a folder":
            path.mkdir()
        elif kind == "/dev/zero":
            path.symlink_to("/dev/zero")
        elif kind == "a link elsewhere":
            (folder.parent / "elsewhere").write_bytes(content)
            path.symlink_to(folder.parent / "elsewhere")
        elif kind == "empty":
            path.write_bytes(b"")
        elif kind == "cut short":
            path.write_bytes(content[: len(content) // 2])
        elif kind == "changed":
            path.write_bytes(content[: len(content) // 2] + b"\xff" * 8 + content[len(content) // 2 + 8 :])
        elif kind == "longer":
            path.write_bytes(content + b"\0")

    return change


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


def _shown(value: Any) -> str:
    text = "removed" if value is ... else json.dumps(value)
    return text if len(text) < 40 else f"{text[:40]}…"


ROWS: list[Row] = [
    *(
        Row(f"{path}: {_shown(value)}", _COMMANDS["inspect"], r"bad/\w+\.(json|arrow)", _bad(_field(path, value)))
        for path, values in _FIELDS.items()
        for value in values
    ),
    *(
        Row(f"{command}: {file} is {kind}", words, rf"bad/{where}", _bad(_becomes(file, kind)))
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
            _bad(lambda folder, text=text: (folder / "dataset.json").write_bytes(text)),
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
