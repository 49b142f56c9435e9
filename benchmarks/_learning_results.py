"""Where `learning.py` keeps the result of each job, and what makes a stored one out of date."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import _stored as stored
from _learning_job import Job, settings


def path_of(folder: Path, job: Job) -> Path:
    return folder / job.task / f"{job.method}-{job.library}-seed{job.seed}.json"


def save(folder: Path, job: Job, result: dict[str, Any]) -> None:
    stored.save(path_of(folder, job), result)


def failed(job: Job, steps_scale: float, error: BaseException) -> dict[str, Any]:
    """The result of a job that ended with an error: kept for the table, tried again by the next run."""
    return {**asdict(job), "settings": settings(job, steps_scale), "error": stored.told(error)}


def load(folder: Path, job: Job) -> dict[str, Any] | None:
    """The stored result of a job, or None."""
    return stored.load(path_of(folder, job))


def difference(result: dict[str, Any], job: Job, steps_scale: float) -> str:
    """What a stored result was made with that the job is not; empty where they agree."""
    return stored.difference(result["settings"], settings(job, steps_scale))
