"""New datasets from old ones: merge, filter, split, relabel, copy. Nothing is ever changed in place.

Only `copy` moves data. The others write a new episodes table, and shard files only for what they change; for the rest
they refer to the shards of their parents by relative path. A derived dataset records the sha256 of each parent's
dataset.json; keep parents where they are, or `copy` the derived dataset to make it stand alone. An online store may
grow on: what is derived from it refers to what it had when that was made.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from replay import statistics as moments
from replay.contents import Contents, Episodes, Shards
from replay.dataset import Dataset
from replay.derived_dataset import folder, provenance, write
from replay.errors import DataError
from replay.manifest import check_files
from replay.new_folder import NewFolder
from replay.ranges import Seed, Share, expected, fits, shown
from replay.records import listed
from replay.relabel import relabel
from replay.schema import Column
from replay.statistics import Moments
from replay.where import select
from replay.writer import DatasetWriter


def merge(datasets: Sequence[Dataset], out: str | Path) -> Dataset:
    """All episodes of all `datasets`, in order. Raises `DataError` where spaces or columns differ."""
    if len(datasets) < 2:
        raise DataError(f"merge: found {len(datasets)} datasets, expected at least two.")
    first = datasets[0]
    for other in datasets[1:]:
        _same_columns(first, other)
    columns = _common_groups(datasets)
    shards: Shards = []
    tables = []
    for dataset in datasets:
        own = {column.name: column.group for column in dataset.columns}
        tables.append({**dataset.episodes, "shard": dataset.episodes["shard"] + len(shards)})
        shards += [{c.group: files[own[c.name]] for c in columns} for files in dataset.shards]
    episodes = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    statistics = {name: _pooled([d.statistics[name] for d in datasets]) for name in first.statistics}
    scores = {dataset.reference_scores for dataset in datasets}
    manifest = replace(
        first.manifest,
        columns=columns,
        statistics=statistics,
        provenance=provenance("merge", datasets),
        reference_scores=first.reference_scores if len(scores) == 1 else None,
    )
    with folder(out) as (partial, home):
        write(partial, Contents(home, manifest, shards, episodes), datasets)
    return Dataset.open(home)


def filter(dataset: Dataset, out: str | Path, where: str) -> Dataset:
    """The episodes for which `where` holds, such as `return > 100 and success == 1`. Raises `DataError` if none."""
    keep = select(where, dataset.episodes)
    if not keep.any():
        raise DataError(f"{dataset.path}: no episode of {dataset.num_episodes} satisfies {shown(where)}. Loosen it.")
    used = np.unique(dataset.episodes["shard"][keep])
    shards = [dataset.shards[number] for number in used]
    episodes = {name: column[keep] for name, column in dataset.episodes.items()}
    episodes["shard"] = np.searchsorted(used, episodes["shard"]).astype(np.int32)
    with folder(out) as (partial, home):
        manifest = replace(
            dataset.manifest,
            statistics=dataset.statistics if keep.all() else _statistics(dataset.columns, shards, episodes),
            provenance=provenance("filter", [dataset], where=where),
        )
        write(partial, Contents(home, manifest, shards, episodes), [dataset])
    return Dataset.open(home)


def split(dataset: Dataset, out: str | Path, fractions: Mapping[str, float], seed: int = 0) -> Dataset:
    """The same episodes, assigned to splits anew, such as `{"train": 0.8, "validation": 0.1, "test": 0.1}`.

    Whole episodes, drawn by `seed`; the counts are the nearest to the fractions, which must sum to 1.
    """
    if not fits(fractions, dict[str, Share]) or not fractions:
        raise DataError(f"split: found {shown(fractions)}, expected names with fractions of at least 0, at most 1.")
    if not fits(seed, Seed):
        raise DataError(f"split, seed: found {shown(seed)}, expected {expected(Seed)}.")
    if abs(sum(fractions.values()) - 1) > 1e-6:
        raise DataError(f"split: the fractions sum to {sum(fractions.values()):g}, expected 1.")
    n = dataset.num_episodes
    # Raw words of the bit generator are the same in every version of NumPy; shuffles need not be.
    order = np.argsort(np.random.Philox(key=seed).random_raw(n), kind="stable")
    bounds = np.round(np.cumsum([0.0, *fractions.values()]) * n).astype(int)
    names = np.empty(n, object)
    for name, start, stop in zip(fractions, bounds[:-1], bounds[1:], strict=True):
        names[order[start:stop]] = name
    manifest = replace(
        dataset.manifest,
        provenance=provenance("split", [dataset], fractions=dict(fractions), seed=seed),
    )
    with folder(out) as (partial, home):
        write(partial, Contents(home, manifest, dataset.shards, {**dataset.episodes, "split": names}), [dataset])
    return Dataset.open(home)


def copy(dataset: Dataset, out: str | Path, *, progress: Callable[[int, int | None], None] | None = None) -> Dataset:
    """The same episodes in files of its own, compact, needing no parent. Every byte read is checked first."""
    with NewFolder(out) as new:
        check_files(dataset.contents, verify=True)
        done = 0
        with DatasetWriter(
            new,
            dataset.spaces,
            provenance=provenance("copy", [dataset]),
            extras=dataset.extras,
            expected_rows=dataset.num_transitions + dataset.num_episodes,
            reference_scores=dataset.reference_scores,
        ) as writer:
            for number in range(dataset.num_episodes):
                episode = dataset.episode(number)
                writer.add(episode)
                done += len(episode)
                if progress is not None:
                    progress(done, dataset.num_transitions)
    return Dataset.open(out)


def _same_columns(first: Dataset, other: Dataset) -> None:
    for what in ("observation", "action"):
        a, b = getattr(first.spaces, what), getattr(other.spaces, what)
        if a != b:
            raise DataError(
                f"merge: {what} spaces differ: {first.path} has {a}, {other.path} has {b}. "
                "Only datasets with equal spaces can be merged."
            )
    if first.extras != other.extras:
        raise DataError(
            f"merge: extra columns differ: {first.path} has {listed(first.extras) or 'none'}, "
            f"{other.path} has {listed(other.extras) or 'none'}. Relabel one to have the other's."
        )


def _common_groups(datasets: Sequence[Dataset]) -> tuple[Column, ...]:
    """The columns, grouped so that each group lies in one file in every dataset.

    A relabelled dataset keeps its reward apart; in its sister the same file then serves two groups.
    """
    layouts = [{column.name: column.group for column in dataset.columns} for dataset in datasets]
    files = {c.name: tuple(layout[c.name] for layout in layouts) for c in datasets[0].columns}
    names: dict[tuple[str, ...], str] = {key: key[0] for key in files.values() if len(set(key)) == 1}
    for key in files.values():
        if key not in names:
            candidates = (f"override.{n}" for n in itertools.count(1))
            names[key] = next(name for name in candidates if name not in names.values())
    return tuple(replace(column, group=names[files[column.name]]) for column in datasets[0].columns)


def _pooled(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    counts = np.array([entry["count"] for entry in entries], np.float64)
    return moments.merge(entries, (counts / counts.sum()).tolist())


def _statistics(columns: Sequence[Column], shards: Shards, episodes: Episodes) -> dict[str, dict[str, Any]]:
    """Of the selected episodes only, in one pass over the tensor columns."""
    returns = Moments(())
    returns.add(episodes["return"])
    return {**moments.measure(columns, shards, episodes), "return": returns.entry()}


__all__ = ["copy", "filter", "merge", "relabel", "split"]
