"""Checkpoints: all a bit-exact resume needs, written whole or not at all, as safetensors and JSON.

    checkpoints/step-000012000/learner.safetensors    the algorithm's state
                               pipeline.safetensors   what is on its way to the learner
                               checkpoint.json        the record: hashes of both files, and of itself
    checkpoints/LATEST, BEST                          names of checkpoints

Whatever is read is checked against the record (`checkpoint_record`), and the record against its own hash.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from cluster import checkpoint_record as record_of
from cluster import durable
from cluster.checkpoint_record import RECORD, DamagedError
from cluster.errors import RunError
from cluster.settings import step_of
from learners.algorithm import Algorithm
from replay.durable import create, sync

logger = logging.getLogger(__name__)

Arrays = dict[str, NDArray[Any]]

_POINTER_LIMIT = 100


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


# --- Writing ---


def save(folder: Path, saved: Checkpoint) -> Path:
    """Write a checkpoint under `folder` and point LATEST to it."""
    final = folder / folder_name(saved.step)
    temporary = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        durable.remove_private(folder)
        temporary = durable.private_folder(final)
        files = {}
        for name, arrays in (("learner", saved.learner), ("pipeline", saved.pipeline)):
            whole = {key: np.asarray(array, order="C") for key, array in arrays.items()}
            file = f"{name}.safetensors"
            content = safetensors.save(whole)
            _write(temporary / file, content)
            files[file] = record_of.file_entry(content, whole)
        record = record_of.sealed(
            {
                "format": record_of.FORMAT,
                "run": _run_of(folder),
                "step": saved.step,
                "metrics_offset": saved.metrics_offset,
                "history": saved.history,
                "files": files,
            }
        )
        durable.write_json(temporary / RECORD, record)
        if final.exists():
            # Only a run that was cut back to an earlier checkpoint comes here again, with the same content.
            shutil.rmtree(final)
        temporary.rename(final)
        sync(folder)
    except (OSError, SafetensorError) as error:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise durable.NoRoomError(str(final), reason) from error
    _point(folder, "latest", final.name)
    return final


def mark_best(folder: Path, step: int) -> None:
    """Point BEST to a checkpoint, if that step has one."""
    if (folder / folder_name(step)).is_dir():
        _point(folder, "best", folder_name(step))


def _point(folder: Path, which: str, name: str) -> None:
    """Write LATEST or BEST. Raises `RunError` where there is no room."""
    pointer = folder / which.upper()
    try:
        durable.write_text(pointer, name + "\n")
    except OSError as error:
        raise durable.told(error, pointer) from error


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints, and the best one."""
    spared = {_pointed(folder, "latest"), _pointed(folder, "best")}
    for name in available(folder)[: -max(keep, 1)]:
        if name not in spared:
            shutil.rmtree(folder / name)


def cut_back(folder: Path, start: Checkpoint) -> None:
    """Remove what was saved after `start`, where the run goes on from it, and point LATEST and BEST to what is left."""
    names = available(folder)
    if folder_name(start.step) not in names:
        return  # a run that begins with the state of another has no checkpoint of its own yet
    _point(folder, "latest", folder_name(start.step))
    for name in names:
        if _step_of(name) > start.step:
            shutil.rmtree(folder / name)
    best = start.history.get("best")
    if best is not None:
        mark_best(folder, best["step"])
    if _pointed(folder, "best") not in available(folder):
        with suppress(FileNotFoundError):
            (folder / "BEST").unlink()


# --- Reading ---


def load(path: Path) -> Checkpoint:
    """Raises `DamagedError`, naming the file and what is wrong with it, for a checkpoint that is not as it was written,
    and for one of another format or run."""
    record = record_of.read(path, _step_of(path.name))
    run = _run_of(path.parent)
    if record.get("run") not in (None, run):
        raise DamagedError(path, f"it was written by another run ({str(record['run'])[:100]}, and this one is {run})")
    arrays = {}
    for name in ("learner", "pipeline"):
        content = record_of.read_file(path, f"{name}.safetensors", record)
        try:
            arrays[name] = safetensors.load(content)
        except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise DamagedError(path, f"{name}.safetensors: {error}") from error
        record_of.check_tensors(path, f"{name}.safetensors", arrays[name], record)
    if record["format"] == 1:
        logger.warning(
            "%s: was written by an earlier version, without checksums: whether it is whole was not checked.", path
        )
    return Checkpoint(
        record["step"], arrays["learner"], arrays["pipeline"], record["metrics_offset"], record["history"]
    )


def find(folder: Path, which: str) -> Path:
    """The folder of `latest`, `best` or `step-N`. Where LATEST is lost, latest is the newest whole one, with a warning.

    Raises `RunError` listing what there is.
    """
    present = available(folder)
    if which in ("latest", "best"):
        name = _pointed(folder, which)
        if which == "latest" and name not in present and (whole := newest_whole(folder)):
            logger.warning("%s; %s is the newest whole checkpoint.", _lost(folder), whole)
            name = whole
    else:
        step = step_of(which)
        name = which if step is None else folder_name(step)
    if name is None or name not in present:
        raise RunError(
            f"{folder}: no checkpoint {which!r}; found {', '.join(present) or 'none'}. "
            "Checkpoints are written every --checkpoint-every steps and at the end."
        )
    return folder / name


def read(folder: Path, which: str, option: str = "--checkpoint") -> tuple[Path, Checkpoint]:
    """`find` and `load`. Where that one is damaged, the error offers the newest whole one before it, as the value of
    `option`."""
    path = find(folder, which)
    try:
        return path, load(path)
    except DamagedError as error:
        raise RunError(f"{error} {_instead(path, option)}") from error


def latest(folder: Path) -> Checkpoint | None:
    """Where the run goes on: the newest checkpoint, or None where none was written yet.

    Where LATEST is lost, the newest whole one, with a warning. Raises `RunError` where that which LATEST names is
    damaged, naming the one before it; and where checkpoints are lost without which the run cannot go on.
    """
    if available(folder):
        return read(folder, "latest", "--resume --resume-from")[1]
    if (folder / "LATEST").exists() or (folder / "LATEST").is_symlink():
        raise RunError(
            f"{_lost(folder)}, and there is no other checkpoint; restore the folder from a copy, or start another run."
        )
    return None


def available(folder: Path) -> list[str]:
    """The names of all checkpoints that are there, whole or not, by their steps."""
    if not folder.is_dir():
        return []
    found = [path.name for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    return sorted((name for name in found if re.fullmatch(r"step-\d{9,}", name, re.ASCII)), key=_step_of)


def newest_whole(folder: Path, *, before: int | None = None, but: str | None = None) -> str | None:
    """The name of the newest checkpoint that reads, or None: only of those `before` a step, and not the one `but`."""
    for name in reversed(available(folder)):
        if name != but and (before is None or _step_of(name) < before):
            with suppress(DamagedError):
                load(folder / name)
                return name
    return None


def check_layout(where: Path | str, arrays: Mapping[str, NDArray[Any]], algorithm: Algorithm) -> None:
    """Raises `RunError`, naming the tensor, unless `arrays` are what the algorithm loads: names, dtypes and shapes.

    `algorithm` must be as it was made: what it holds then, a state holds always. To load another dtype would round it.
    """
    layout = algorithm.state_layout()
    remedy = "It is no checkpoint of this algorithm with these knobs."
    for name in algorithm.state_dict():
        if name not in arrays:
            raise RunError(f"{where}: tensor {name!r} is missing. {remedy}")
    for name, array in arrays.items():
        if name not in layout:
            raise RunError(f"{where}: tensor {name!r} is unknown to the algorithm. {remedy}")
        expected = str(layout[name][0]).removeprefix("torch."), layout[name][1]
        if (array.dtype.name, array.shape) != expected:
            raise RunError(
                f"{where}: tensor {name!r} is {array.dtype.name} {array.shape}, expected {expected[0]} {expected[1]}. "
                + (_OBSERVED if name.startswith("normaliser.") else remedy)
            )


_OBSERVED = (
    "It was saved for other observations. Earlier versions took a Discrete observation as one number, and it is a "
    "one-hot vector now: train such a policy again."
)


def _pointed(folder: Path, which: str) -> str | None:
    """The name in LATEST or BEST; None where there is none that could be one."""
    try:
        name = durable.read_bytes(folder / which.upper(), _POINTER_LIMIT).decode("ascii").strip()
    except (FileNotFoundError, RunError, UnicodeDecodeError):
        return None
    return name if re.fullmatch(r"step-\d{9,}", name, re.ASCII) else None


def _lost(folder: Path) -> str:
    """What is wrong with LATEST."""
    pointer = folder / "LATEST"
    if not pointer.exists() and not pointer.is_symlink():
        return f"{pointer}: is missing"
    name = _pointed(folder, "latest")
    return f"{pointer}: " + ("does not hold a checkpoint's name" if name is None else f"names {name}, which is missing")


def _step_of(name: str) -> int:
    found = re.fullmatch(r"step-(\d{9,})", name, re.ASCII)
    return -1 if found is None else int(found[1])


def _instead(damaged: Path, option: str) -> str:
    """What to read instead of a damaged checkpoint."""
    folder, step = damaged.parent, _step_of(damaged.name)
    whole, where = newest_whole(folder, before=step), "before it"
    if whole is None:
        whole, where = newest_whole(folder, but=damaged.name), "besides"
    if whole is None:
        return "No other checkpoint here is whole: restore the folder from a copy, or start another run."
    return f"The newest whole one {where} is {whole}: name it with {option} step-{_step_of(whole)}."


def _run_of(folder: Path) -> str | None:
    """What the run whose checkpoints these are is called in its own configuration; None where it says nothing."""
    try:
        return durable.read_json(folder.parent / "config.json").get("id")
    except (OSError, RunError):
        return None


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(create(path), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


__all__ = [
    "Arrays",
    "Checkpoint",
    "DamagedError",
    "available",
    "check_layout",
    "cut_back",
    "find",
    "folder_name",
    "latest",
    "load",
    "mark_best",
    "newest_whole",
    "prune",
    "read",
    "save",
]
