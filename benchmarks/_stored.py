"""Results of the benchmarks that take hours: a file for each finished job, so that they go on where they were ended."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def save(path: Path, result: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    os.replace(partial, path)


def load(path: Path) -> dict[str, Any] | None:
    """The stored result of a job, or None."""
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def told(error: BaseException) -> str:
    """An error in a line that says the same on any machine."""
    reason = (str(error).strip().splitlines() or [""])[-1]
    # Folders of this machine say nothing elsewhere.
    return re.sub(r"(?<![\w.])/(?:[\w.\-]+/)+", "", f"{type(error).__name__}: {reason}")


def difference(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What a stored result was made with that its job is not: `steps 10000, now 5000`; empty where they agree."""
    before, after = _flat(then), _flat(now)
    return ", ".join(
        f"{name} {before.get(name, 'not set')}, now {after.get(name, 'not set')}"
        for name in sorted({*before, *after})
        if before.get(name, "not set") != after.get(name, "not set")
    )


def duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes == 0:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {name: value}
    found: dict[str, Any] = {}
    for key, item in value.items():
        found |= _flat(item, f"{name}.{key}" if name else key)
    return found
