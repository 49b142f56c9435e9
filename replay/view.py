"""A view: what is sampled. Datasets with weights, and which of their episodes.

A view is an index and nothing else: a few numbers per episode, none per transition, no open files. It
travels through Ray, and every process that has it agrees on which row a number means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np

from replay.contents import Contents, HasContents
from replay.errors import DataError
from replay.mixture import check_same_spaces, common_extras, pooled_returns, pooled_statistics
from replay.ranges import Range, expected, fits, shown
from replay.records import listed
from replay.rows import Rows
from replay.schema import Column
from replay.shard import ShardFile
from replay.spaces import Box, Spaces, observation_columns
from replay.where import select

ALL = "all"
"""The split that takes every episode."""

_Weight = Annotated[float, Range(0, 1e100, above=True)] | None


@dataclass(frozen=True)
class Member:
    """One dataset of a view."""

    path: str
    columns: tuple[Column, ...]
    """Its own: two datasets with the same columns may keep them in different files."""
    shards: tuple[int, int]
    """Its range of the view's shard numbers."""
    share: float
    """The probability of drawing from it."""


@dataclass(frozen=True, eq=False)
class View:
    """The selected episodes, one after the other; transition i is found by a binary search over `starts`."""

    spaces: Spaces
    extras: dict[str, Box]
    """Extra columns that every member has."""
    statistics: dict[str, dict[str, Any]]
    """Of the mixture (whole datasets, in the proportions of the draw): count, mean, std, min, max by column; and under
    "return" those of the selected episodes' undiscounted returns, the rewards as they are stored."""
    members: tuple[Member, ...]
    weighted: bool
    """Whether members are drawn in other proportions than their sizes."""
    files: tuple[dict[str, ShardFile], ...]
    """By global shard number and column group."""
    shard: np.ndarray
    """int64 (E,): global shard number of each selected episode."""
    first_row: np.ndarray
    """int64 (E,)"""
    length: np.ndarray
    """int64 (E,): transitions."""
    dataset: np.ndarray
    """int64 (E,): number of the member."""
    episode: np.ndarray
    """int64 (E,): number of the episode in its dataset."""
    task: np.ndarray | None = None
    """object (E,): the task that each is tagged with; None in a view for gathering only, as is the next."""
    success: np.ndarray | None = None
    """int8 (E,): 1, 0, or -1 where unknown."""
    starts: np.ndarray = field(init=False)
    """int64 (E + 1,): cumulative lengths."""
    ends: np.ndarray = field(init=False)
    table: np.ndarray = field(init=False)
    """int64 (4, E): row minus index, minus the start, end, shard: what `locate` needs, side by side for one gather."""
    shard_starts: np.ndarray = field(init=False)
    """int64 (S + 1,): the view's first transition of each shard."""
    member_starts: np.ndarray = field(init=False)
    """int64 (M + 1,): the view's first transition of each member."""
    guide: np.ndarray = field(init=False)
    """int64 (2E + 1,): where to begin looking for the episode of a transition."""
    guide_scale: float = field(init=False)
    transitions: int = field(init=False)

    def __post_init__(self) -> None:
        starts = np.concatenate([[0], np.cumsum(self.length)]).astype(np.int64)
        guide, guide_scale = _guide(starts[1:], int(starts[-1]))
        derived = {
            "guide": guide,
            "guide_scale": guide_scale,
            "starts": starts,
            "ends": starts[1:],
            "table": np.stack([self.first_row - starts[:-1], -starts[:-1], starts[1:], self.shard]),
            "shard_starts": starts[np.searchsorted(self.shard, np.arange(len(self.files) + 1))],
            "member_starts": starts[np.searchsorted(self.dataset, np.arange(len(self.members) + 1))],
            "transitions": int(starts[-1]),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    @property
    def episodes(self) -> int:
        return len(self.length)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns every member has; their groups are the first member's."""
        return tuple(c for c in self.members[0].columns if c.name in self.extras or not _is_extra(c, self.spaces))

    @property
    def shares(self) -> np.ndarray:
        """float64 (M,): the probability of each member."""
        return np.array([member.share for member in self.members])

    def member_of(self) -> np.ndarray:
        """int64 (S,): the number of the member that each shard belongs to."""
        return np.repeat(np.arange(len(self.members)), [m.shards[1] - m.shards[0] for m in self.members])

    @staticmethod
    def of(
        members: Sequence[tuple[HasContents, float | None]], split: str | None = "train", where: str | None = None
    ) -> View:
        """Episodes of `split` (None or "all": every one) for which `where` holds, of each dataset.

        Without weights, every transition is equally likely. With any, a dataset is chosen in proportion
        to its weight (1 where it has none), then a transition of it. Datasets must have the same spaces;
        extra columns are those that all have.

        Raises `DataError` naming the datasets and fields that disagree, or the dataset with nothing to give.
        """
        if not members:
            raise DataError("a view needs at least one dataset.")
        if not fits(split, str | None):
            raise DataError(f"split: found {shown(split)}, expected the name of a split, or None for all.")
        for _, weight in members:
            if not fits(weight, _Weight):
                raise DataError(f"weights: found {shown(weight)}, expected {expected(_Weight)}; leave a dataset out.")
        datasets = [dataset.contents for dataset, _ in members]
        first = datasets[0].manifest
        for dataset in datasets[1:]:
            check_same_spaces(first.spaces, str(datasets[0].path), dataset)
        parts = [_part(dataset, number, split, where) for number, dataset in enumerate(datasets)]
        sizes = np.array([int(part["length"].sum()) for part in parts], np.float64)
        weighted = any(weight is not None for _, weight in members)
        mass = np.array([1.0 if weight is None else float(weight) for _, weight in members]) if weighted else sizes
        shares = mass / mass.sum()
        offsets = np.concatenate([[0], np.cumsum([len(dataset.shards) for dataset in datasets])]).astype(int)
        for part, offset in zip(parts, offsets, strict=False):
            part["shard"] += offset
        return View(
            spaces=first.spaces,
            extras=common_extras([dataset.manifest.extras for dataset in datasets]),
            statistics={
                **pooled_statistics(datasets, shares if weighted else None),
                "return": pooled_returns(datasets, parts, shares if weighted else None),
            },
            members=tuple(
                Member(str(d.path), d.manifest.columns, (int(offsets[i]), int(offsets[i + 1])), float(shares[i]))
                for i, d in enumerate(datasets)
            ),
            weighted=weighted,
            files=tuple(files for dataset in datasets for files in dataset.shards),
            **{name: np.concatenate([part[name] for part in parts]) for name in parts[0]},
        )


def extended(view: View | None, dataset: HasContents) -> View:
    """The shards of `view` (None: of nothing), followed by those of `dataset`; without episodes, for gathering only.

    What a store needs to serve a dataset that grows (`Store.extend`): shard k of the dataset is shard
    `len(view.files) + k`. Extra columns are those that both have. Raises `DataError` where the spaces differ.
    """
    members: tuple[Member, ...] = ()
    files: tuple[dict[str, ShardFile], ...] = ()
    added = dataset.contents
    spaces, extras = added.manifest.spaces, added.manifest.extras
    if view is not None:
        check_same_spaces(view.spaces, view.members[0].path, added)
        members, files, spaces = view.members, view.files, view.spaces
        extras = common_extras([view.extras, added.manifest.extras])
    end = len(files) + len(added.shards)
    none = np.zeros(0, np.int64)
    return View(
        spaces=spaces,
        extras=extras,
        statistics={},
        members=(*members, Member(str(added.path), added.manifest.columns, (len(files), end), 0.0)),
        weighted=False,
        files=(*files, *added.shards),
        shard=none,
        first_row=none,
        length=none,
        dataset=none,
        episode=none,
    )


def locate(view: View, index: np.ndarray, weight: np.ndarray | None = None) -> Rows:
    """The rows of transitions `index`: int64 (B,), each in [0, view.transitions). Raises `DataError` for others."""
    index = np.asarray(index)
    if index.dtype.kind not in "iu" or index.ndim != 1:
        raise DataError(f"index: found {index.dtype} of shape {index.shape}, expected whole numbers of shape (B,).")
    if len(index) and not 0 <= int(index.min()) <= int(index.max()) < view.transitions:
        raise DataError(f"index: found {index.min()} to {index.max()}, expected 0 to {view.transitions - 1}.")
    return located(view, index.astype(np.int64, copy=False), weight)


def located(view: View, index: np.ndarray, weight: np.ndarray | None = None) -> Rows:
    """The same, for whoever knows that the transitions are in the view."""
    episode = episode_at(view, index)
    found = view.table.take(episode, 1)
    found[0] += index
    found[1] += index
    found[2] -= index
    return Rows(index, found[3], found[0], found[2], found[1], weight)


def episode_at(view: View, index: np.ndarray) -> np.ndarray:
    """`searchsorted(ends, index, "right")`: the episode that each transition lies in, int64 (B,).

    A binary search misses the cache at most of its steps where there are many episodes. The guide leads to the first
    episode of a stretch half as long as episodes are on average, and nearly always to the right one.
    """
    episode = view.guide.take((index * view.guide_scale).astype(np.int64))
    for _ in range(4):
        passed = view.ends.take(episode) <= index
        if not passed.any():
            return episode
        episode += passed
    return view.ends.searchsorted(index, "right")


def _guide(ends: np.ndarray, transitions: int) -> tuple[np.ndarray, float]:
    """The first episode of each of 2E equal stretches of the view, and stretches per transition."""
    if transitions == 0:
        return np.zeros(1, np.int64), 0.0
    scale = 2 * len(ends) / transitions
    stretches = np.arange(2 * len(ends) + 1) / scale
    return ends.searchsorted(stretches.astype(np.int64), "right").astype(np.int64), scale


def permanent_ids(view: View, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dataset, episode, step) of transitions `index`: what they are called whatever the view, int64 (B,) each.

    Of an online store, the episode is the place among the live ones: `OnlineReader.live` has its number.
    """
    position = episode_at(view, index)
    return view.dataset[position], view.episode[position], index - view.starts[position]


def _part(dataset: Contents, number: int, split: str | None, where: str | None) -> dict[str, np.ndarray]:
    table = dataset.episodes
    if len(table["length"]) == 0:
        raise DataError(f"{dataset.path}: no episodes yet; sample it once it has some.")
    chosen = np.ones(len(table["length"]), bool)
    if split is not None and split != ALL:
        chosen &= table["split"] == split
        if not chosen.any():
            names = sorted(set(table["split"].tolist()))
            raise DataError(
                f"{dataset.path}: no episodes in split {shown(split)}; it has {listed(names)}. Name one, or {ALL!r}."
            )
    if where is not None:
        chosen &= select(where, table)
    episode = np.flatnonzero(chosen)
    if len(episode) == 0:
        raise DataError(f"{dataset.path}: no episode of split {shown(split)} satisfies {shown(where)}; loosen it.")
    return {
        "shard": table["shard"][episode].astype(np.int64),
        "first_row": table["first_row"][episode].astype(np.int64),
        "length": table["length"][episode].astype(np.int64),
        "dataset": np.full(len(episode), number, np.int64),
        "episode": episode.astype(np.int64),
        "task": table["task"][episode],
        "success": table["success"][episode],
    }


def _is_extra(column: Column, spaces: Spaces) -> bool:
    standard = {*observation_columns(spaces.observation), "action", "reward", "terminated", "truncated"}
    return column.name not in standard
