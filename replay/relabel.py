"""Relabelling: new values for some columns, in a derived dataset that shares the rest with its parent."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from replay.contents import Contents, Episodes, Shards
from replay.dataset import Dataset
from replay.derived_dataset import folder, provenance, write
from replay.episode import Episode
from replay.errors import DataError
from replay.hooks import applied
from replay.readers.source import box
from replay.schema import Column, columns_of, filler
from replay.shard import tensors, write_shard
from replay.spaces import Box, observation_columns
from replay.statistics import Moments


def relabel(
    dataset: Dataset,
    out: str | Path,
    function: Callable[[Episode], Episode],
    columns: Sequence[str] = ("reward", "terminated"),
    *,
    progress: Callable[[int, int | None], None] | None = None,
) -> Dataset:
    """Each episode through `function`; only `columns` are written, everything else stays the parent's.

    A name in `columns` that the dataset does not have becomes a new extra column, float or integer as the first
    episode gives it. The tags of an episode (task, source, success, split) may change too. Raises `DataError` for an
    episode that no longer fits, and for a change of a column that is not among `columns`.
    """
    with folder(out) as (partial, home):
        work = _Relabelling(dataset, function, tuple(columns))
        for number in range(len(dataset.shards)):
            work.shard(number, partial)
            if progress is not None:
                progress(work.done, dataset.num_transitions)
        manifest = replace(
            dataset.manifest,
            columns=work.columns,
            extras=work.extras,
            statistics={**dataset.statistics, **work.statistics()},
            provenance=provenance(
                "relabel", [dataset], columns=list(columns), function=getattr(function, "__name__", repr(function))
            ),
        )
        write(partial, Contents(home, manifest, work.shards, work.episodes), [dataset])
    return Dataset.open(home)


class _Relabelling:
    """One pass over the parent, shard by shard: what changes, collected into one file per shard."""

    def __init__(self, dataset: Dataset, function: Callable[[Episode], Episode], names: tuple[str, ...]) -> None:
        self.dataset = dataset
        self.function = function
        self.names = names
        self.done = 0
        self.shards: Shards = []
        self.episodes: Episodes = {name: column.copy() for name, column in dataset.episodes.items()}
        existing = {column.name: column for column in dataset.columns}
        if not names:
            raise DataError("relabel: names no columns; expected at least one.")
        for name in names:
            if name in existing and existing[name].kind == "image":
                raise DataError(f"relabel: {name} holds pictures; ingest the dataset again with a reward function.")
        groups = {column.group for column in dataset.columns}
        generations = [int(found[1]) for name in groups if (found := re.fullmatch(r"override\.([0-9]{1,9})", name))]
        later = itertools.count(max(generations, default=0) + 1)
        self.group = next(name for n in later if (name := f"override.{n}") not in groups)
        self.extras = dict(dataset.extras)
        self.columns = self._layout(self._first_extras())
        self._moments = {name: Moments(column.shape) for name, column in self._changed.items()}
        self._returns = Moments(())

    def shard(self, number: int, partial: Path) -> None:
        """Relabel the episodes of one shard and write what changed."""
        dataset, rows = self.dataset, next(iter(self.dataset.shards[number].values())).rows
        old = tensors(dataset.columns, dataset.shards[number])
        new = {
            name: old[name].copy() if name in old else np.zeros((rows, *column.shape), column.dtype)
            for name, column in self._changed.items()
        }
        for i in np.flatnonzero(dataset.episodes["shard"] == number).tolist():
            first, length = int(dataset.episodes["first_row"][i]), int(dataset.episodes["length"][i])
            made = self._episode(i)
            given = {
                "action": made.action,
                "reward": made.reward,
                "terminated": made.terminated,
                "truncated": made.truncated,
                **made.extras,
                **made.observations(),
            }
            for name, values in given.items():
                whole = length + 1 if name in observation_columns(dataset.spaces.observation) else length
                if name in new:
                    new[name][first : first + whole] = values
                    if whole == length:
                        new[name][first + length] = filler(dataset.spaces, self._changed[name])
                    self._moments[name].add(new[name][first : first + whole])
                elif name in old and not np.array_equal(old[name][first : first + whole], values):
                    raise DataError(
                        f"{dataset.path}: episode {i}: the function changed {name}, which would be lost; "
                        f"expected changes in {', '.join(self.names)} only. Name it among the columns."
                    )
            reward = new.get("reward", old["reward"])[first : first + length]
            self._tags(i, made, float(reward.sum(dtype=np.float64)), new, old, first + length - 1)
            self.done += length
        path = partial / "shards" / f"{number:05d}.{self.group}.arrow"
        files = dict(dataset.shards[number])
        files[self.group] = write_shard(path, list(self._changed.values()), new)
        groups = {column.group for column in self.columns}
        self.shards.append({group: file for group, file in files.items() if group in groups})

    def statistics(self) -> dict[str, dict[str, Any]]:
        found = {name: collected.entry() for name, collected in self._moments.items()}
        return {**found, "return": self._returns.entry()}

    @property
    def _changed(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns if column.group == self.group}

    def _layout(self, added: Mapping[str, Box]) -> tuple[Column, ...]:
        self.extras |= added
        old = {column.name: column for column in self.dataset.columns}
        return tuple(
            replace(old.get(column.name, column), group=self.group) if column.name in self.names else old[column.name]
            for column in columns_of(self.dataset.spaces, self.extras)
        )

    def _first_extras(self) -> dict[str, Box]:
        """The spaces of new columns, from the first episode."""
        known = {column.name for column in self.dataset.columns}
        wanted = [name for name in self.names if name not in known]
        if not wanted:
            return {}
        made = self._call(0)
        missing = [name for name in wanted if name not in made.extras]
        if missing:
            raise DataError(
                f"relabel: the dataset has no column {', '.join(missing)} and the function adds none; "
                f"found {', '.join(sorted(known))}."
            )
        arrays = {name: np.asarray(made.extras[name]) for name in wanted}
        return {name: box(array.shape[1:], array.dtype) for name, array in arrays.items()}

    def _episode(self, i: int) -> Episode:
        made = self._call(i)
        if len(made) != int(self.dataset.episodes["length"][i]):
            raise DataError(
                f"{self.dataset.path}: episode {i}: the function returned {len(made)} steps, expected "
                f"{int(self.dataset.episodes['length'][i])}. To change lengths, ingest the dataset again."
            )
        made.validate(self.dataset.spaces, f"{self.dataset.path}: episode {i}", self.extras)
        return made

    def _call(self, i: int) -> Episode:
        return applied(self.function, self.dataset.episode(i), f"{self.dataset.path}: episode {i}")

    def _tags(
        self,
        i: int,
        made: Episode,
        total: float,
        new: Mapping[str, np.ndarray],
        old: Mapping[str, np.ndarray],
        last: int,
    ) -> None:
        table = self.episodes
        table["return"][i] = total
        for name in ("terminated", "truncated"):
            table[name][i] = new.get(name, old[name])[last]
        table["task"][i], table["source"][i] = made.task, made.source
        table["success"][i] = -1 if made.success is None else int(made.success)
        if made.split is not None:
            table["split"][i] = made.split
        self._returns.add(np.asarray([total]))
