"""A dataset: a folder of Arrow shards with a manifest, opened, sampled and walked through."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from replay.batch import Batch, Request
from replay.contents import Contents, Episodes, Manifest, Shards
from replay.episode import Episode
from replay.errors import DataError
from replay.gather.store import Store, sample
from replay.manifest import check_files, fingerprint, read_manifest
from replay.online.store_state import StoreState, is_store
from replay.ranges import fits, shown
from replay.scanning import scan
from replay.schema import Column
from replay.spaces import Box, Dict, Spaces, observation_columns
from replay.verify import check_values
from replay.view import ALL, View

_TRANSITIONS = Request()


class Dataset:
    """An open dataset. Its files are checked when it is opened, mapped when rows are first asked for."""

    def __init__(self, contents: Contents) -> None:
        self.contents = contents
        self._parts: dict[str, tuple[View, Store]] = {}

    @staticmethod
    def open(path: str | os.PathLike[str], *, verify: bool = False) -> Dataset:
        """Open the dataset at `path`: its manifest, then every file's size, footer and columns are checked, with
        `verify` also the hash of every byte, and whether values, flags and returns are what they should be.

        Of an online store, the episodes that are live now; what comes later is seen when it is opened again. Raises
        `DataError` naming the file, what was found and expected.
        """
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
            raise DataError(f"dataset: found {shown(path)}, expected the name of a folder.")
        folder = Path(path).absolute()
        if is_store(folder):
            state = StoreState(folder)
            contents = state.at(state.refresh())
            if not len(contents.episodes["length"]):
                had = f"all {len(state.ids)} episodes were evicted" if state.ids else "no episodes yet"
                raise DataError(f"{folder}: the online store has nothing to give: {had}. Open it once it has some.")
        else:
            contents = read_manifest(folder)
        check_files(contents, verify=verify)
        if verify:
            check_values(contents)
        return Dataset(contents)

    @property
    def path(self) -> Path:
        return self.contents.path

    @property
    def snapshot(self) -> int | None:
        """Of an online store: how many records of its journal this is. None for any other dataset."""
        return self.contents.snapshot

    @property
    def manifest(self) -> Manifest:
        return self.contents.manifest

    @property
    def shards(self) -> Shards:
        """For each shard, its files by column group."""
        return self.contents.shards

    @property
    def episodes(self) -> Episodes:
        """The episodes table as arrays (N,), by column name: see `contents.Episodes`."""
        return self.contents.episodes

    @property
    def spaces(self) -> Spaces:
        return self.manifest.spaces

    @property
    def extras(self) -> dict[str, Box]:
        """Columns beyond the standard ones, and their spaces."""
        return self.manifest.extras

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.manifest.columns

    @property
    def statistics(self) -> dict[str, dict[str, Any]]:
        """count, mean, std, min, max by numeric column (arrays of its shape), and of the episodes' `return`."""
        return self.manifest.statistics

    @property
    def provenance(self) -> dict[str, Any]:
        return self.manifest.provenance

    @property
    def reference_scores(self) -> tuple[float, float] | None:
        """Returns of a random policy and of an expert."""
        return self.manifest.reference_scores

    @property
    def fingerprint(self) -> str:
        """sha256: the identity of the content that was opened, at its snapshot where it is an online store's."""
        return self.contents.sha256 or fingerprint(self.path, self.snapshot)

    @property
    def num_transitions(self) -> int:
        return self.manifest.counts["transitions"]

    @property
    def num_episodes(self) -> int:
        return self.manifest.counts["episodes"]

    @property
    def num_rows(self) -> int:
        return self.manifest.counts["rows"]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_parts": {}}  # open files stay in their process

    def __repr__(self) -> str:
        return f"Dataset({str(self.path)!r}, {self.num_episodes} episodes, {self.num_transitions} transitions)"

    def view(self, split: str | None = "train", where: str | None = None) -> View:
        """Episodes of `split` (None or "all": every one) for which the expression `where` holds."""
        return View.of([(self, None)], split, where)

    def sample(
        self, *, seed: int, sequence: int, count: int, request: Request = _TRANSITIONS, split: str = "train"
    ) -> Batch[np.ndarray]:
        """The batch at address (seed, sequence): the same rows whenever and wherever it is asked for. Raises
        `DataError` for what cannot be given: a split without episodes, a count that memory cannot hold."""
        view, store = self._part(split)
        return sample(view, store, seed=seed, sequence=sequence, count=count, request=request)

    def scan(
        self, request: Request = _TRANSITIONS, count: int = 4096, split: str = "train"
    ) -> Iterator[Batch[np.ndarray]]:
        """An ordered pass over everything in `split`: see `replay.scan`."""
        view, store = self._part(split)
        return scan(view, store, request, count)

    def episode(self, number: int) -> Episode:
        """Episode `number` as it is stored: its own rows, images encoded. IndexError beyond the last."""
        if not fits(number, int):
            raise DataError(f"{self.path}: episode: found {shown(number)}, expected a whole number.")
        if not 0 <= number < self.num_episodes:
            raise IndexError(f"{self.path}: episode {number} of {self.num_episodes}")
        _, store = self._part(ALL)
        entry = {name: column[number] for name, column in self.episodes.items()}
        values = store.episode(int(entry["shard"]), int(entry["first_row"]), int(entry["length"]))
        observations = {name: values[name] for name in observation_columns(self.spaces.observation)}
        steps = {name: column[:-1] for name, column in values.items() if isinstance(column, np.ndarray)}
        return Episode(
            observation=(
                {name.removeprefix("observation."): column for name, column in observations.items()}
                if isinstance(self.spaces.observation, Dict)
                else observations["observation"]
            ),
            action=steps["action"],
            reward=steps["reward"],
            terminated=steps["terminated"],
            truncated=steps["truncated"],
            extras={name: steps[name] for name in self.extras},
            task=str(entry["task"]),
            source=str(entry["source"]),
            success=None if entry["success"] < 0 else bool(entry["success"]),
            split=str(entry["split"]),
        )

    def close(self) -> None:
        """Unmap all files; they are mapped again when rows are asked for."""
        for _, store in self._parts.values():
            store.close()

    def _part(self, split: str) -> tuple[View, Store]:
        if not isinstance(split, str) or split not in self._parts:
            view = self.view(split)
            self._parts[split] = view, Store(view)
        return self._parts[split]


def open(path: str | os.PathLike[str], *, verify: bool = False) -> Dataset:
    """Open the dataset folder at `path`. Raises `DataError` for one that is not whole: see `Dataset.open`."""
    return Dataset.open(path, verify=verify)


__all__ = ["DataError", "Dataset", "open"]
