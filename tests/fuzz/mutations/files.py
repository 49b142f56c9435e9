"""Changes of what a folder holds: a file that is not there, is no file, or lies elsewhere."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.fuzz.target import Mutation


def absent(path: Path, others: list[Path], random: Random) -> str:
    path.unlink()
    return "removed"


def pipe(path: Path, others: list[Path], random: Random) -> str:
    path.unlink()
    os.mkfifo(path)
    return "is a pipe"


def folder(path: Path, others: list[Path], random: Random) -> str:
    path.unlink()
    path.mkdir()
    return "is a folder"


def endless(path: Path, others: list[Path], random: Random) -> str:
    path.unlink()
    device = random.choice(("/dev/zero", "/dev/urandom", "/dev/null", "/dev/tty"))
    path.symlink_to(device)
    return f"is a link to {device}"


def broken_link(path: Path, others: list[Path], random: Random) -> str:
    path.unlink()
    path.symlink_to(random.choice(("nowhere", path.name)))
    return "is a link to nothing"


def link_elsewhere(path: Path, others: list[Path], random: Random) -> str:
    outside = path.parent / f"../{path.name}.elsewhere"
    shutil.move(path, outside)
    path.symlink_to(outside)
    return "is a link to its content elsewhere"


def hard_link(path: Path, others: list[Path], random: Random) -> str:
    os.link(path, path.with_name(f"second-{path.name}"))
    return "has a second name"


def empty(path: Path, others: list[Path], random: Random) -> str:
    path.write_bytes(b"")
    return "is empty"


def sparse(path: Path, others: list[Path], random: Random) -> str:
    size = random.choice((1 << 30, 1 << 36, 1 << 42))
    os.truncate(path, size)
    return f"is followed by nothing, up to {size} bytes"


def another(path: Path, others: list[Path], random: Random) -> str:
    other = random.choice(others)
    path.write_bytes(other.read_bytes())
    return f"has the content of {other.name}"


def plug(path: Path, others: list[Path], random: Random) -> str:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))
    return "is a socket"


def extra(path: Path, others: list[Path], random: Random) -> str:
    path.with_name(f"{path.name}.more").write_bytes(path.read_bytes())
    return "has a twin"


_WAYS = (absent, pipe, folder, endless, broken_link, link_elsewhere, hard_link, empty, sparse, another, plug, extra)


def in_folder(pattern: str = "*", finish: Callable[[Path], None] | None = None) -> Mutation:
    """Something happens to one of the files that match; then `finish` makes hashes right again."""

    def mutate(base: Path, random: Random) -> str:
        files = sorted(path for path in base.rglob("*") if path.is_file())
        path = random.choice([path for path in files if path.match(pattern)])
        done = random.choice(_WAYS)(path, files, random)
        if finish is not None:
            finish(base)
        return f"{path.relative_to(base)} {done}"

    return mutate
