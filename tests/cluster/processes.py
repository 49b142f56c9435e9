"""Finding and killing real processes."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from pathlib import Path

SESSION = "QUIVER_TEST_SESSION"
"""An environment variable that all processes of one test session inherit, those of Ray too."""


def actor_processes(role: str) -> list[int]:
    """Process ids of the Ray actors of a class that this test session started, and of nobody else's runs."""
    mark = f"{SESSION}={os.environ[SESSION]}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
                environment = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if command.startswith(f"ray::{role}".encode()) and mark in environment:
                found.append(int(entry.name))
    return sorted(found)


def children(process: int) -> list[int]:
    """Process ids of a process's children."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == process:
                found.append(int(entry.name))
    return sorted(found)


def descendants(process: int) -> list[int]:
    """Process ids of a process's children, of theirs, and so on."""
    found = children(process)
    return found + [further for child in found for further in descendants(child)]


def alive(processes: list[int]) -> list[int]:
    """Those that are still there, as more than an entry of a table."""
    found = []
    for process in processes:
        try:
            if (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(process)
        except OSError:
            continue
    return found


def command_of(process: int) -> str:
    return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.01)


def records(run: Path) -> int:
    """Lines of a run's metrics so far."""
    metrics = run / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def listening_addresses(program: int) -> dict[str, list[str]]:
    """By their names, the addresses of the TCP sockets that a process and all it started listen on."""
    listening = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                listening[f"socket:[{fields[9]}]"] = _address(fields[1].split(":")[0])
    found: dict[str, list[str]] = {}
    for process in [program, *descendants(program)]:
        try:
            name = Path(f"/proc/{process}/comm").read_text().strip()
            entries = list(Path(f"/proc/{process}/fd").iterdir())
        except OSError:
            continue
        for entry in entries:
            with contextlib.suppress(OSError):  # closed by now
                if (opened := os.readlink(entry)) in listening:
                    found.setdefault(name, []).append(listening[opened])
    return found


def _address(digits: str) -> str:
    """As /proc/net/tcp has it, in words of four bytes, the last byte first."""
    raw = bytes.fromhex(digits)
    address = ip_address(b"".join(raw[start : start + 4][::-1] for start in range(0, len(raw), 4)))
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
