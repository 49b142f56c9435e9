"""Makes hashes right again after a change, as somebody would who means harm."""

from __future__ import annotations

import contextlib
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa

from replay.references import SHARD_COLUMNS
from replay.tables import write_table


def tables(folder: Path) -> None:
    """In dataset.json: the hashes of the two tables."""
    path = folder / "dataset.json"
    record = json.loads(path.read_text())
    for name, entry in record["tables"].items():
        if (folder / name).is_file():
            entry |= _held(folder / name)
    path.write_text(json.dumps(record, indent=1))


def shards(folder: Path) -> None:
    """In shards.arrow: the hashes of all shards; then `tables`."""
    path = folder / "shards.arrow"
    columns = pa.ipc.open_file(pa.BufferReader(path.read_bytes())).read_all().to_pydict()
    for number, name in enumerate(columns["file"]):
        if (folder / name).is_file():
            for column, value in _held(folder / name).items():
                columns[column][number] = value
    path.unlink()
    write_table(path, SHARD_COLUMNS, columns)
    tables(folder)


def journal(folder: Path) -> None:
    """In a store's journal: the hashes of all segments, and each line's checksum, as far as lines are JSON."""
    path = folder / "journal.jsonl"
    crc, lines = 0, []
    for line in path.read_bytes().splitlines():
        content = line[len(b'{"crc32":"01234567","record":') : -1]
        # What is no record keeps its bytes, under a checksum that fits.
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError):
            record = json.loads(content)
            for file in record["insert"]["files"].values():
                if (folder / "segments" / file["file"]).is_file():
                    file |= _held(folder / "segments" / file["file"])
            content = json.dumps(record, separators=(",", ":")).encode()
        crc = zlib.crc32(content, crc)
        lines.append(b'{"crc32":"%08x","record":' % crc + content + b"}\n")
    path.write_bytes(b"".join(lines))


def checkpoint(folder: Path) -> None:
    """In each checkpoint.json: the hashes and tensors of both files, as far as they read, and its own."""
    for path in folder.glob("checkpoints/*/checkpoint.json"):
        try:
            record = json.loads(path.read_text())
        except (ValueError, RecursionError):
            continue  # it stays as it is
        with contextlib.suppress(TypeError, KeyError, AttributeError, ValueError, OSError):
            for name, entry in record["files"].items():
                entry |= {"tensors": _tensors(path.parent / name) or entry["tensors"], **_held(path.parent / name)}
        if isinstance(record, dict):
            record["sha256"] = _hash({name: value for name, value in record.items() if name != "sha256"})
        path.write_text(json.dumps(record))


def _tensors(path: Path) -> dict[str, Any] | None:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(path.read_bytes())
    except (SafetensorError, ValueError, KeyError, TypeError):
        return None
    return {name: [array.dtype.name, list(array.shape)] for name, array in arrays.items()}


def _held(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _hash(record: Any) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
