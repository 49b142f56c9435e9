"""`checkpoint.json`: what a checkpoint's files must be to the last bit, under a hash of its own.

    {"format": 2, "run": "9f0c…", "step": 12000, "metrics_offset": 5120, "history": {…},
     "files": {"learner.safetensors": {"bytes": 8192, "sha256": "…", "tensors": {"policy.0.bias": ["float32", [64]]}},
               "pipeline.safetensors": {…}},
     "sha256": "…"}

`sha256` is that of the rest, as JSON with sorted keys and no spaces. Format 1, of earlier versions, had no hashes: it
is read with a warning.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from numpy.typing import NDArray

from cluster import durable
from cluster.errors import RunError
from cluster.run_record import Count, expected
from replay.ranges import Range, fits, shown

RECORD = "checkpoint.json"
Seconds = Annotated[float, Range(0, 1e12)]
FORMAT = 2
FILES = ("learner.safetensors", "pipeline.safetensors")

_FIELDS = {
    1: {"format", "step", "metrics_offset", "history"},
    2: {"format", "run", "step", "metrics_offset", "history", "files", "sha256"},
}


class DamagedError(RunError):
    """A checkpoint is not as it was written."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: not a whole checkpoint ({what}).")


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with the hash of its content."""
    return {**record, "sha256": _hash(record)}


def file_entry(content: bytes, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """What the record says of a file of tensors."""
    tensors = {name: [array.dtype.name, list(array.shape)] for name, array in arrays.items()}
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "tensors": tensors}


def read(path: Path, step: int) -> dict[str, Any]:
    """The record of the checkpoint in the folder `path`, whose name says `step`. Raises `DamagedError`."""
    try:
        record = durable.read_json(path / RECORD)
    except (OSError, RunError) as error:
        raise DamagedError(path, str(error)) from error
    form = record.get("format")
    if type(form) is not int or form not in _FIELDS:
        raise DamagedError(path, f"{RECORD}: format is {shown(form)}, and this version of Quiver reads 1 and {FORMAT}")
    if record.keys() != _FIELDS[form]:
        raise DamagedError(path, f"{RECORD}: has {_listed(record)}, and format {form} has {_listed(_FIELDS[form])}")
    if form == FORMAT and record["sha256"] != _hash({name: record[name] for name in record.keys() - {"sha256"}}):
        raise DamagedError(path, f"{RECORD}: its content does not have the sha256 that it names")
    for name in ("step", "metrics_offset"):
        _check(path, name, record[name], Count)
    _check_history(path, record["history"])
    if record["step"] != step:
        raise DamagedError(path, f"{RECORD}: it is of step {record['step']}")
    if form == FORMAT:
        _check_entries(path, record["files"])
    return record


def read_file(path: Path, name: str, record: Mapping[str, Any]) -> bytes:
    """The content of a file of tensors, as the record describes it. Raises `DamagedError`."""
    entry = record["files"][name] if record["format"] == FORMAT else None
    try:
        content = durable.read_bytes(path / name, None if entry is None else entry["bytes"])
    except FileNotFoundError as error:
        raise DamagedError(path, f"{name}: is missing") from error
    except (OSError, RunError) as error:
        raise DamagedError(path, str(error)) from error
    if entry is not None:
        if len(content) != entry["bytes"]:
            raise DamagedError(path, f"{name}: has {len(content):,} bytes, expected {entry['bytes']:,}")
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise DamagedError(path, f"{name}: its content does not have the sha256 that {RECORD} names")
    return content


def check_tensors(path: Path, name: str, arrays: Mapping[str, NDArray[Any]], record: Mapping[str, Any]) -> None:
    """Raises `DamagedError` for tensors that the record does not name, or names otherwise."""
    if record["format"] != FORMAT:
        return
    found = {key: [array.dtype.name, list(array.shape)] for key, array in arrays.items()}
    expected = record["files"][name]["tensors"]
    if wrong := sorted(key for key in {*found, *expected} if found.get(key) != expected.get(key)):
        key = wrong[0]
        raise DamagedError(path, f"{name}: tensor {key!r} is {found.get(key)}, and {RECORD} says {expected.get(key)}")


def _check_history(path: Path, history: Any) -> None:
    """Restarts and seconds so far, and the best evaluation, as far as it was on record."""
    _check(path, "history", history, dict[str, Any])
    for name, kind in (("learner_restarts", Count), ("seconds", Seconds), ("best", dict[str, Any] | None)):
        if name in history:
            _check(path, f"history.{name}", history[name], kind)
    best = history.get("best")
    if best is not None:
        _check(path, "history.best.step", best.get("step"), Count)
        _check(path, "history.best.score", best.get("score"), float)


def _check(path: Path, field: str, value: Any, kind: Any) -> None:
    if not fits(value, kind):
        raise DamagedError(path, f"{RECORD}: {field} is {shown(value)}, expected {expected(kind)}")


def _check_entries(path: Path, files: Any) -> None:
    whole = isinstance(files, dict) and files.keys() == set(FILES)
    for entry in files.values() if whole else ():
        whole &= isinstance(entry, dict) and entry.keys() == {"bytes", "sha256", "tensors"}
        whole = whole and fits(entry["bytes"], Count) and isinstance(entry["tensors"], dict)
    if not whole:
        raise DamagedError(path, f"{RECORD}: files are not described as in format {FORMAT}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _hash(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
