"""Files that are whole or not there: written under a temporary name, synced, renamed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from replay.shard import sync


def write_text(path: Path, text: str) -> None:
    """Replace a file by one that holds `text`, atomically and durably."""
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync(path.parent)  # makes the renaming durable


def write_json(path: Path, record: Any) -> None:
    write_text(path, json.dumps(record, indent=1, allow_nan=False) + "\n")


def fresh_folder(path: Path) -> Path:
    """An empty folder at `path`; what an interrupted run left there is removed."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path
