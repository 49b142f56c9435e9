"""What a dataset holds: its description, its files and its table of episodes, as one object that is passed on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from replay.schema import Column
from replay.shard import ShardFile
from replay.spaces import Box, Spaces

Episodes = dict[str, np.ndarray]
"""The episodes table as arrays (N,), by column name; strings are object arrays. One entry per episode:
shard, first_row, length (T), terminated and truncated (of the last step), return, task, source,
success (1, 0, or -1 where unknown), split. In the order of (shard, first_row)."""

Shards = list[dict[str, ShardFile]]
"""For each shard, its files by column group."""


@dataclass(frozen=True)
class Manifest:
    """Everything that dataset.json says, but the hashes of the tables."""

    spaces: Spaces
    columns: tuple[Column, ...]
    extras: dict[str, Box]
    statistics: dict[str, dict[str, Any]]
    """By numeric column: count, mean, std, min, max (each an array of the column's shape); and "return":
    count, mean, std, min, max of the episodes' returns."""
    provenance: dict[str, Any]
    reference_scores: tuple[float, float] | None = None
    """Returns of a random policy and of an expert, for normalised scores."""
    parents: tuple[dict[str, Any], ...] = ()
    """Datasets whose shard files this one shares: `path` relative to its folder, `sha256` of their dataset.json. Of an
    online store, `snapshot` and the `sha256` of what it held then."""
    counts: dict[str, int] = field(default_factory=dict)
    """transitions, episodes, rows, shards; filled when the manifest is written."""


@dataclass(frozen=True, eq=False)
class Contents:
    """Of a dataset that was opened, or is about to be written; of an online store, at a snapshot."""

    path: Path
    """Where it lies, or will lie."""
    manifest: Manifest
    shards: Shards
    episodes: Episodes
    snapshot: int | None = None
    """Of an online store: how many records of its journal this is. None for any other dataset."""
    sha256: str | None = None
    """Of its dataset.json, where that was read: the identity of the content."""


class HasContents(Protocol):
    """A dataset, to whoever needs no more of it than what it holds."""

    @property
    def contents(self) -> Contents: ...
