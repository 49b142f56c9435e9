"""What an HDF5 file may not do: open other files where it says so (`/etc/passwd` as an array of bytes, too), or say
that it holds what it does not."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from replay.episode import Episode
from replay.errors import DataError
from replay.readers.columns import check_column, check_unpacked, looks_like_pictures
from replay.readers.hdf5_chunks import check_chunks
from replay.readers.source import told

_REMEDY = "Copy the numbers into the file."
DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError)
"""What h5py raises for a file that is not as HDF5 wants it. (Its UnicodeDecodeError is a ValueError.)"""


def check_contained(store: Any, path: Path, *, packing: bool = True) -> None:
    """Raises `DataError`, naming what it found in the open file `store`, unless all it holds lies in it: no external
    links, no external storage, no virtual datasets, no soft link that leads nowhere, and no circle of groups; and
    unless it holds no more than a file of its size does.

    Links are looked at before any is followed. With `packing` every chunk of the file is looked at, too
    (`check_packing`): for a reader that does not do so itself before it reads an array.
    """
    try:
        _check_links(store, path)
        _check_objects(store, path, packing)
    except DataError:
        raise
    except DAMAGE as error:
        raise DataError(f"{path}: is damaged ({told(error)}). Fetch it again.") from error


def _check_links(store: Any, path: Path) -> None:
    """Every link of every group, each group once, without following one but those to groups in the file itself."""
    from h5py import h5l

    def look(name: bytes, link: Any) -> str | None:
        if link.type in (h5l.TYPE_HARD, h5l.TYPE_SOFT):
            return None
        what = "an external link, to another file" if link.type == h5l.TYPE_EXTERNAL else "a link of unknown kind"
        return f"{path}, {name.decode(errors='replace')}: is {what}. {_REMEDY}"

    found = store.id.links.visit(look, info=True)
    if found is not None:
        raise DataError(found)


def _check_objects(store: Any, path: Path, packing: bool) -> None:
    import h5py

    checked: set[Any] = set()
    total, size = 0, os.stat(path).st_size
    above: dict[Any, None] = {}
    """Groups on the way down to where we are."""
    walk: list[Iterator[tuple[str, Any]]] = []

    def enter(group: Any) -> None:
        above[_identity(group)] = None
        walk.append(_members(group, path))

    enter(store)
    while walk:
        name, node = next(walk[-1], ("", None))
        if node is None:
            walk.pop()
            checked.add(above.popitem()[0])
            continue
        identity = _identity(node)
        if identity in above:
            raise DataError(f"{path}, {name}: is a link to a group that holds it, a circle. Take the link away.")
        if identity in checked:
            continue
        if isinstance(node, h5py.Group):
            enter(node)
            continue
        if isinstance(node, h5py.Dataset):
            where = f"{path}, {name}"
            _check_storage(node, where)
            own = node.id.get_type().get_size() * math.prod(node.shape or ())
            check_unpacked(own, size, where)
            total += own
            check_unpacked(total, size, str(path))
            if packing:
                check_packing(node, where)
        checked.add(identity)


def _members(group: Any, path: Path) -> Iterator[tuple[str, Any]]:
    """Name in the file, and object, of each of its links."""
    prefix = group.name.rstrip("/")
    for name in group:
        full = f"{prefix}/{name}".lstrip("/")
        try:
            yield full, group[name]
        except (KeyError, OSError, RuntimeError) as error:
            raise DataError(
                f"{path}, {full}: is a link that leads nowhere ({told(error)}). Take the link away."
            ) from error


def _identity(node: Any) -> tuple[int, int]:
    from h5py import h5o

    information = h5o.get_info(node.id)
    return information.fileno, information.addr


def _check_storage(dataset: Any, where: str) -> None:
    from h5py import h5d

    layout = dataset.id.get_create_plist()
    if layout.get_external_count():
        names = ", ".join(repr(layout.get_external(i)[0]) for i in range(layout.get_external_count()))
        raise DataError(f"{where}: keeps its numbers in other files ({names}). {_REMEDY}")
    if layout.get_layout() == h5d.VIRTUAL:
        raise DataError(f"{where}: is a virtual dataset, put together from others' numbers. {_REMEDY}")


def checked_array(node: Any, where: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array of numbers with one row per step, as declared; none is read. Raises `DataError`,
    naming `where`, for anything else."""
    import h5py

    if not isinstance(node, h5py.Dataset):
        raise DataError(f"{where}: is no array, expected one with a row for each step.")
    try:
        shape, dtype = node.shape, node.dtype
    except DAMAGE as error:
        raise DataError(f"{where}: has a type that cannot be read ({told(error)}). Convert it to float32.") from error
    if not shape:
        raise DataError(f"{where}: is no array with one row per step: found a single value, or none.")
    check_column(tuple(shape[1:]), dtype, where)
    return tuple(shape), dtype


def rows_of(dataset: Any, where: str, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Rows [start, stop) of an array, (n, ...). Raises `DataError`, naming `where`, where the file is damaged."""
    try:
        return np.asarray(dataset[start:stop])
    except DAMAGE as error:
        raise DataError(f"{where}: cannot be read to its end ({told(error)}). Fetch the file again.") from error


def check_packing(dataset: Any, where: str) -> None:
    """Raises `DataError`, naming `where`, unless every chunk unpacks to what it should. Before values are read."""
    try:
        check_chunks(dataset, where)
    except DataError:
        raise
    except DAMAGE as error:
        raise DataError(f"{where}: cannot be read to its end ({told(error)}). Fetch the file again.") from error


def text_of(value: Any) -> str:
    """Names and text as they are, whatever bytes they were made of."""
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def pictures(node: Any) -> bool:
    """Whether an array that is not read looks like pictures."""
    try:
        return looks_like_pictures(tuple((node.shape or ())[1:]), node.dtype)
    except DAMAGE:
        return False


def closing(
    path: Path, store: Any, episodes: Iterator[tuple[str, Episode | DataError]]
) -> Iterator[tuple[str, Episode | DataError]]:
    """The episodes, and then the file is closed. Raises `DataError` for what HDF5 itself finds damaged."""
    try:
        with store:
            yield from episodes
    except (OSError, RuntimeError) as error:  # HDF5's own
        raise DataError(f"{path}: cannot be read to its end ({told(error)}). Fetch the file again.") from error
