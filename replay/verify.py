"""What a hash does not tell: whether rows are what the spaces and the episodes table say of them.

Whoever writes a dataset writes its hashes, too. Ingesting looks at every value; this looks again, at all but pictures.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from replay.contents import Contents, Episodes
from replay.errors import DataError
from replay.schema import Column
from replay.shard import map_shard
from replay.spaces import Discrete, observation_columns

_CHUNK = 65_536
"""Rows that are looked at together."""
_FLAGS = ("terminated", "truncated")
_ROUNDING = 1e-9
"""Of a sum in float64, whose order is not on record, relative to the sum of magnitudes."""
_REMEDY = "restore the file from a copy or ingest the dataset again."


def check_values(contents: Contents) -> None:
    """Raises `DataError`, naming the file and the row, for numbers that are not finite, flags that are neither 0 nor 1
    and discrete values outside of their space; naming the dataset and the episode, for flags and returns in the table
    that are not those of its rows."""
    where, manifest, episodes = contents.path, contents.manifest, contents.episodes
    numeric = [column for column in manifest.columns if column.kind == "tensor"]
    spaces = {**observation_columns(manifest.spaces.observation), "action": manifest.spaces.action}
    seen: set[tuple[Path, str]] = set()
    for number, files in enumerate(contents.shards):
        found: dict[str, np.ndarray] = {}
        for group, file in files.items():
            columns = [column for column in numeric if column.group == group]
            arrays = map_shard(file, columns, check="size").arrays if columns else {}
            for column in columns:
                if (file.path, column.name) not in seen:
                    _check_column(file.path, column, arrays[column.name], spaces.get(column.name))
                seen.add((file.path, column.name))
            found |= arrays
        mine = np.flatnonzero(episodes["shard"] == number)
        if len(mine):
            _check_episodes(where, mine, {name: column[mine] for name, column in episodes.items()}, found)


def _check_column(path: Path, column: Column, values: np.ndarray, space: object) -> None:
    if column.name in _FLAGS:
        low, high, expected = 0, 1, "0 or 1"
    elif isinstance(space, Discrete):
        low, high = space.start, space.start + space.n - 1
        expected = f"{low} to {high}"
    elif values.dtype.kind == "f":
        low, high, expected = 0, 0, f"finite {column.dtype}"
    else:
        return
    for start in range(0, len(values), _CHUNK):
        part = values[start : start + _CHUNK]
        right = np.isfinite(part) if values.dtype.kind == "f" else (part >= low) & (part <= high)
        if not right.all():
            row = int(np.argmin(right.reshape(len(part), -1).all(axis=1)))
            bad = part[row].reshape(-1)[int(np.argmin(right[row].reshape(-1)))]
            raise DataError(
                f"{path}: column {column.name!r}: found {bad} in row {start + row}, expected {expected}; {_REMEDY}"
            )


def _check_episodes(where: Path, numbers: np.ndarray, table: Episodes, rows: dict[str, np.ndarray]) -> None:
    """Of one shard."""
    first, length = table["first_row"].astype(np.int64), table["length"].astype(np.int64)
    for name in _FLAGS:
        _compare(where, numbers, name, table[name], rows[name][first + length - 1], np.zeros(len(numbers)))
    reward = rows["reward"].astype(np.float64)
    # Each from its first row up to the row behind its last step, which every episode has.
    ends = np.stack([first, first + length], axis=1).reshape(-1)
    sums, sizes = (np.add.reduceat(values, ends)[::2] for values in (reward, np.abs(reward)))
    _compare(where, numbers, "return", table["return"], sums, _ROUNDING * sizes)


def _compare(
    where: Path, numbers: np.ndarray, name: str, said: np.ndarray, found: np.ndarray, tolerance: np.ndarray
) -> None:
    wrong = ~(np.abs(said.astype(np.float64) - found) <= tolerance)
    if wrong.any():
        bad = int(np.argmax(wrong))
        raise DataError(
            f"{where}: episode {numbers[bad]}: {name}: found {said[bad]} in the table of episodes, its rows say "
            f"{found[bad]}; {_REMEDY}"
        )
