"""The address of a Ray cluster: what it may look like, and whether anything answers there."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

from cluster.errors import RunError
from replay.errors import DataError
from replay.regular import read

ANSWER_TIMEOUT = 8.0
"""Seconds that a GCS has to greet us, the look-up of its name included."""

_LONGEST = 1_000
"""Bytes of a file that holds an address."""
_START = "Start one with `ray start --head`, or leave out --address to start Ray on this machine."
# What a client of HTTP/2, and so of gRPC, says first: the preface, and empty settings.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SETTINGS = 4
_SILENT = f"did not answer within {ANSWER_TIMEOUT:.0f} s"


def settle_address(address: str | None) -> str | None:
    """The address to join: as asked, or of `RAY_ADDRESS`; None where Ray is to be started on this machine.

    Ray itself tries for minutes to reach what does not answer. So this looks first, for seconds. Raises `RunError` for
    what is no address, and where no GCS answers.
    """
    named = "--address"
    if address in (None, "auto") and os.environ.get("RAY_ADDRESS"):
        named, address = "RAY_ADDRESS", os.environ["RAY_ADDRESS"]
    if address is None or address == "local":
        return None
    where = f"{named} {address}"
    if address == "auto":
        found = _latest()
        if found is not None:
            host, port = _parsed(found, f"{where} ({found}, the cluster last started on this machine)")
            _greet(host, port, f"{where} ({found}, the cluster last started on this machine)")
        return address
    _greet(*_parsed(address, where), where)
    return address


def _latest() -> str | None:
    """Where `ray start` left the address of the cluster that `auto` means."""
    try:
        folder = Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray"
        # Every user of the machine may have put it there: a pipe would hang.
        return read(folder / "ray_current_cluster", _LONGEST).decode().strip()
    except (OSError, UnicodeDecodeError, DataError):
        return None  # Ray looks for processes instead


def _parsed(address: str, where: str) -> tuple[str, int]:
    if address.startswith("ray://"):
        raise RunError(
            f"{where}: is an address of Ray Client, through which no batch should travel. Run this command on a node "
            "of the cluster with --address auto, submit it by `ray job submit`, or name the GCS (HOST:6379)."
        )
    host, colon, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    plain = bare and not any(character in bare for character in "/@ \t\n") and (":" not in bare or host != bare)
    if not (colon and plain and port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise RunError(
            f"{where}: found {address!r}, expected HOST:PORT of the cluster's GCS (`ray start --head` prints it; the "
            "port is 6379 unless another was asked for), or auto on one of its nodes."
        )
    return bare, int(port)


def _greet(host: str, port: int, where: str) -> None:
    """Raises `RunError` unless a gRPC server answers there."""
    trouble: list[str] = [_SILENT]

    def greet() -> None:
        trouble[0] = _trouble(host, port)

    # In a thread of its own, since looking up a name has no time limit.
    thread = threading.Thread(target=greet, daemon=True)
    thread.start()
    thread.join(ANSWER_TIMEOUT)
    if trouble[0]:
        raise RunError(f"{where}: no Ray cluster answers there ({host}:{port} {trouble[0]}). {_START}")


def _trouble(host: str, port: int) -> str:
    """Why it is no gRPC server; nothing where it is one."""
    try:
        with socket.create_connection((host, port), timeout=ANSWER_TIMEOUT) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
                return ""  # its greeting is encrypted; that it listens is all that can be seen
            connection.sendall(_PREFACE)
            # The length of the frame (three bytes), its type, flags, stream.
            answer = b""
            while len(answer) < 9 and (more := connection.recv(9 - len(answer))):
                answer += more
    except socket.gaierror as error:
        return f"has no such name: {error.strerror}"
    except TimeoutError:
        return _SILENT
    except OSError as error:
        return f"does not answer: {error.strerror or error}"
    return "" if len(answer) == 9 and answer[3] == _SETTINGS else "answers, but not as Ray's GCS does"
