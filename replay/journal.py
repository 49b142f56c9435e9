"""The journal of an online store: one record a line, appended through to the disk. What stands in it has happened.

A line is `{"crc32":"89abcdef","record":{…}}`. The checksum continues that of the line before, so that a line changed,
lost or out of place is found where it is. A snapshot is a number of lines: the journal only grows, so that the same
number always means the same content.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replay.errors import DataError

STORE = "store.json"
JOURNAL = "journal.jsonl"

_HEAD = b'{"crc32":"%08x","record":'
_HEAD_BYTES = len(_HEAD % 0)


@dataclass(frozen=True)
class Position:
    """The end of a line."""

    snapshot: int = 0
    """Lines up to here."""
    bytes: int = 0
    crc: int = 0
    """The checksum so far."""


class JournalReader:
    """Follows a journal that somebody else may be writing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = Position()
        """The end of what was taken in so far; whoever takes a record in moves it on."""

    def news(self) -> list[tuple[dict[str, Any], Position]]:
        """The records behind `position`, each with the end of its line. Reads new bytes only.

        A last line that is not whole is no record: it is being written, or its writer was killed. Raises `DataError`
        for one that is whole but changed or out of place, for one that is not whole and has others behind it, and for a
        journal that became shorter.
        """
        try:
            size = self.path.stat().st_size
            if size == self.position.bytes:
                return []
            if size < self.position.bytes:
                raise DataError(
                    f"{self.path}: found {size} bytes after {self.position.bytes} had been read; a journal only grows. "
                    "Restore it from a copy, and open the store again."
                )
            with self.path.open("rb") as file:
                file.seek(self.position.bytes)
                *lines, rest = file.read().split(b"\n")
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror}); restore it from a copy.") from error
        records: list[tuple[dict[str, Any], Position]] = []
        position = self.position
        for number, line in enumerate(lines, 1):
            crc = _check(line, position.crc)
            if crc is None:
                if number == len(lines) and not rest and not _is_json(line):
                    break
                raise DataError(
                    f"{self.path}, line {position.snapshot + 1}: found a checksum that does not fit: the line was "
                    "changed, or others are missing before it. Restore the file from a copy."
                )
            position = Position(position.snapshot + 1, position.bytes + len(line) + 1, crc)
            records.append((json.loads(line)["record"], position))
        return records


class JournalWriter:
    """Appends to a journal, behind what `reader` has taken in. Whoever makes one holds the store's lock."""

    def __init__(self, reader: JournalReader) -> None:
        self._reader = reader
        self.unsure = False
        """Whether a line that failed may still stand behind the others: nobody is to take it in before `cut`."""
        self._file = os.open(reader.path, os.O_RDWR | os.O_CLOEXEC)

    def append(self, record: dict[str, Any]) -> None:
        """Durable when it returns; as if it had not been called when it raises (`OSError` as the disk does)."""
        self.cut()
        position = self._reader.position
        content = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
        line = _HEAD % zlib.crc32(content, position.crc) + content + b"}\n"
        self.unsure = True
        try:
            written = 0
            while written < len(line):  # once, unless the disk is full
                written += os.pwrite(self._file, line[written:], position.bytes + written)
            os.fsync(self._file)
            self.unsure = False
        except BaseException:
            with contextlib.suppress(OSError):
                self.cut()
            raise

    def cut(self) -> None:
        """Remove what lies behind the reader's position: a line that was never acknowledged."""
        if os.fstat(self._file).st_size != self._reader.position.bytes:
            os.ftruncate(self._file, self._reader.position.bytes)
            os.fsync(self._file)
        self.unsure = False

    def close(self) -> None:
        os.close(self._file)


def fingerprint(folder: Path, snapshot: int) -> str:
    """sha256 of store.json and of the first `snapshot` lines, which hold the hashes of the segments: the identity of
    what the store held then, however much it has grown since. Raises `OSError`."""
    digest = hashlib.sha256((folder / STORE).read_bytes())
    left = snapshot
    with (folder / JOURNAL).open("rb") as file:
        for line in file:
            if left == 0:
                break
            digest.update(line)
            left -= 1
    return digest.hexdigest()


def _check(line: bytes, before: int) -> int | None:
    """The checksum after this line, or None where the line is not whole."""
    content = line[_HEAD_BYTES:-1]
    crc = zlib.crc32(content, before)
    return crc if line == _HEAD % crc + content + b"}" else None


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
