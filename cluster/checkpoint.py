"""Checkpoints: all a bit-exact resume needs, written whole or not at all, as safetensors and JSON."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from cluster import durable
from cluster.errors import RunError
from replay.shard import sync

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """A run between two chunks."""

    step: int
    """Gradient steps done."""
    learner: Arrays
    """The algorithm's state, by name."""
    pipeline: Arrays
    """Published weights still needed, draws already made, train buffer, priorities, evaluations under way."""
    metrics_offset: int
    """Bytes of `metrics.jsonl` that belong to this checkpoint's past."""
    history: dict[str, Any]
    """Restarts and seconds so far."""


def folder_name(step: int) -> str:
    return f"step-{step:09d}"


def save(folder: Path, saved: Checkpoint) -> Path:
    """Write a checkpoint under `folder` and point LATEST to it."""
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / folder_name(saved.step)
    temporary = durable.fresh_folder(folder / f".{final.name}.partial")
    try:
        for name, arrays in (("learner", saved.learner), ("pipeline", saved.pipeline)):
            path = temporary / f"{name}.safetensors"
            save_file({key: np.asarray(array, order="C") for key, array in arrays.items()}, path)
            sync(path)
        record = {
            "format": 1,
            "step": saved.step,
            "metrics_offset": saved.metrics_offset,
            "history": saved.history,
        }
        durable.write_json(temporary / "checkpoint.json", record)
        if final.exists():
            # Only a run that was cut back to an earlier checkpoint comes here again, with the same content.
            shutil.rmtree(final)
        temporary.rename(final)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise RunError(f"{final}: could not be written ({error}). Make room, then continue with --resume.") from error
    sync(folder)
    durable.write_text(folder / "LATEST", final.name + "\n")
    return final


def load(path: Path) -> Checkpoint:
    """Raises `RunError`, naming the file, for a checkpoint that is not whole."""
    try:
        record = json.loads((path / "checkpoint.json").read_text())
        return Checkpoint(
            record["step"],
            load_file(path / "learner.safetensors"),
            load_file(path / "pipeline.safetensors"),
            record["metrics_offset"],
            record["history"],
        )
    except (OSError, KeyError, json.JSONDecodeError, SafetensorError) as error:
        raise RunError(
            f"{path}: not a whole checkpoint ({error}). Remove the folder and write the name of an earlier one into "
            f"{path.parent / 'LATEST'}."
        ) from error


def find(folder: Path, which: str) -> Path:
    """The folder of `latest`, `best` or `step-N`. Raises `RunError` listing what there is."""
    present = available(folder)
    if which in ("latest", "best"):
        pointer = folder / which.upper()
        name = pointer.read_text().strip() if pointer.exists() else None
    else:
        step = which.removeprefix("step-")
        name = folder_name(int(step)) if step.isdigit() else which
    if name is None or name not in present:
        raise RunError(
            f"{folder}: no checkpoint {which!r}; found {', '.join(present) or 'none'}. "
            "Checkpoints are written every --checkpoint-every steps and at the end."
        )
    return folder / name


def latest(folder: Path) -> Checkpoint | None:
    """The newest complete checkpoint, or None where there is none yet."""
    if not (folder / "LATEST").exists():
        return None
    return load(find(folder, "latest"))


def available(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("step-*")) if folder.is_dir() else []


def mark_best(folder: Path, step: int) -> None:
    """Point BEST to a checkpoint, if that step has one."""
    if (folder / folder_name(step)).is_dir():
        durable.write_text(folder / "BEST", folder_name(step) + "\n")


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints, and the best one."""
    pointers = [folder / "LATEST", folder / "BEST"]
    spared = {pointer.read_text().strip() for pointer in pointers if pointer.exists()}
    for name in available(folder)[: -max(keep, 1)]:
        if name not in spared:
            shutil.rmtree(folder / name)
