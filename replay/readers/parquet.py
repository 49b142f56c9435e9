"""`parquet:<glob>`: flat tables, one row per step, from any number of files.

Columns are `observation` or `observation.<key>`, `action` and, as far as they are there, `reward`, `terminated`,
`truncated`, `episode_index`, `frame_index`, `task`, `success`, `next_observation` and the extras `goal` and
`behavior_logprob`; LeRobot's names `next.reward`, `next.done`, `next.truncated` and `next.success` are known.
Other names are given by `rename`. Tensors are numbers or (nested, fixed-length) lists of them; pictures are
encoded bytes. An episode lies in one file. The files are those that the pattern names, links to files among them
(a download cache is made of such), and nothing that they name themselves is opened.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from replay import images
from replay.episode import flags
from replay.errors import DataError
from replay.flags import as_flags, complaint, not_flags, set_flags
from replay.readers.columns import channels_last, check_column, check_name, column_space, left_out, some
from replay.readers.parquet_tables import NEXT, STEP, Part, Tables
from replay.readers.segment import RULES, Block, Counts, segment
from replay.readers.source import (
    Options,
    Source,
    action_space,
    box,
    conversion_notes,
    env_spec,
    expanded,
    minimum_and_maximum,
    one_each,
    refuse,
    regular,
)
from replay.regular import read as read_bytes
from replay.spaces import Dict, Leaf, Space, Spaces, observation_columns


def read(location: str, options: Options) -> Source:
    """Opens the files that match. Raises `DataError` for columns that are missing, ragged or of unlike types."""
    refuse(options, "parquet", "success_timing")
    pattern = str(expanded(location, f"parquet:{location}"))
    files = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]
    files = [regular(file, str(file), "Leave it out of the pattern.") for file in files if not file.is_dir()]
    if not files:
        raise DataError(f"parquet:{location}: no file matches. Check the path; quote the pattern in a shell.")
    tables = Tables(files, options)
    names = tables.names
    observation = [name for name in names if name == "observation" or name.startswith("observation.")]
    missing = [name for name, there in (("observation", observation), ("action", "action" in names)) if not there]
    if missing:
        raise DataError(
            f"{files[0]}: has no column for {', '.join(missing)}; found {some(tables.found)}. "
            "Give other names with --rename source=standard."
        )
    if "observation" in observation and len(observation) > 1:
        raise DataError(f"{files[0]}: has observation and {observation[1]}; rename one, or leave it out.")
    if not {"episode_index", "terminated", "truncated"} & set(names):
        raise DataError(
            f"{files[0]}: nothing says where episodes end; expected episode_index, terminated or truncated. "
            "Give other names with --rename source=standard."
        )
    following = {f"observation{name[len(NEXT) :]}" for name in names if name.startswith(NEXT)}
    if following and following != set(observation):
        raise DataError(
            f"{files[0]}: next observations {some(sorted(following))} for observations "
            f"{some(observation)}; expected the same keys. Rename or leave out what has no partner."
        )
    for name in names:
        check_name(name.removeprefix("observation."), tables.where(files[0], name))
    notes = left_out(tables.ignored, "give a name with --rename to keep one")
    notes += _videos(files[0])
    if "reward" not in names:
        notes.append("reward: not in the source, 0 everywhere; give a reward function to compute it")
    if names.get("terminated") == "next.done":
        notes.append("next.done: taken as terminated" + (" where not truncated" if "truncated" in names else ""))
    first = next(tables.batches(list(names)), None)
    if first is None:
        raise DataError(f"{files[0]}: has no rows.")
    spaces, extras = _spaces(first.columns, observation, tables, options, notes)
    rule = RULES["next" if following else "lost"]
    counts = Counts()
    return Source(
        spaces=spaces,
        episodes=segment(
            _blocks(tables, observation, list(extras), spaces), counts, source=f"parquet:{files[0].parent.name}"
        ),
        provenance={
            "format": "parquet",
            "final_observation": rule,
            "episodes": "an episode ends with its file, its episode_index, its frame_index or its flags",
            **env_spec(options.env),
        },
        files=files,
        expected_rows=tables.rows,
        expected_transitions=tables.rows,
        extras=extras,
        notes=notes,
        counts=counts,
    )


def _videos(file: Path) -> list[str]:
    """A note on the cameras of a LeRobot dataset whose pictures are videos beside the tables, not columns of them."""
    for folder in file.absolute().parents[:4]:
        try:
            described = json.loads(read_bytes(folder / "meta" / "info.json", _LONGEST_DESCRIPTION))
        except (OSError, DataError, ValueError, RecursionError):
            continue  # none of LeRobot's, or none that says anything
        features = described.get("features") if isinstance(described, dict) else None
        if not isinstance(features, dict):
            continue
        named = [name for name, what in features.items() if isinstance(what, dict) and what.get("dtype") == "video"]
        return [f"not ingested, as they are videos beside the tables: {some(named)}"] if named else []
    return []


_LONGEST_DESCRIPTION = 16 << 20


def _spaces(
    columns: dict[str, np.ndarray],
    observation: list[str],
    tables: Tables,
    options: Options,
    notes: list[str],
) -> tuple[Spaces, dict[str, Any]]:
    leaves: dict[str, Leaf] = {}
    for name in observation:
        where = tables.where(tables.files[0], name)
        leaves[name.removeprefix("observation.")] = _space(columns[name], where, name, notes)
    action = columns["action"]
    where = tables.where(tables.files[0], "action")
    check_column(action.shape[1:], action.dtype, where)
    notes += conversion_notes({name: columns[name].dtype for name in [*observation, "action"]})
    low, high = minimum_and_maximum(part.columns["action"] for part in tables.batches(["action"]))
    space: Space = leaves["observation"] if observation == ["observation"] else Dict.of(leaves)
    step = {*STEP, *(name for name in columns if name.split(".")[0] in ("observation", NEXT))}
    extras = {}
    for name in columns:
        if name not in step:
            check_column(columns[name].shape[1:], columns[name].dtype, tables.where(tables.files[0], name))
            extras[name] = box(columns[name].shape[1:], columns[name].dtype)
    return Spaces(space, action_space(low, high, action.shape[1:], action.dtype, notes, where=where)), extras


def _space(column: np.ndarray, where: str, name: str, notes: list[str]) -> Leaf:
    if column.dtype != object:
        return column_space(column.shape[1:], column.dtype, where, name, notes)
    if not isinstance(column[0], bytes):
        raise DataError(f"{where}: holds text; expected numbers or encoded pictures. Leave the column out.")
    return images.look(column[0], where)


def _blocks(tables: Tables, observation: list[str], extras: list[str], spaces: Spaces) -> Iterator[Block]:
    names = list(tables.names)
    done = tables.names.get("terminated") == "next.done"
    order = _Order(tables)
    leaves = observation_columns(spaces.observation)
    for part in tables.batches(names):
        columns = dict(part.columns)
        n = len(columns["action"])
        for name in ("reward", "episode_index", "frame_index", "success"):
            if name in columns:
                columns[name] = one_each(columns[name], tables.where(part.file, name))
        for name in ("episode_index", "frame_index"):
            if name in columns:
                _check_numbers(columns[name], part, tables.where(part.file, name), text=name == "episode_index")
        if "task" in columns:
            columns["task"] = _tasks(columns["task"], part, tables.where(part.file, "task"))
        if "episode_index" in columns:
            order.check(columns["episode_index"], part)
        faults = _settle_flags(columns, part, tables)
        truncated = columns.get("truncated", flags(n))
        terminated = columns.get("terminated", flags(n))
        if done:
            terminated = terminated & (1 - truncated)
        after = {f"observation{name[len(NEXT) :]}": columns[name] for name in names if name.startswith(NEXT)}
        yield Block(
            observation={name: channels_last(columns[name], leaves[name]) for name in observation},
            action=columns["action"],
            reward=columns["reward"] if "reward" in columns else np.zeros(n, np.float32),
            terminated=terminated,
            truncated=truncated,
            end=terminated | truncated | flags(n, last=part.last),
            next_observation={name: channels_last(column, leaves[name]) for name, column in after.items()},
            number=columns.get("episode_index"),
            position=columns.get("frame_index"),
            extras={name: columns[name] for name in extras},
            tags={name: columns[name] for name in ("task", "success") if name in columns},
            faults=faults,
        )


def _settle_flags(columns: dict[str, np.ndarray], part: Part, tables: Tables) -> np.ndarray | None:
    """Makes the flags among the columns 0 and 1. What is neither is a fault of its row where rows have an episode's
    number; elsewhere nobody knows whose end it is, and a `DataError` is raised."""
    numbered = "episode_index" in columns
    faults = np.full(len(columns["action"]), None, object) if numbered else None
    for name in ("terminated", "truncated", "success"):
        if name not in columns:
            continue
        where = tables.where(part.file, name)
        values = one_each(columns[name], where)
        if faults is None:
            columns[name] = as_flags(values, where, first=part.first)
            continue
        for row in np.flatnonzero(not_flags(values)).tolist():
            faults[row] = faults[row] or complaint(values, row, where, first=part.first)
        columns[name] = set_flags(values)
    return faults


def _check_numbers(values: np.ndarray, part: Part, where: str, *, text: bool) -> None:
    """Raises `DataError` unless rows are numbered in whole numbers, or named where `text` allows it."""
    if values.dtype == object and text:
        return
    if values.dtype.kind in "iuf":
        # Steps are counted on, which must not go beyond what the type holds.
        whole = np.isfinite(values) & (np.floor(values) == values) & (text | (np.abs(values) <= _FARTHEST))
        if values.dtype.kind == "i":
            whole &= values != np.iinfo(values.dtype).min  # of which there is no absolute value
    else:
        whole = np.zeros(len(values), bool)
    if not whole.all():
        row = int(np.argmin(whole))
        raise DataError(
            f"{where}: found {values[row]!r} at row {part.first + row}, expected whole numbers"
            + ("." if text else f" up to {_FARTHEST:,}.")
        )


_FARTHEST = 1 << 31
"""The number of a step: eight months at 100 a second."""


def _tasks(values: np.ndarray, part: Part, where: str) -> np.ndarray:
    """(n,) text, or whole numbers as they are. Raises `DataError` for anything else."""
    if values.dtype != object:
        _check_numbers(one_each(values, where), part, where, text=True)
        return values.reshape(-1)
    for row, value in enumerate(values):
        if not isinstance(value, str):
            raise DataError(
                f"{where}: found {type(value).__name__} at row {part.first + row}, expected text or whole numbers. "
                "Convert the column, or leave it out."
            )
    return values


class _Order:
    """Refuses files in which the rows of an episode do not lie together."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._begun: set[int] = set()
        self._current: int | None = None

    def check(self, number: np.ndarray, part: Part) -> None:
        starts = np.concatenate([[True], number[1:] != number[:-1]])
        for episode in number[starts].tolist():
            if episode == self._current:
                continue
            if episode in self._begun:
                raise DataError(
                    f"{self._tables.where(part.file, 'episode_index')}: the rows of episode {episode} do not lie "
                    "together. Sort the file by episode and step first."
                )
            self._begun.add(episode)
            self._current = episode
        if part.last:
            self._begun, self._current = set(), None
