"""Results of `learning.py`: a file for each finished job, so that a run that was ended goes on where it was."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _learning_job import Job, settings


def path_of(folder: Path, job: Job) -> Path:
    return folder / job.task / f"{job.method}-{job.library}-seed{job.seed}.json"


def save(folder: Path, job: Job, result: dict[str, Any]) -> None:
    """Whole or not at all."""
    path = path_of(folder, job)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    os.replace(partial, path)


def failed(job: Job, steps_scale: float, error: BaseException) -> dict[str, Any]:
    """The result of a job that ended with an error: kept for the table, tried again by the next run."""
    reason = (str(error).strip().splitlines() or [""])[-1]
    # Folders of this machine say nothing elsewhere.
    text = re.sub(r"(?<![\w.])/(?:[\w.\-]+/)+", "", f"{type(error).__name__}: {reason}")
    return {**asdict(job), "settings": settings(job, steps_scale), "error": text}


def load(folder: Path, job: Job) -> dict[str, Any] | None:
    """The stored result of a job, or None."""
    path = path_of(folder, job)
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def difference(result: dict[str, Any], job: Job, steps_scale: float) -> str:
    """What a stored result was made with that the job is not: `steps 10000, now 5000`; empty where they agree."""
    then, now = _flat(result["settings"]), _flat(settings(job, steps_scale))
    return ", ".join(
        f"{name} {then.get(name, 'not set')}, now {now.get(name, 'not set')}"
        for name in sorted({*then, *now})
        if then.get(name, "not set") != now.get(name, "not set")
    )


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    found: dict[str, Any] = {}
    for key, item in value.items():
        found |= _flat(item, f"{name}.{key}" if name else key)
    return found
