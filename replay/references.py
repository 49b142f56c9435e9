"""Which files a dataset may refer to: its own, and those of the datasets it was made of.

The names in a dataset's tables are somebody else's words. A name is taken only if it is relative and leads to a file
inside the dataset's folder, or to one that a parent, or a parent's parent, lists as its own. A parent may lie anywhere,
but it must be the very dataset that is recorded: its sha256 is compared. Nothing is opened before.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from replay.errors import DataError
from replay.online import journal
from replay.ranges import shown
from replay.records import MALFORMED, listing, mapping, not_whole, read_record, text, whole
from replay.shard import ShardFile
from replay.tables import read_table

FORMAT = "quiver-dataset"
VERSION = 1

SHARD_COLUMNS: dict[str, pa.DataType] = {
    "shard": pa.int32(),
    "group": pa.string(),
    "file": pa.string(),
    "rows": pa.int64(),
    "bytes": pa.int64(),
    "sha256": pa.string(),
}

Record = Mapping[str, Any]


class Origins:
    """The files that the dataset in `folder`, which records `parents`, may refer to.

    Raises `DataError` for a parent that is missing or is not what it was, and for a name that is no relative path.
    """

    def __init__(self, folder: Path, parents: Sequence[Record]) -> None:
        self._folder = folder
        self._home = Path(os.path.realpath(folder))
        self._real = _RealPaths()
        self._theirs: dict[Path, ShardFile] = {}
        """What parents list as their own, by real path."""
        waiting = [(self._home, parent) for parent in parents]
        seen: set[tuple[Path, str]] = set()
        while waiting:
            derived, parent = waiting.pop()
            name = plain(parent["path"], f"{derived / 'dataset.json'}: parents.path")
            # Not `Path.resolve`, which raises for a link that leads to itself; whoever opens that is told.
            home, sha256 = (
                Path(os.path.realpath(os.path.normpath(derived / name))),
                text(parent["sha256"], "parents.sha256"),
            )
            if (home, sha256) in seen:
                continue
            seen.add((home, sha256))
            files, further = _read_parent(folder, home, parent)
            for file in files:
                # What a parent has from parents of its own, those list.
                if (path := self._inside(home, str(file.path))) is not None:
                    self._theirs[path] = replace(file, path=path)
            waiting += [(home, entry) for entry in further]

    def find(self, file: ShardFile) -> ShardFile:
        """A file that the dataset refers to, where it lies; `file.path` is as the dataset has it. Raises `DataError`
        for one that is neither the dataset's nor a parent's."""
        where, name = f"{self._folder / 'shards.arrow'}: file", str(file.path)
        if (path := self._inside(self._home, name)) is not None:
            return replace(file, path=path)
        theirs = replace(file, path=self._real(Path(os.path.normpath(self._home / name))))
        if self._theirs.get(theirs.path) != theirs:
            raise DataError(
                f"{where}: found {shown(name)}, which is neither in the dataset's folder nor a file of a parent that "
                "it records. Do not use this dataset unless you know who made it; then have them `copy` it, so that it "
                "holds its own files."
            )
        return theirs

    def _inside(self, home: Path, name: str) -> Path | None:
        """Where a file of the dataset in `home` lies; None if not in that folder, by its name or by a link."""
        path = Path(os.path.normpath(home / name))
        real = self._real(path)
        return real if path.is_relative_to(home) and real.is_relative_to(home) else None


def plain(name: Any, where: str) -> str:
    """The name itself, if it is a relative path. Raises `DataError` for anything else."""
    if not isinstance(name, str) or not name or re.search(r"[\x00-\x1f\x7f\\]", name):
        wrong = "no path"
    elif name.startswith("/"):
        wrong = "an absolute path"
    elif re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", name):
        wrong = "an address"
    else:
        return name
    raise DataError(
        f"{where}: found {shown(name)}, {wrong}; expected a path relative to the dataset's folder. Do not use this "
        "dataset unless you know who made it, and have it made again."
    )


def read_dataset(folder: Path) -> tuple[dict[str, Any], str]:
    """dataset.json and its sha256: the identity of the dataset's content. Raises `DataError`."""
    return read_record(folder / "dataset.json", FORMAT, VERSION, what="a dataset", maker="`quiver ingest`")


def read_shards(folder: Path, record: Record) -> Iterator[tuple[int, str, ShardFile]]:
    """The rows of shards.arrow: number of the shard, column group, and the file by the name it has there. Raises
    `DataError`, and `MALFORMED` for a dataset.json that says nothing of it."""
    path = folder / "shards.arrow"
    tables = mapping(record["tables"], "tables")
    table = read_table(path, SHARD_COLUMNS, mapping(tables[path.name], f"tables.{path.name}"))
    columns = (table[column].tolist() for column in SHARD_COLUMNS)
    for number, group, name, rows, size, sha256 in zip(*columns, strict=True):
        if rows < 1 or size < 1:
            raise DataError(f"{path}: {shown(name)} has {rows} rows and {size} bytes; restore the file from a copy.")
        yield number, group, ShardFile(Path(plain(name, f"{path}: file")), rows, size, sha256)


def _read_parent(derived: Path, home: Path, parent: Record) -> tuple[Iterable[ShardFile], Sequence[Record]]:
    """The files of a parent, by the names it has for them, and its own parents, if it is what it was."""
    changed = f"{derived}: its parent {home} is missing or has changed; restore it, or make {derived.name} again."
    snapshot = parent.get("snapshot")
    try:
        if snapshot is None:
            record, found = read_dataset(home)
        else:
            found, lines = journal.prefix(home, whole(snapshot, "snapshot"))
    except (DataError, OSError) as error:
        raise DataError(f"{changed} ({error})") from error
    if found != parent["sha256"]:
        raise DataError(changed)
    try:
        if snapshot is None:
            return [file for *_, file in read_shards(home, record)], [
                mapping(entry, "parents") for entry in listing(record["parents"], "parents")
            ]
        return journal.segments(lines), []
    except DataError:
        raise
    except MALFORMED as error:
        raise not_whole(str(home), error) from error


class _RealPaths:
    """Paths without links in them. Thousands of files lie in few folders, whose links are followed once."""

    def __init__(self) -> None:
        self._folders: dict[Path, Path] = {}

    def __call__(self, path: Path) -> Path:
        if path.parent not in self._folders:
            self._folders[path.parent] = Path(os.path.realpath(path.parent))
        real = self._folders[path.parent] / path.name
        return Path(os.path.realpath(real)) if real.is_symlink() else real
