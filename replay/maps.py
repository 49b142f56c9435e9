"""The open files of a store: mapped on first use, verified once, bounded in number."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from replay import shard as shards
from replay.errors import DataError
from replay.manifest import check_hash, check_size
from replay.shard import Mapped, ShardFile
from replay.view import View

Key = tuple[int, str]
"""Global shard number and column group."""

_STAMPS = ".verified.jsonl"

_verified: set[tuple[str, int, int, str]] = set()
"""What this process has hashed or found stamped: (path, bytes, mtime_ns, sha256). A memory of finished
work and nothing else; a folder that cannot be written has no other."""

_read: dict[Path, int] = {}
"""Bytes of each folder's stamps that are in it."""


def default_max_maps() -> int:
    """A quarter of what the kernel allows a process, at most 16,384: other libraries map files too."""
    with contextlib.suppress(OSError, ValueError):
        return max(16, min(16_384, int(Path("/proc/sys/vm/max_map_count").read_text()) // 4))
    return 16_384


class Maps:
    """Maps (shard, group) to its open file. Least recently used ones are closed to stay within `max_maps`.

    Closing drops the references; the memory is unmapped when the last array over it is gone.
    """

    def __init__(self, view: View, *, max_maps: int, verify: bool, stage: Path | None) -> None:
        self.max_maps = max_maps
        self._verify = verify
        self._stage = stage
        self._open: OrderedDict[Key, Mapped] = OrderedDict()
        self.grow(view)

    def __len__(self) -> int:
        return len(self._open)

    def grow(self, view: View) -> None:
        """`view` begins with the shards of the present one. Raises `DataError` for shards of too many files."""
        for member in view.members:
            groups = len({column.group for column in member.columns})
            if groups > self.max_maps:
                raise DataError(f"max_maps: found {self.max_maps}, but one shard of {member.path} has {groups} files.")
        self.view = view
        self._member = view.member_of()

    def get(self, shard: int, group: str) -> Mapped:
        """An open file."""
        return self._open[shard, group]

    def open(self, needed: Sequence[Key]) -> tuple[dict[Key, Mapped], list[Key]]:
        """Map every one of `needed` (no more than `max_maps`); returns those newly opened, and those closed to
        make room.

        Raises `DataError` naming the file that is missing, truncated or damaged.
        """
        for key in needed:
            if key in self._open:
                self._open.move_to_end(key)
        # All are opened before any is closed or entered: a damaged file changes nothing.
        missing = {key: self._map(*key) for key in needed if key not in self._open}
        closed: list[Key] = []
        while self._open and len(self._open) + len(missing) > self.max_maps:
            closed.append(self._open.popitem(last=False)[0])
        self._open.update(missing)
        return missing, closed

    def stage(self, keys: Sequence[Key]) -> None:
        """Copy the files of `keys` to the local folder now, instead of when they are first used."""
        if self._stage is None:
            raise DataError("this store has no local folder to stage to; give it one: Store(view, stage=…).")
        for shard, group in keys:
            self._staged(self.view.files[shard][group], self._stage)

    def close(self) -> None:
        self._open.clear()

    def _map(self, shard: int, group: str) -> Mapped:
        file = self.view.files[shard][group]
        columns = [c for c in self.view.members[self._member[shard]].columns if c.group == group]
        if self._stage is not None:
            path = self._staged(file, self._stage)
        else:
            path = file.path
            check_size(file)
            if self._verify:
                verify(file, path)
        return shards.map_shard(path, columns, file.rows)

    def _staged(self, file: ShardFile, folder: Path) -> Path:
        """A local copy, named by its content, so that runs and datasets on one machine share it."""
        target = folder / f"{file.sha256}.arrow"
        if target.exists() and target.stat().st_size == file.bytes:
            with contextlib.suppress(DataError):  # a damaged copy is made again
                verify(file, target)
                return target
        check_size(file)
        temporary = folder / f".{file.sha256}.{os.getpid()}.{uuid.uuid4().hex}.partial"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.path, temporary)
            check_hash(file, temporary)
            shards.sync(temporary)
            temporary.replace(target)
        except OSError as error:
            raise DataError(
                f"{target}: cannot stage {file.path} there ({error.strerror or error}); "
                f"free some space, or run without staging."
            ) from error
        finally:
            temporary.unlink(missing_ok=True)
        _stamp(file, target)
        return target


def verify(file: ShardFile, path: Path) -> None:
    """Check the content's hash, unless this very file (size, time, hash) was checked before.

    The stamp lies beside the file; where it cannot be written, each process checks once. Raises `DataError`.
    """
    key = _key(file, path)
    if key in _verified:
        return
    _read_stamps(path.parent)
    if key not in _verified:
        check_hash(file, path)
        _stamp(file, path)


def _key(file: ShardFile, path: Path) -> tuple[str, int, int, str]:
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns, file.sha256


def _stamp(file: ShardFile, path: Path) -> None:
    key = _key(file, path)
    _verified.add(key)
    record = {"file": path.name, "bytes": key[1], "mtime_ns": key[2], "sha256": key[3]}
    with contextlib.suppress(OSError), (path.parent / _STAMPS).open("a") as stamps:
        # One short line in one write: processes that append at once do not mix theirs.
        stamps.write(json.dumps(record) + "\n")


def _read_stamps(folder: Path) -> None:
    """What was written since the last call: a store that grows has a new file to look up again and again."""
    path = folder / _STAMPS
    try:
        with path.open("rb") as stamps:
            known = _read.get(path, 0)
            stamps.seek(known if known <= os.fstat(stamps.fileno()).st_size else 0)
            *lines, cut = stamps.read().split(b"\n")
            _read[path] = stamps.tell() - len(cut)
    except OSError:
        return
    for line in lines:
        # A line that was cut off, or is no stamp, vouches for nothing.
        with contextlib.suppress(ValueError, KeyError, TypeError):
            record = json.loads(line)
            key = int(record["bytes"]), int(record["mtime_ns"]), str(record["sha256"])
            _verified.add((str(folder / str(record["file"])), *key))
