"""Checkpoints of a store's state: what the first lines of its journal say, as arrays, so that nobody parses them again.

    state-000020000-89abcdef.checkpoint     how many lines it stands for, and their checksum

A checkpoint saves time, and nothing rests on it: one that is missing, damaged or of another journal is left aside, and
the journal is read. The file is the sha256 of what follows, a line end, and arrays in the form of safetensors: `header`
is JSON, and a column of text is a JSON list.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from replay import regular
from replay.durable import private_file
from replay.errors import DataError
from replay.memory import available_bytes
from replay.online.journal import Position
from replay.records import MALFORMED, listing, mapping, reason, whole

logger = logging.getLogger(__name__)

FORMAT = "quiver-online-state"
VERSION = 1

NAMES = "state-*.checkpoint"
_NAME = re.compile(r"state-(?P<lines>[0-9]{9,18})-[0-9a-f]{8}\.checkpoint")
_LARGEST = 4 << 30
"""Bytes of a checkpoint: some million inserts."""
_DIGEST = 64
_KINDS = "iuf"


@dataclass(frozen=True, eq=False)
class StateCheckpoint:
    """The state of a store at the end of a line of its journal."""

    position: Position
    store: str
    """The sha256 of store.json: a checkpoint of another store is none of this one."""
    columns: Mapping[str, np.ndarray]
    """By name: numbers, or text as an object array."""

    def array(self, name: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        """A column (N, *shape). Raises `ValueError` for one that is missing or of another form."""
        found = self.columns.get(name)
        if found is None or found.dtype != dtype or found.shape[1:] != shape:
            raise ValueError(f"column {name}: missing, or not {dtype} of shape (N, {', '.join(map(str, shape))})")
        return found


def write_checkpoint(folder: Path, checkpoint: StateCheckpoint) -> None:
    """Write it through to the disk, whole or not at all, and remove those before it. Raises `OSError`."""
    position = checkpoint.position
    header = {
        "format": FORMAT,
        "version": VERSION,
        "lines": position.snapshot,
        "bytes": position.bytes,
        "crc32": position.crc,
        "store": checkpoint.store,
        "text": [name for name, column in checkpoint.columns.items() if column.dtype == object],
    }
    arrays = {
        name: _as_bytes(column.tolist()) if column.dtype == object else np.ascontiguousarray(column)
        for name, column in checkpoint.columns.items()
    }
    content = save({**arrays, "header": _as_bytes(header)})
    path = folder / checkpoint_name(position)
    with private_file(path) as file:
        file.write(hashlib.sha256(content).hexdigest().encode() + b"\n")
        file.write(content)
    _remove(other for other in _names(folder) if other != path)


def remove_older(folder: Path) -> None:
    """Remove all but the newest: those that a writer left which was killed before it could. Whoever calls it holds the
    store's lock."""
    _remove(_names(folder)[1:])


def read_checkpoints(folder: Path, store: str) -> Iterator[StateCheckpoint]:
    """Those of the store whose store.json has the sha256 `store`, the newest first; whether the journal begins as they
    say is the caller's to find out. One that cannot be read is told in the log."""
    for path in _names(folder):
        try:
            checkpoint = _read(path)
            if checkpoint.store != store:
                raise ValueError("it is of another store.json")
        except FileNotFoundError:
            continue  # the writer has just replaced it
        except (DataError, OSError, MemoryError, *MALFORMED, SafetensorError) as error:
            ignored(path, reason(error))
        else:
            yield checkpoint


def checkpoint_name(position: Position) -> str:
    return f"state-{position.snapshot:09d}-{position.crc:08x}.checkpoint"


def ignored(path: Path, why: str) -> None:
    logger.warning("%s: is left aside (%s); the journal is read from its beginning.", path, why)


def _remove(checkpoints: Iterable[Path]) -> None:
    for path in checkpoints:
        with suppress(OSError):  # nothing rests on them, nor on their end
            path.unlink()


def _names(folder: Path) -> list[Path]:
    try:
        found = [(int(name["lines"]), path) for path in folder.iterdir() if (name := _NAME.fullmatch(path.name))]
    except OSError:  # a folder whose files may be opened, but not listed
        return []
    return [path for _, path in sorted(found, reverse=True)]


def _read(path: Path) -> StateCheckpoint:
    size = path.lstat().st_size
    if size > min(_LARGEST, available_bytes() // 4):
        raise ValueError(f"it has {size} bytes, more than there is room for")
    content = memoryview(regular.read(path, _LARGEST))
    digest, content = bytes(content[: _DIGEST + 1]), content[_DIGEST + 1 :]
    if digest != hashlib.sha256(content).hexdigest().encode() + b"\n":
        raise ValueError("its content does not have its sha256")
    arrays = load(bytes(content))
    header = mapping(json.loads(arrays.pop("header").tobytes()), "header")
    if (header["format"], header["version"]) != (FORMAT, VERSION):
        raise ValueError(f"it is of version {header['version']!r}, this program reads {VERSION}")
    for name, array in arrays.items():
        if name not in header["text"] and array.dtype.kind not in _KINDS:
            raise ValueError(f"column {name}: found {array.dtype}, expected numbers")
    return StateCheckpoint(
        Position(whole(header["lines"], "lines"), whole(header["bytes"], "bytes"), whole(header["crc32"], "crc32")),
        header["store"],
        {name: _as_text(array) if name in header["text"] else array for name, array in arrays.items()},
    )


def _as_bytes(value: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(value, separators=(",", ":"), allow_nan=False).encode(), np.uint8)


def _as_text(array: np.ndarray) -> np.ndarray:
    words = listing(json.loads(array.tobytes()), "text")
    "".join(words).encode()  # all are text, and text that UTF-8 can hold
    column = np.empty(len(words), object)
    column[:] = words
    return column
