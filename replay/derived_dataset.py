"""What every operation needs to make a dataset out of others: see `operations`."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from replay.contents import Contents
from replay.dataset import Dataset
from replay.manifest import write_manifest
from replay.new_folder import NewFolder, disk_error

_INHERITED = ("env_spec", "observation_key", "collected_by", "licence", "task", "format")
"""Provenance that a derived dataset has from its parents, where they agree."""


def provenance(operation: str, datasets: Sequence[Dataset], **details: Any) -> dict[str, Any]:
    """Where a derived dataset comes from: the operation, its details, and all that is known of the parents."""
    agreed = {
        name: datasets[0].provenance[name]
        for name in _INHERITED
        if name in datasets[0].provenance
        and all(dataset.provenance.get(name) == datasets[0].provenance[name] for dataset in datasets)
    }
    return {
        "operation": operation,
        **details,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **agreed,
        "from": [{"name": d.path.name, **_identity(d), **dict(d.provenance)} for d in datasets],
    }


@contextmanager
def folder(out: str | Path) -> Iterator[tuple[Path, Path]]:
    """A private folder to write into, and the name it gets at the end; an exception removes it. Nobody else writes to
    that name meanwhile: see `NewFolder`."""
    with NewFolder(out) as new:
        try:
            (new.partial / "shards").mkdir()
            yield new.partial, new.path
        except OSError as error:
            raise disk_error(new.path, error) from error
        new.publish()


def write(partial: Path, contents: Contents, parents: Sequence[Dataset]) -> None:
    """Write the manifest into a `folder`, with the parents by relative path and hash."""
    start = contents.path.parent.resolve() / contents.path.name
    recorded = tuple(
        {
            "path": Path(os.path.relpath(parent.path.resolve(), start)).as_posix(),
            **_identity(parent),
        }
        for parent in parents
    )
    write_manifest(partial, replace(contents, manifest=replace(contents.manifest, parents=recorded)))


def _identity(dataset: Dataset) -> dict[str, Any]:
    """An online store goes on growing: what is meant is what it had at the snapshot."""
    snapshot = {} if dataset.snapshot is None else {"snapshot": dataset.snapshot}
    return {"sha256": dataset.fingerprint, **snapshot}
