"""The datasets of a run: opened as they are, or, where the run goes on, as its record says, wherever they are now."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import replay
from cluster import durable
from cluster.errors import RunError
from cluster.options import Recipe
from replay.errors import DataError
from replay.manifest import check_files
from replay.online.reader import OnlineReader
from replay.online.store_state import is_store
from replay.records import check_depth

Weighted = tuple[replay.Dataset, float | None]


@dataclass(frozen=True)
class _Recorded:
    """A dataset as `config.json` has it."""

    path: str
    weight: float | None
    digest: str
    snapshot: int | None


def open_datasets(recipe: Recipe, before: Mapping[str, Any] | None, command: str) -> list[Weighted]:
    """The recipe's datasets. With `before`, the configuration of a run that goes on, those it began with, in its order:
    they are known by their hash and weight, so that the recipe may name them at other places; of an online store, what
    it held then, however it has grown.

    `command` resumes the run. Raises `DataError` for what cannot be opened and what changed since, and `RunError` for
    datasets that are not the run's, both with the remedy.
    """
    if before is None:
        return [(replay.open(path), weight) for path, weight in recipe.datasets]
    recorded = _recorded(before)
    left = list(recipe.datasets)
    if len(left) != len(recorded):
        raise RunError(
            f"--dataset: the run began with {len(recorded)} ({', '.join(entry.path for entry in recorded)}), now there "
            f"are {len(left)}. A resumed run keeps its recipe: name all of them, or leave the option out."
        )
    found: dict[int, replay.Dataset] = {}
    # A place that is as recorded is taken at its word first, so that what is wrong there is told.
    for number, entry in enumerate(recorded):
        if (entry.path, entry.weight) in left:
            left.remove((entry.path, entry.weight))
            found[number] = _at_its_place(entry, recorded, command)
    for number, entry in enumerate(recorded):
        if number not in found:
            found[number] = _among(left, entry)
    return [(found[number], entry.weight) for number, entry in enumerate(recorded)]


def places(datasets: Sequence[Weighted]) -> tuple[tuple[str, float | None], ...]:
    """As a recipe names them."""
    return tuple((str(dataset.path), weight) for dataset, weight in datasets)


def describe_dataset(dataset: replay.Dataset) -> dict[str, Any]:
    """What a run records: where it was, its hash and, of an online store, the snapshot that the hash is of. Raises
    `DataError` for a provenance that is no JSON."""
    snapshot = {} if dataset.snapshot is None else {"snapshot": dataset.snapshot}
    return {
        "path": str(dataset.path),
        "digest": dataset.fingerprint,
        **snapshot,
        "transitions": int(dataset.num_transitions),
        "episodes": int(dataset.num_episodes),
        "provenance": _provenance(dataset),
    }


def _provenance(dataset: replay.Dataset) -> dict[str, Any]:
    try:
        check_depth(dataset.provenance, durable.DEEPEST)  # a dataset's record may be deeper than a run's
    except ValueError as error:
        raise DataError(f"{dataset.path}: provenance: {error}; restore the dataset's record from a copy.") from error
    return dataset.provenance


def _at_its_place(entry: _Recorded, recorded: Sequence[_Recorded], command: str) -> replay.Dataset:
    if not is_store(Path(entry.path)) and not (Path(entry.path) / "dataset.json").exists():
        others = [other for other in recorded if other is not entry]
        options = ["--dataset", _word("NEW", entry.weight)]
        for other in others:
            options += ["--dataset", _word(other.path, other.weight)]
        raise DataError(
            f"{entry.path}: is no dataset any more, and the run learns from it. Where it was renamed or moved to NEW, "
            f"go on with `{command} {shlex.join(options)}`: it is known by its hash."
        )
    dataset = _opened(entry.path, entry.snapshot)
    if dataset.fingerprint != entry.digest:
        raise DataError(f"{entry.path}: the dataset changed since the run began; restore it, or start another run.")
    return dataset


def _among(left: list[tuple[str, float | None]], entry: _Recorded) -> replay.Dataset:
    """The one of `left` that is `entry`, which is taken out of it."""
    reasons = []
    for path, weight in left:
        try:
            dataset = _opened(path, entry.snapshot)
        except DataError as error:
            reasons.append(str(error))
            continue
        if dataset.fingerprint != entry.digest:
            reasons.append(f"{path} has the hash {dataset.fingerprint[:12]}…")
        elif weight == entry.weight:
            left.remove((path, weight))
            return dataset
        else:
            reasons.append(f"{path} has that hash, and the weight {weight} where the run has {entry.weight}")
    raise RunError(
        f"--dataset: the run began with {_word(entry.path, entry.weight)}, whose hash is {entry.digest[:12]}…, and none"
        f" of those named now is that: {'; '.join(reasons)}. Name that dataset's place, with its weight."
    )


def _opened(path: str, snapshot: int | None) -> replay.Dataset:
    if snapshot is None or not is_store(Path(path)):
        return replay.open(path)
    reader = OnlineReader(path, from_journal=True)
    if reader.snapshot < snapshot:
        raise DataError(
            f"{path}: its journal has {reader.snapshot} records, and had {snapshot} when the run began; restore the "
            "store from a copy."
        )
    dataset = reader.dataset(snapshot)
    check_files(dataset.contents, verify=False)
    return dataset


def _recorded(before: Mapping[str, Any]) -> list[_Recorded]:
    for number, entry in enumerate(before["datasets"]):
        if not entry.get("digest"):
            raise RunError(f"config.json: datasets[{number}].digest is missing: it is known by that; restore the file.")
    return [
        _Recorded(path, weight, entry["digest"], entry.get("snapshot"))
        for (path, weight), entry in zip(before["recipe"]["datasets"], before["datasets"], strict=True)
    ]


def _word(path: str, weight: float | None) -> str:
    return path if weight is None else f"{path}={weight}"
