"""What an HDF5 file may not do: HDF5 opens other files where a file says so, `/etc/passwd` as an array of bytes too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from replay.errors import DataError

_REMEDY = "Copy the numbers into the file."
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError)
"""What h5py raises for a file that is not as HDF5 wants it."""


def check_contained(store: Any, path: Path) -> None:
    """Raises `DataError`, naming what it found in the open file `store`, unless all it holds lies in it: no external
    links, no external storage, no virtual datasets, no soft link that leads nowhere, and no circle of groups.

    Links are looked at before any is followed.
    """
    try:
        _check_links(store, path)
        _check_objects(store, path)
    except DataError:
        raise
    except _DAMAGE as error:
        raise DataError(f"{path}: is damaged ({error}). Fetch it again.") from error


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


def _check_objects(store: Any, path: Path) -> None:
    import h5py

    checked: set[Any] = set()
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
            _check_storage(node, f"{path}, {name}")
        checked.add(identity)


def _members(group: Any, path: Path) -> Iterator[tuple[str, Any]]:
    """Name in the file, and object, of each of its links."""
    prefix = group.name.rstrip("/")
    for name in group:
        full = f"{prefix}/{name}".lstrip("/")
        try:
            yield full, group[name]
        except (KeyError, OSError, RuntimeError) as error:
            raise DataError(f"{path}, {full}: is a link that leads nowhere ({error}). Take the link away.") from error


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
