"""The written description of a dataset: dataset.json, shards.arrow and episodes.arrow.

`dataset.json` is written last and holds the hashes of the two tables, which hold the hashes of the
shards, so that one small file vouches for everything and without it there is no dataset.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from replay import records, spaces, statistics
from replay.contents import Contents, Episodes, Manifest, Shards
from replay.durable import write_text
from replay.episode_table import EPISODE_COLUMNS, impossible
from replay.errors import DataError
from replay.online import journal
from replay.ranges import shown
from replay.records import MALFORMED, check_depth, listed, listing, mapping, not_whole, whole
from replay.references import FORMAT, SHARD_COLUMNS, VERSION, Origins, read_dataset, read_shards
from replay.schema import Column, columns_of
from replay.shard import ShardFile, map_shard
from replay.spaces import Box, Discrete, Spaces
from replay.tables import read_table, write_table


def write_manifest(folder: Path, contents: Contents) -> None:
    """Write the three files into `folder`, dataset.json last, each through to the disk.

    `contents.path` is where the dataset will lie once `folder` is renamed: the paths of shard files are recorded
    relative to it, whether they are the dataset's own (under `folder`) or another's.
    """
    folder, home = folder.absolute(), contents.path.absolute()
    shards, episodes = contents.shards, contents.episodes
    rows: dict[str, list[Any]] = {name: [] for name in SHARD_COLUMNS}
    for number, files in enumerate(shards):
        for group, file in files.items():
            path = file.path.absolute()
            if path.is_relative_to(folder):
                relative = path.relative_to(folder).as_posix()
            else:
                relative = Path(os.path.relpath(path.resolve(), home.parent.resolve() / home.name)).as_posix()
            for name, value in zip(
                SHARD_COLUMNS, (number, group, relative, file.rows, file.bytes, file.sha256), strict=True
            ):
                rows[name].append(value)
    tables = {
        "shards.arrow": write_table(folder / "shards.arrow", SHARD_COLUMNS, rows),
        "episodes.arrow": write_table(folder / "episodes.arrow", EPISODE_COLUMNS, episodes),
    }
    record = {
        "format": FORMAT,
        "version": VERSION,
        **describe(contents.manifest),
        "statistics": statistics.to_json(contents.manifest.statistics),
        "parents": list(contents.manifest.parents),
        "counts": {
            "transitions": int(np.sum(episodes["length"], dtype=np.int64)),
            "episodes": len(episodes["length"]),
            "rows": sum(next(iter(files.values())).rows for files in shards),
            "shards": len(shards),
        },
        "tables": tables,
    }
    write_json(folder / "dataset.json", record)


def describe(manifest: Manifest) -> dict[str, Any]:
    """What is known before the first episode, for JSON."""
    return {
        "spaces": {
            "observation": spaces.to_json(manifest.spaces.observation),
            "action": spaces.to_json(manifest.spaces.action),
        },
        "columns": [column.to_json() for column in manifest.columns],
        "extras": {name: spaces.to_json(box) for name, box in manifest.extras.items()},
        "reference_scores": manifest.reference_scores,
        "provenance": manifest.provenance,
    }


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Whole or not at all, through to the disk. Raises `DataError` for a record that could not be read again."""
    try:
        check_depth(record)
    except ValueError as error:
        raise DataError(
            f"{path.name}: {error}; shorten the provenance, of which derived datasets keep their parents'."
        ) from error
    try:
        content = json.dumps(record, indent=1, allow_nan=False)
    except ValueError as error:
        raise DataError(
            f"{path.name}: {error}; scale the columns whose numbers are that large, or drop them."
        ) from error
    write_text(path, content + "\n")


def read_manifest(folder: Path) -> Contents:
    """Read and check the three files, and find the shard files; their paths come back absolute. Raises `DataError`.

    The shard files themselves are checked by `check_files`.
    """
    path = folder / "dataset.json"
    record, sha256 = read_dataset(folder)
    where = str(path)
    described = from_description(record, where)
    try:
        manifest = replace(
            described,
            statistics=_statistics(mapping(record["statistics"], "statistics"), described.columns),
            parents=tuple(dict(mapping(parent, "parents")) for parent in listing(record["parents"], "parents")),
            counts={
                name: whole(records.part(mapping(record["counts"], "counts"), name, "counts"), f"counts.{name}")
                for name in ("transitions", "episodes", "rows", "shards")
            },
        )
        tables = mapping(record["tables"], "tables")
        shards = _shards(folder, manifest, record)
        episodes = read_table(folder / "episodes.arrow", EPISODE_COLUMNS, mapping(tables["episodes.arrow"], "tables"))
    except DataError:
        raise
    except MALFORMED as error:
        raise not_whole(where, error) from error
    _check_episodes(folder, manifest, shards, episodes)
    return Contents(folder, manifest, shards, episodes, sha256=sha256)


def from_description(record: Mapping[str, Any], where: str) -> Manifest:
    """A manifest without numbers, of what `describe` gave; `where` names the file. Raises `DataError`."""
    try:
        said = mapping(record["spaces"], "spaces")
        observation = spaces.from_json(said["observation"], f"{where}: spaces.observation")
        action = spaces.from_json(said["action"], f"{where}: spaces.action")
        if not isinstance(action, (Box, Discrete)):
            raise DataError(f"{where}: spaces.action: found {type(action).__name__}, expected a box or discrete.")
        columns = tuple(
            Column.from_json(entry, f"{where}: columns[{i}]")
            for i, entry in enumerate(listing(record["columns"], "columns"))
        )
        extras: dict[str, Box] = {}
        for name, entry in mapping(record["extras"], "extras").items():
            extra = spaces.from_json(entry, f"{where}: extras.{name}")
            if not isinstance(extra, Box):
                raise DataError(f"{where}: extras.{name}: found {type(extra).__name__}, expected a box.")
            extras[name] = extra
        scores = record["reference_scores"]
        if scores is not None and len(listing(scores, "reference_scores")) != 2:
            raise ValueError(f"reference_scores: found {len(scores)} numbers, expected 2")
        manifest = Manifest(
            spaces=Spaces(observation, action),
            columns=columns,
            extras=extras,
            statistics={},
            provenance=dict(mapping(record["provenance"], "provenance")),
            reference_scores=None
            if scores is None
            else (records.number(scores[0], "reference_scores"), records.number(scores[1], "reference_scores")),
        )
        _check_columns(where, manifest)
    except DataError:
        raise
    except MALFORMED as error:
        raise not_whole(where, error) from error
    return manifest


def check_files(contents: Contents, *, verify: bool = False) -> None:
    """Check that every file is there, has the recorded size and the columns of the schema; with `verify`,
    that its content has the recorded hash. Raises `DataError` naming the file, what was found and expected."""
    seen: set[Path] = set()
    for files in contents.shards:
        for group, file in files.items():
            columns = [column for column in contents.manifest.columns if column.group == group]
            map_shard(file, columns, check="always" if verify and file.path not in seen else "size")
            seen.add(file.path)


def _statistics(record: Mapping[str, Any], columns: Sequence[Column]) -> dict[str, dict[str, Any]]:
    """Of every numeric column and of the return, with the shapes of their columns, as whoever normalises by them
    expects. Raises `MALFORMED`."""
    shapes: dict[str, tuple[int, ...]] = {c.name: c.shape for c in columns if c.kind == "tensor"}
    return {
        name: statistics.from_json(
            mapping(records.part(record, name, "statistics"), f"statistics.{name}"), f"statistics.{name}", shape
        )
        for name, shape in {**shapes, "return": ()}.items()
    }


def fingerprint(folder: Path, snapshot: int | None = None) -> str:
    """sha256 of dataset.json, which holds the hashes of everything else: the identity of a dataset's content. Of an
    online store: of the journal up to `snapshot`. Raises `DataError`, and `OSError` for a store that is not there."""
    return read_dataset(folder)[1] if snapshot is None else journal.prefix(folder, snapshot)[0]


def _check_columns(where: str, manifest: Manifest) -> None:
    """The columns must be those of the spaces and extras; only their groups are free (a derived one's overrides)."""
    try:
        expected = {c.name: replace(c, group="") for c in columns_of(manifest.spaces, manifest.extras)}
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    found = {c.name: replace(c, group="") for c in manifest.columns}
    if found != expected or len(found) != len(manifest.columns):
        wrong = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        raise DataError(
            f"{where}: columns {listed(wrong)} do not fit the spaces and extras; restore it from a copy "
            f"or ingest the dataset again."
        )


def _shards(folder: Path, manifest: Manifest, record: Mapping[str, Any]) -> Shards:
    where, count = folder / "shards.arrow", manifest.counts["shards"]
    groups = {column.group for column in manifest.columns}
    origins = Origins(folder, manifest.parents)
    found: dict[int, dict[str, ShardFile]] = {}
    for number, group, file in read_shards(folder, record):
        if not 0 <= number < count:
            raise DataError(f"{where}: shard {number} of {count}; restore the file from a copy.")
        files = found.setdefault(number, {})
        if group in files:
            raise DataError(f"{where}: shard {number} has two files for {shown(group)}; restore the file from a copy.")
        files[group] = origins.find(file)
    for number in range(count):
        files = found.get(number, {})
        if set(files) != groups:
            raise DataError(
                f"{where}: shard {number} has files for {listed(sorted(files))}, the columns need "
                f"{listed(sorted(groups))}; restore the file from a copy."
            )
        if len({file.rows for file in files.values()}) != 1:
            raise DataError(f"{where}: the files of shard {number} differ in rows; restore the file from a copy.")
    shards = [found[number] for number in range(count)]
    rows = sum(next(iter(files.values())).rows for files in shards)
    if rows != manifest.counts["rows"]:
        raise DataError(
            f"{where}: found {rows} rows, dataset.json says {manifest.counts['rows']}; restore the file from a copy."
        )
    return shards


def _check_episodes(folder: Path, manifest: Manifest, shards: Shards, episodes: Episodes) -> None:
    """Episodes must lie inside their shards, in order, without overlap: every address is computed from them. What else
    is said of them must be possible."""
    where = folder / "episodes.arrow"
    length = episodes["length"].astype(np.int64)
    if len(length) != manifest.counts["episodes"] or int(length.sum()) != manifest.counts["transitions"]:
        raise DataError(
            f"{where}: found {len(length)} episodes and {int(length.sum())} transitions, dataset.json says "
            f"{manifest.counts['episodes']} and {manifest.counts['transitions']}; restore the file from a copy."
        )
    if len(length) == 0:
        raise DataError(f"{where}: no episodes; ingest a source that has some.")
    rows = np.array([next(iter(files.values())).rows for files in shards], np.int64)
    if (wrong := impossible(episodes, rows)) is not None:
        raise DataError(f"{where}: {wrong}; restore the file from a copy.")
