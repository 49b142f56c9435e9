"""How much memory this process may still take: what a request needs is compared with it before it is allocated."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

from replay.errors import DataError

_ALL_PAGES, _DATA_PAGES = 0, 5
"""Places in /proc/self/statm."""
_ENDLESS = 1 << 62
"""What control groups call no limit is some number of pages near 2^63."""


def available_bytes(root: Path = Path("/")) -> int:
    """Bytes that this process may still take, without swap: the least of what the machine has left, what is left of
    the limits of its control groups (a container's, a job's; version 1 or 2) and what `ulimit -v` and `ulimit -d`
    leave it. Where nothing says so, as on a system without /proc, 2^62. Files that the kernel keeps in memory count
    as free.

    `root` is where /proc and /sys/fs/cgroup lie.
    """
    return max(0, min((_ENDLESS, *_machine(root), *_control_groups(root), *_shells_limits(root))))


def require(needed: int, where: str, what: str, remedy: str) -> None:
    """Raises `DataError`, naming `where`, unless `needed` bytes for `what` fit in the memory that is left."""
    left = available_bytes()
    if needed > left:
        raise DataError(f"{where}: {what} takes {amount(needed)} of memory, and {amount(left)} are left; {remedy}")


def amount(number: int) -> str:
    """A number of bytes for people: `12.5 GB`."""
    size = float(number)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.0f} PB"


def _machine(root: Path) -> Iterator[int]:
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            yield _number(rest.split()[0] if rest.split() else "") * 1024


def _control_groups(root: Path) -> Iterator[int]:
    """What is left of each limit, from the process's own groups up to the outermost that can be seen."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            mount, limit, used, idle = "", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            mount, limit, used, idle = (
                "memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            )
        else:
            continue
        # In a container the path may be the host's, of which only the mount's root is there.
        group = Path(path.lstrip("/"))
        if ".." in group.parts:
            group = Path()
        for part in (group, *group.parents):
            folder = root / "sys/fs/cgroup" / mount / part
            allowed = _number(_text(folder / limit).strip())
            if allowed < _ENDLESS:
                free = (line.split() for line in _text(folder / "memory.stat").splitlines())
                cached = next((_number(pair[1]) for pair in free if len(pair) == 2 and pair[0] == idle), 0)
                taken = _text(folder / used).strip()
                yield allowed - max(0, (_number(taken) if taken else 0) - cached)


def _shells_limits(root: Path) -> Iterator[int]:
    pages = _text(root / "proc/self/statm").split()
    for kind, place in ((resource.RLIMIT_AS, _ALL_PAGES), (resource.RLIMIT_DATA, _DATA_PAGES)):
        limit, _ = resource.getrlimit(kind)
        if limit != resource.RLIM_INFINITY:
            yield limit - (_number(pages[place]) * resource.getpagesize() if len(pages) > place else 0)


def _text(path: Path) -> str:
    """Of a file of the kernel's; empty where it is not there."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def _number(text: str) -> int:
    """Whole and not negative; endless for `max`, and for whatever the kernel may say one day."""
    return int(text) if text.isascii() and text.isdigit() else _ENDLESS
