"""The written description of a dataset: dataset.json, shards.arrow and episodes.arrow.

`dataset.json` is written last and holds the hashes of the two tables, which hold the hashes of the
shards, so that one small file vouches for everything and without it there is no dataset.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from replay import journal, shard, spaces, statistics
from replay.errors import DataError
from replay.schema import Column, columns_of
from replay.shard import ShardFile
from replay.spaces import Box, Discrete, Spaces

FORMAT = "quiver-dataset"
VERSION = 1

EPISODE_COLUMNS: dict[str, pa.DataType] = {
    "shard": pa.int32(),
    "first_row": pa.int64(),
    "length": pa.int64(),
    "terminated": pa.uint8(),
    "truncated": pa.uint8(),
    "return": pa.float64(),
    "task": pa.string(),
    "source": pa.string(),
    "success": pa.int8(),
    "split": pa.string(),
}
SHARD_COLUMNS: dict[str, pa.DataType] = {
    "shard": pa.int32(),
    "group": pa.string(),
    "file": pa.string(),
    "rows": pa.int64(),
    "bytes": pa.int64(),
    "sha256": pa.string(),
}

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


def write_manifest(folder: Path, manifest: Manifest, shards: Shards, episodes: Episodes, *, home: Path) -> None:
    """Write the three files into `folder`, dataset.json last, each through to the disk.

    `home` is where the dataset will lie once `folder` is renamed: the paths of shard files are recorded
    relative to it, whether they are the dataset's own (under `folder`) or another's.
    """
    folder, home = folder.absolute(), home.absolute()
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
        "shards.arrow": _write_table(folder / "shards.arrow", SHARD_COLUMNS, rows),
        "episodes.arrow": _write_table(folder / "episodes.arrow", EPISODE_COLUMNS, episodes),
    }
    record = {
        "format": FORMAT,
        "version": VERSION,
        **describe(manifest),
        "statistics": statistics.to_json(manifest.statistics),
        "parents": list(manifest.parents),
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
    """Whole or not at all, through to the disk."""
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
    shard.sync(temporary)
    temporary.replace(path)
    shard.sync(path.parent)


def read_manifest(folder: Path) -> tuple[Manifest, Shards, Episodes]:
    """Read and check the three files; paths of shard files come back absolute. Raises `DataError`.

    The shard files themselves are checked by `check_files`.
    """
    path = folder / "dataset.json"
    record = read_json(path, FORMAT, VERSION, what="a dataset", maker="`quiver ingest`")
    where = str(path)
    described = from_description(record, where)
    try:
        manifest = replace(
            described,
            statistics={
                name: {key: np.asarray(value) for key, value in entry.items()}
                for name, entry in record["statistics"].items()
            },
            parents=tuple(dict(parent) for parent in record["parents"]),
            counts={name: int(record["counts"][name]) for name in ("transitions", "episodes", "rows", "shards")},
        )
        tables = record["tables"]
        shard_rows = _read_table(folder / "shards.arrow", SHARD_COLUMNS, tables["shards.arrow"])
        episodes = _read_table(folder / "episodes.arrow", EPISODE_COLUMNS, tables["episodes.arrow"])
    except DataError:
        raise
    except MALFORMED as error:
        raise not_whole(where, error) from error
    _check_parents(folder, manifest)
    shards = _shards(folder, manifest, shard_rows)
    _check_episodes(folder, manifest, shards, episodes)
    return manifest, shards, episodes


def from_description(record: Mapping[str, Any], where: str) -> Manifest:
    """A manifest without numbers, of what `describe` gave; `where` names the file. Raises `DataError`."""
    try:
        observation = spaces.from_json(record["spaces"]["observation"], f"{where}: spaces.observation")
        action = spaces.from_json(record["spaces"]["action"], f"{where}: spaces.action")
        if not isinstance(action, (Box, Discrete)):
            raise DataError(f"{where}: spaces.action: found {type(action).__name__}, expected a box or discrete.")
        columns = tuple(Column.from_json(entry, f"{where}: columns[{i}]") for i, entry in enumerate(record["columns"]))
        extras: dict[str, Box] = {}
        for name, entry in record["extras"].items():
            extra = spaces.from_json(entry, f"{where}: extras.{name}")
            if not isinstance(extra, Box):
                raise DataError(f"{where}: extras.{name}: found {type(extra).__name__}, expected a box.")
            extras[name] = extra
        scores = record["reference_scores"]
        manifest = Manifest(
            spaces=Spaces(observation, action),
            columns=columns,
            extras=extras,
            statistics={},
            provenance=dict(record["provenance"]),
            reference_scores=None if scores is None else (float(scores[0]), float(scores[1])),
        )
    except DataError:
        raise
    except MALFORMED as error:
        raise not_whole(where, error) from error
    _check_columns(where, manifest)
    return manifest


MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError)
"""What reading a record raises that is not as it was written."""


def not_whole(where: str, error: Exception) -> DataError:
    return DataError(f"{where}: not a whole manifest ({error!r}); restore it from a copy or ingest the dataset again.")


def _check_parents(folder: Path, manifest: Manifest) -> None:
    """A child reads its parents' files: they must be where they were, and what they were."""
    for parent in manifest.parents:
        home = Path(os.path.normpath(folder.resolve() / parent["path"]))
        try:
            found = fingerprint(home, parent.get("snapshot"))
        except OSError:
            found = None
        if found != parent["sha256"]:
            raise DataError(
                f"{folder}: its parent {home} is missing or has changed; restore it, or make {folder.name} again."
            )


def check_files(manifest: Manifest, shards: Shards, *, verify: bool = False) -> None:
    """Check that every file is there, has the recorded size and the columns of the schema; with `verify`,
    that its content has the recorded hash. Raises `DataError` naming the file, what was found and expected."""
    seen: set[Path] = set()
    for files in shards:
        for group, file in files.items():
            check_size(file)
            columns = [column for column in manifest.columns if column.group == group]
            shard.map_shard(file.path, columns, file.rows)
            if verify and file.path not in seen:
                check_hash(file)
            seen.add(file.path)


def check_size(file: ShardFile) -> None:
    try:
        size = file.path.stat().st_size
    except OSError as error:
        raise DataError(
            f"{file.path}: the file is missing or unreadable ({error.strerror}); restore it from a copy, or ingest "
            f"the dataset again (a relabelled dataset needs its parent where it was)."
        ) from error
    if size != file.bytes:
        raise DataError(
            f"{file.path}: found {size} bytes, expected {file.bytes}; restore the file from a copy or ingest again."
        )


def check_hash(file: ShardFile, path: Path | None = None) -> None:
    """`path` is another place of the same content (a staged copy)."""
    path = path or file.path
    found = shard.sha256(path)
    if found != file.sha256:
        raise DataError(
            f"{path}: found sha256 {found}, expected {file.sha256}: the content has changed; "
            f"restore the file from a copy or ingest the dataset again."
        )


def fingerprint(folder: Path, snapshot: int | None = None) -> str:
    """sha256 of dataset.json, which holds the hashes of everything else: the identity of a dataset's content. Of an
    online store: of the journal up to `snapshot`. Raises `OSError`."""
    return shard.sha256(folder / "dataset.json") if snapshot is None else journal.fingerprint(folder, snapshot)


def read_json(path: Path, kind: str, version: int, *, what: str, maker: str) -> dict[str, Any]:
    """The file that makes its folder a dataset or a store. Raises `DataError` for none, or one of another kind."""
    folder = path.parent
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError as error:
        found = "no such folder" if not folder.exists() else f"no {path.name} in it"
        raise DataError(
            f"{folder}: not {what}: {found}. Name a folder made by {maker}; "
            f"a folder whose writing was interrupted is none, make it again."
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: unreadable ({error}); restore it from a copy or make it again.") from error
    if not isinstance(record, dict) or record.get("format") != kind:
        raise DataError(f"{path}: not {what} manifest: `format` is not {kind!r}.")
    if record.get("version") != version:
        raise DataError(
            f"{path}: format version {record.get('version')!r}, this program reads {version}; "
            f"use the program that wrote it, or ingest the source again."
        )
    return record


def _write_table(path: Path, types: Mapping[str, pa.DataType], columns: Mapping[str, Any]) -> dict[str, Any]:
    arrays = [pa.array(columns[name], type=kind) for name, kind in types.items()]
    batch = pa.record_batch(arrays, names=list(types))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    shard.sync(path)
    return {"bytes": path.stat().st_size, "sha256": shard.sha256(path)}


def _read_table(path: Path, types: Mapping[str, pa.DataType], recorded: Mapping[str, Any]) -> dict[str, np.ndarray]:
    # The tables are small, and everything rests on them: their hash is checked each time.
    file = ShardFile(path, 0, int(recorded["bytes"]), str(recorded["sha256"]))
    check_size(file)
    check_hash(file)
    with pa.OSFile(str(path), "rb") as source:
        table = pa.ipc.open_file(source).read_all()
    columns: dict[str, np.ndarray] = {}
    for name, kind in types.items():
        if name not in table.column_names or table.schema.field(name).type != kind:
            raise DataError(f"{path}: column {name!r} is missing or not {kind}; ingest the dataset again.")
        column = table.column(name).combine_chunks()
        if kind == pa.string():
            # Few distinct strings stand in many rows: share them.
            encoded = column.dictionary_encode()
            words = np.array(encoded.dictionary.to_pylist() or [""], dtype=object)
            columns[name] = words[encoded.indices.to_numpy(zero_copy_only=False)]
        else:
            columns[name] = column.to_numpy(zero_copy_only=False)
    return columns


def _check_columns(where: str, manifest: Manifest) -> None:
    """The columns must be those of the spaces and extras; only their groups are free (a child's overrides)."""
    expected = {c.name: replace(c, group="") for c in columns_of(manifest.spaces, manifest.extras)}
    found = {c.name: replace(c, group="") for c in manifest.columns}
    if found != expected:
        wrong = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        raise DataError(
            f"{where}: columns {', '.join(wrong)} do not fit the spaces and extras; restore it from a copy "
            f"or ingest the dataset again."
        )


def _shards(folder: Path, manifest: Manifest, rows: Mapping[str, np.ndarray]) -> Shards:
    where = folder / "shards.arrow"
    groups = {column.group for column in manifest.columns}
    shards: Shards = [{} for _ in range(manifest.counts["shards"])]
    home = folder.resolve()
    for number, group, file, count, size, digest in zip(*(rows[name] for name in SHARD_COLUMNS), strict=True):
        if not 0 <= number < len(shards):
            raise DataError(f"{where}: shard {number} of {len(shards)}; restore the file from a copy.")
        path = Path(os.path.normpath(home / file))
        shards[number][group] = ShardFile(path, int(count), int(size), str(digest))
    for number, files in enumerate(shards):
        if set(files) != groups:
            raise DataError(
                f"{where}: shard {number} has files for {sorted(files)}, the columns need {sorted(groups)}; "
                f"restore the file from a copy."
            )
        if len({file.rows for file in files.values()}) != 1:
            raise DataError(f"{where}: the files of shard {number} differ in rows; restore the file from a copy.")
    return shards


def _check_episodes(folder: Path, manifest: Manifest, shards: Shards, episodes: Episodes) -> None:
    """Episodes must lie inside their shards, in order, without overlap: every address is computed from them."""
    where = folder / "episodes.arrow"
    shard_number, first, length = (episodes[name].astype(np.int64) for name in ("shard", "first_row", "length"))
    if len(length) != manifest.counts["episodes"] or int(length.sum()) != manifest.counts["transitions"]:
        raise DataError(
            f"{where}: found {len(length)} episodes and {int(length.sum())} transitions, dataset.json says "
            f"{manifest.counts['episodes']} and {manifest.counts['transitions']}; restore the file from a copy."
        )
    if len(length) == 0:
        raise DataError(f"{where}: no episodes; ingest a source that has some.")
    rows = np.array([next(iter(files.values())).rows for files in shards], np.int64)
    inside = (shard_number >= 0) & (shard_number < len(shards)) & (first >= 0) & (length >= 1)
    if inside.all():
        inside = first + length + 1 <= rows[shard_number]
        same = shard_number[1:] == shard_number[:-1]
        follows = np.where(same, first[1:] >= first[:-1] + length[:-1] + 1, shard_number[1:] > shard_number[:-1])
        inside[1:] &= follows
    if not inside.all():
        bad = int(np.argmin(inside))
        raise DataError(
            f"{where}: episode {bad} (shard {shard_number[bad]}, first row {first[bad]}, {length[bad]} steps) lies "
            f"outside its shard or over another episode; restore the file from a copy."
        )
