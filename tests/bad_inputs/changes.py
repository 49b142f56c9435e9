"""What is done to a copy of a good folder: fields, contents, and files that are none."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from tests.bad_inputs.rows import Material, Prepare

Change = Callable[[Path], Any]


def bad(which: Literal["data", "run", "fine"], change: Change) -> Prepare:
    """A copy of a good folder, called `bad`, after the change."""

    def prepare(folder: Path, material: Material) -> None:
        shutil.copytree(getattr(material, which), folder / "bad")
        change(folder / "bad")

    return prepare


def field(file: str, path: str, value: Any) -> Change:
    """Another value in a file of JSON, at a path of keys and numbers with dots between; `...` removes it."""

    def change(folder: Path) -> None:
        record = json.loads((folder / file).read_text())
        *parents, last = path.split(".")
        holder = record
        for name in parents:
            holder = holder[int(name)] if isinstance(holder, list) else holder[name]
        key = int(last) if isinstance(holder, list) else last
        if value is ...:
            del holder[key]
        else:
            holder[key] = value
        (folder / file).write_text(json.dumps(record))

    return change


def holds(file: str, content: bytes) -> Change:
    return lambda folder: (folder / file).write_bytes(content)


def becomes(pattern: str, kind: str) -> Change:
    """Something happens to the first file that matches."""

    def change(folder: Path) -> None:
        path = sorted(folder.glob(pattern))[0]
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
        elif kind != "missing":
            path.write_bytes(_damaged(content, kind))

    return change


def shown(value: Any) -> str:
    """A value in a row's name."""
    text = "removed" if value is ... else json.dumps(value)
    return text if len(text) < 40 else f"{text[:40]}…"


def _damaged(content: bytes, kind: str) -> bytes:
    half = len(content) // 2
    return {
        "empty": b"",
        "cut short": content[:half],
        "changed": content[:half] + b"\xff" * 8 + content[half + 8 :],
        "longer": content + b"\0",
    }[kind]
