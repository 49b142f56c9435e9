"""The files behind a view's shards, and the address of every column in those that are open."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from replay.errors import DataError
from replay.gather.addresses import Addresses
from replay.gather.maps import Key, Maps, default_max_maps
from replay.shard import Mapped
from replay.view import View


class OpenShards:
    """The shards that a store may open, opened when they are asked for. See `Store` for the arguments."""

    def __init__(
        self, view: View, *, shards: Sequence[int] | None, max_maps: int | None, verify: bool, stage: Path | None
    ) -> None:
        self.view = view
        self.columns = {column.name: column for column in view.columns}
        self.pictures = frozenset(name for name, column in self.columns.items() if column.kind == "image")
        self.maps = Maps(view, max_maps=max_maps or default_max_maps(), verify=verify, stage=stage)
        self.assigned: tuple[int, ...] = ()
        """Global shard numbers of those that it may open."""
        self.rows = np.zeros(0, np.int64)
        """int64 (S,): of each shard."""
        self._number = {name: number for number, name in enumerate(self.columns)}
        # Of row 0, by column and shard; 0 where closed. Columns of pictures only mark that they are open.
        self._address = np.zeros((len(self.columns), 0), np.int64)
        self._assigned = np.zeros(0, bool)
        self._files_assigned = 0
        self._add(_chosen(shards, 0, len(view.files)))

    @property
    def bounded(self) -> bool:
        """Whether there are more files than may be open at once."""
        return self._files_assigned > self.maps.max_maps

    def extend(self, view: View, shards: Sequence[int] | None) -> None:
        """Know the shards that `view` has behind the present ones, `shards` of them to be opened (None: all).

        Open files stay open, where they are. Raises `DataError`, and changes nothing, for another view.
        """
        old, count = self.view, len(self.view.files)
        same = len(view.files) >= count and len(view.members) >= len(old.members)
        for was, now in zip(old.members, view.members, strict=False):
            same = same and (was.path, was.columns, was.shards[0]) == (now.path, now.columns, now.shards[0])
        columns = {column.name: column for column in view.columns}
        same = (
            same and view.files[count - 1 : count] == old.files[count - 1 :] and columns.keys() <= self.columns.keys()
        )
        if not same:
            raise DataError(
                f"store: asked to extend {count} shards of {', '.join(m.path for m in old.members)} to "
                f"{len(view.files)} of {', '.join(m.path for m in view.members)}: these are not the same with more "
                "behind them. Make another store."
            )
        new = _chosen(shards, count, len(view.files))
        self.maps.extend(view)
        self._address = self._address[[self._number[name] for name in columns]]  # a new member may lack an extra column
        self.columns = columns
        self._number = {name: number for number, name in enumerate(columns)}
        self.view = view
        self._add(new)

    def open(self, shards: Sequence[int], names: Iterable[str]) -> bool:
        """Map the files of these columns of these shards; whether any file was opened or closed for it.

        Raises `DataError` for a shard that it may not open, and for a damaged file.
        """
        for shard in shards:
            if not 0 <= shard < len(self._assigned) or not self._assigned[shard]:
                raise DataError(f"store: asked for shard {shard}, which is not assigned to it; ask another store.")
        opened, closed = self.maps.open(self.files(shards, names))
        for (shard, group), mapped in opened.items():
            for name, number in self._number.items():
                if self.group(shard, name) == group:
                    array = mapped.blobs[name].data if name in self.pictures else mapped.arrays[name]
                    self._address[number, shard] = array.__array_interface__["data"][0]
        for shard, group in closed:
            for name, number in self._number.items():
                if self.group(shard, name) == group:
                    self._address[number, shard] = 0
        return bool(opened or closed)

    def close(self) -> None:
        self.maps.close()
        self._address[:] = 0

    def mapped(self, shard: int, name: str) -> Mapped:
        """The open file of a column."""
        return self.maps.get(shard, self.group(shard, name))

    def addresses(self, names: Sequence[str]) -> Addresses:
        """Of the numeric ones of these columns, in the shards where all of them are open now."""
        opened = (self._address[[self._number[name] for name in names]] != 0).all(axis=0)
        tensors = [self.columns[name] for name in names if name not in self.pictures]
        address = self._address[[self._number[column.name] for column in tensors]]
        return Addresses(tensors, address, np.where(opened, self.rows, 0))

    def files(self, shards: Iterable[int], names: Iterable[str]) -> list[Key]:
        """The files of these columns in these shards."""
        names = tuple(names)
        groups = [tuple(dict.fromkeys(of[name] for name in names)) for of in self._groups]
        return [(shard, group) for shard in shards for group in groups[self._member[shard]]]

    def group(self, shard: int, name: str) -> str:
        return self._groups[self._member[shard]][name]

    def _add(self, new: tuple[int, ...]) -> None:
        """Tables for the shards of the view that are not in them yet, and the permission to open `new`."""
        first, count = len(self.rows), len(self.view.files)
        rows = [next(iter(files.values())).rows for files in self.view.files[first:]]
        self.rows = np.concatenate([self.rows, np.array(rows, np.int64)])
        self._address = np.concatenate([self._address, np.zeros((len(self.columns), count - first), np.int64)], axis=1)
        self._assigned = np.concatenate([self._assigned, np.isin(np.arange(first, count), new)])
        self._member = self.view.member_of()
        self._groups = [{column.name: column.group for column in member.columns} for member in self.view.members]
        self.assigned += new
        self._files_assigned += len(self.files(new, self.columns))


def _chosen(shards: Sequence[int] | None, first: int, count: int) -> tuple[int, ...]:
    """Those asked for, of the shards from `first` on; all of them, if None."""
    if shards is None:
        return tuple(range(first, count))
    chosen = tuple(sorted({int(shard) for shard in shards}))
    if chosen and not first <= chosen[0] <= chosen[-1] < count:
        before = f", {first} of them from before" if first else ""
        raise DataError(f"store: asked to serve shards {chosen}, but the view has {count}{before}.")
    return chosen
