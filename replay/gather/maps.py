"""The open files of a store: mapped on first use, verified once, bounded in number."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from replay.durable import private_file
from replay.errors import DataError
from replay.shard import Mapped, ShardFile, check_digest, check_hash, map_shard, opened_shard
from replay.view import View

Key = tuple[int, str]
"""Global shard number and column group."""

_BLOCK = 1 << 20


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
        self.extend(view)

    def __len__(self) -> int:
        return len(self._open)

    def extend(self, view: View) -> None:
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
            return map_shard(file, columns, path=self._staged(file, self._stage))
        return map_shard(file, columns, check="once" if self._verify else "size")

    def _staged(self, file: ShardFile, folder: Path) -> Path:
        """A local copy, named by its content, so that runs and datasets on one machine share it."""
        target = folder / f"{file.sha256}.arrow"
        with contextlib.suppress(DataError), opened_shard(file, target) as copy:  # a damaged copy is made again
            check_hash(file, target, copy)
            return target
        with opened_shard(file, file.path) as source:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with private_file(target) as copy_file:
                    _copy(file, source, copy_file)
            except OSError as error:
                raise DataError(
                    f"{target}: cannot stage {file.path} there ({error.strerror or error}); "
                    f"free some space, or run without staging."
                ) from error
        return target


def _copy(file: ShardFile, source: int, target: BinaryIO) -> None:
    """All of a file, checked on the way. Raises `DataError` for other content than is recorded."""
    digest = hashlib.sha256()
    for start in range(0, file.bytes, _BLOCK):
        block = os.pread(source, _BLOCK, start)
        digest.update(block)
        target.write(block)
    check_digest(file, file.path, digest.hexdigest())
