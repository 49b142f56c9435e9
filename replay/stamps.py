"""Which files were found to hold what is recorded of them, so that none is hashed again as long as it is untouched.

A stamp is the sha256 of a file's device, inode, size, time of modification, time of change, and of the hash its content
has. Whoever copies a file, or changes a byte and puts the time of modification back, gets another device, inode or time
of change, which nobody but the kernel sets. So the stamp does not fit, and the file is hashed anew.

Stamps lie in a cache of the user's own, never beside the data: `$QUIVER_CACHE`, or else `quiver` in `$XDG_CACHE_HOME`,
or else in `~/.cache`. There `stamps` has a line for each, appended in one write, so that several processes may. A line
that is no stamp vouches for nothing. At `MOST` lines the older half is dropped. Where the cache cannot be written, or
others may write to it, each process checks once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from pathlib import Path

from replay.durable import private_file

MOST = 100_000
"""Lines, of `_LINE` bytes each: 6.5 MB."""

SETTLED = 1_000_000_000
"""Nanoseconds since a file was last changed, before which nothing is remembered of it: another change may follow within
one tick of the file system's clock, and would not move the time."""

_LINE = 65

_known: set[bytes] = set()
"""Stamps of this process, and those it read. A memory of finished work and nothing else."""

_read: dict[Path, tuple[int, int, int]] = {}
"""Of each file of stamps that was read: device, inode, and how many bytes."""


def stamp(status: os.stat_result, sha256: str) -> bytes:
    """Of a file with this status whose content has this hash."""
    what = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, sha256)
    return hashlib.sha256(repr(what).encode()).hexdigest().encode()


def is_known(wanted: bytes) -> bool:
    """Whether this process or an earlier one has remembered it."""
    if wanted not in _known:
        with contextlib.suppress(OSError):
            _read_news()
    return wanted in _known


def remember(found: bytes, status: os.stat_result, began: int) -> None:
    """Keep a stamp, here and in the cache. `began`: nanoseconds since 1970, when hashing began."""
    if began - status.st_ctime_ns < SETTLED:
        return
    _known.add(found)
    with contextlib.suppress(OSError):
        _append(found)


def cache_folder() -> Path | None:
    """Where the cache is, or would be. None where the user has no home."""
    named, base = os.environ.get("QUIVER_CACHE"), os.environ.get("XDG_CACHE_HOME")
    try:
        if named:
            return Path(named).expanduser().absolute()
        home = Path(base) if base and os.path.isabs(base) else Path.home() / ".cache"
    except RuntimeError:
        return None
    return home / "quiver" if home.is_absolute() else None


def _append(found: bytes) -> None:
    folder = cache_folder()
    if folder is None:
        return
    for part in (folder.parent, folder):  # no home is made where there is none
        with contextlib.suppress(FileExistsError):
            part.mkdir(mode=0o700)
    descriptor = _open(folder, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    if descriptor is None:
        return
    try:
        os.write(descriptor, found + b"\n")
        size = os.fstat(descriptor).st_size
        if size > MOST * _LINE:
            _, *lines = os.pread(descriptor, MOST // 2 * _LINE, size - MOST // 2 * _LINE).split(b"\n")
            # What others append meanwhile is lost, and checked again.
            with private_file(folder / "stamps", 0o600) as file:
                file.write(b"\n".join(lines))
    finally:
        os.close(descriptor)


def _read_news() -> None:
    """What was appended since the last call: a store that grows has a new file to look up again and again."""
    folder = cache_folder()
    descriptor = None if folder is None else _open(folder, os.O_RDONLY)
    if folder is None or descriptor is None:
        return
    try:
        status = os.fstat(descriptor)
        device, inode, begin = _read.get(folder, (0, 0, 0))
        if (device, inode) != (status.st_dev, status.st_ino) or begin > status.st_size:
            begin = 0  # it is another file now
        begin = max(begin, status.st_size - 2 * MOST * _LINE)
        *lines, cut = os.pread(descriptor, status.st_size - begin, begin).split(b"\n")
        _read[folder] = status.st_dev, status.st_ino, status.st_size - len(cut)
        _known.update(line for line in lines if len(line) == _LINE - 1)
    finally:
        os.close(descriptor)


def _open(folder: Path, flags: int) -> int | None:
    """The file of stamps, or None where it could be written by others, or is a link or no file."""
    if not _is_ours(os.stat(folder, follow_symlinks=False), stat.S_IFDIR):
        return None
    descriptor = os.open(folder / "stamps", flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    status = os.fstat(descriptor)
    if _is_ours(status, stat.S_IFREG) and status.st_nlink == 1:
        return descriptor
    os.close(descriptor)
    return None


def _is_ours(status: os.stat_result, kind: int) -> bool:
    return stat.S_IFMT(status.st_mode) == kind and status.st_uid == os.geteuid() and not status.st_mode & 0o022


__all__ = ["MOST", "SETTLED", "cache_folder", "is_known", "remember", "stamp"]
