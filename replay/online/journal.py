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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from replay.durable import APPENDING, Appended
from replay.errors import DataError
from replay.ranges import shown
from replay.records import MALFORMED, loads, mapping, reason, text, whole
from replay.regular import LONGEST, open_regular, read
from replay.shard import ShardFile

STORE = "store.json"
JOURNAL = "journal.jsonl"
SEGMENTS = "segments"

_HEAD = b'{"crc32":"%08x","record":'
_HEAD_BYTES = len(_HEAD % 0)
_TOO_LONG = f"a line of more than {LONGEST >> 20} MiB."


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
        """The end of what was read so far; whoever applies a record moves it on."""

    def new_records(self) -> list[tuple[dict[str, Any], Position]]:
        """The records behind `position`, each with the end of its line. Reads new bytes only.

        A last line that is not whole is no record: it is being written, or its writer was killed. Raises `DataError`
        for one that is whole but changed or out of place, for one that is not whole and has others behind it, and for a
        journal that became shorter.
        """
        with self._opened() as file:
            size = os.fstat(file.fileno()).st_size
            if size == self.position.bytes:
                return []
            if size < self.position.bytes:
                raise DataError(
                    f"{self.path}: found {size} bytes after {self.position.bytes} had been read; a journal only grows. "
                    "Restore it from a copy, and open the store again."
                )
            file.seek(self.position.bytes)
            try:
                return self._records(file)
            except OSError as error:
                raise self._unreadable(error) from error

    def begins_with(self, end: Position) -> bool:
        """Whether a line ends at `end`, with as many lines before it and that checksum. Each of them is looked at as
        `new_records` does, but not parsed. Raises `DataError` for a file that cannot be read."""
        lines = size = crc = 0
        with self._opened() as file:
            try:
                while size < end.bytes and (line := file.readline(LONGEST)).endswith(b"\n"):
                    checked = _check(line[:-1], crc)
                    if checked is None:
                        return False
                    lines, size, crc = lines + 1, size + len(line), checked
            except OSError as error:
                raise self._unreadable(error) from error
        return Position(lines, size, crc) == end

    def _records(self, file: BinaryIO) -> list[tuple[dict[str, Any], Position]]:
        records: list[tuple[dict[str, Any], Position]] = []
        position = self.position
        while (line := file.readline(LONGEST)).endswith(b"\n"):
            line = line[:-1]
            crc = _check(line, position.crc)
            if crc is None:
                if not file.read(1) and not _is_json(line):
                    break
                raise DataError(
                    f"{self.path}, line {position.snapshot + 1}: found a checksum that does not fit: the line was "
                    "changed, or others are missing before it. Restore the file from a copy."
                )
            position = Position(position.snapshot + 1, position.bytes + len(line) + 1, crc)
            records.append((self._record(line, position.snapshot), position))
        if len(line) == LONGEST:
            raise DataError(f"{self.path}, line {position.snapshot + 1}: {_TOO_LONG} Restore the file from a copy.")
        return records

    def _record(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            return mapping(mapping(loads(line, self.path), "line")["record"], "record")
        except DataError:
            raise
        except MALFORMED as error:
            raise DataError(
                f"{self.path}, line {number}: not a record ({reason(error)}); restore the file from a copy."
            ) from error

    def _opened(self) -> BinaryIO:
        try:
            return os.fdopen(open_regular(self.path), "rb")
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> DataError:
        return DataError(f"{self.path}: cannot be read ({error.strerror}); restore it from a copy.")


class JournalWriter:
    """Appends to a journal, behind what `reader` has read. Whoever makes one holds the store's lock.

    Raises `DataError` for a file that has another name, too, whoever's that is, and `OSError`.
    """

    def __init__(self, reader: JournalReader) -> None:
        self._reader = reader
        self.unsure = False
        """Whether a line that failed may still stand behind the others: nobody is to read it before `cut`."""
        descriptor = open_regular(reader.path, APPENDING)
        self._file = Appended(reader.path, descriptor)
        if (names := os.fstat(descriptor).st_nlink) != 1:
            self._file.close()
            raise DataError(
                f"{reader.path}: found a file with {names} names (hard links), expected one of its own, as writing "
                "would change the others; copy the store, and write to the copy."
            )

    def append(self, record: dict[str, Any]) -> None:
        """Durable when it returns; as if it had not been called when it raises: `OSError` as the disk does, `DataError`
        for a record that is too long."""
        self.cut()
        position = self._reader.position
        content = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
        line = _HEAD % zlib.crc32(content, position.crc) + content + b"}\n"
        if len(line) > LONGEST:
            raise DataError(f"{self._reader.path}: {_TOO_LONG} Insert or evict fewer episodes at once.")
        self.unsure = True
        try:
            self._file.append(line)
            self._file.sync()
            self.unsure = False
        except BaseException:
            with contextlib.suppress(OSError):
                self.cut()
            raise

    def cut(self) -> None:
        """Remove what lies behind the reader's position: a line that was never acknowledged."""
        if self._file.size() != self._reader.position.bytes:
            self._file.truncate(self._reader.position.bytes)
            self._file.sync()
        self.unsure = False

    def close(self) -> None:
        self._file.close()


def prefix(folder: Path, snapshot: int) -> tuple[str, list[bytes]]:
    """The first `snapshot` lines, and the sha256 of store.json and of them, which hold the hashes of the segments: the
    identity of what the store had then, whatever was inserted since. Raises `OSError`, and `DataError` for what
    is no file."""
    digest = hashlib.sha256(read(folder / STORE))
    lines: list[bytes] = []
    with os.fdopen(open_regular(folder / JOURNAL), "rb") as file:
        while len(lines) < snapshot and (line := file.readline(LONGEST)):
            if not line.endswith(b"\n"):
                break  # no whole line, perhaps of endless length
            digest.update(line)
            lines.append(line)
    return digest.hexdigest(), lines


def segments(lines: Iterable[bytes]) -> list[ShardFile]:
    """The files that these lines inserted, by the names they have in the store. Raises `MALFORMED`."""
    inserts = [
        record["insert"] for line in lines if "insert" in (record := mapping(json.loads(line), "line")["record"])
    ]
    return [file for number, insert in enumerate(inserts) for file in segment_files(insert, number).values()]


def segment_files(insert: Mapping[str, Any], number: int) -> dict[str, ShardFile]:
    """The files of one insert by column group, by the names they have in the store. Raises `MALFORMED` for those of
    another segment than `number`, and for numbers that are none."""
    files: dict[str, ShardFile] = {}
    for group, file in mapping(insert["files"], "files").items():
        file = mapping(file, "files")
        if file["file"] != segment_name(number, group):
            raise ValueError(f"file: found {shown(file['file'])}, expected {shown(segment_name(number, group))}")
        sizes = whole(file["rows"], "rows", 1), whole(file["bytes"], "bytes", 1)
        files[group] = ShardFile(Path(SEGMENTS, file["file"]), *sizes, text(file["sha256"], "sha256"))
    return files


def segment_name(number: int, group: str) -> str:
    return f"{number:06d}.{quote(group, safe='')}.arrow"


def _check(line: bytes, before: int) -> int | None:
    """The checksum after this line, or None where the line is not whole."""
    content = line[_HEAD_BYTES:-1]
    crc = zlib.crc32(content, before)
    return crc if line == _HEAD % crc + content + b"}" else None


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
