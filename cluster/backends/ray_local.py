"""Ray on this machine for one run, kept to its user: on loopback, in a private folder, behind a token.

By itself Ray listens on all interfaces, and makes its folders readable and writable for everyone on the machine.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import ray
from ray._private import ray_constants

from cluster.errors import RunError

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"

LONGEST_FOLDER = 107 - len("/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
"""Characters of the private folder's path: Ray puts sockets below it, whose whole path may have 107."""

_folder: Path | None = None
"""The private folder of the Ray that this process started; None where there is none."""


def start() -> None:
    """Start Ray for this process. Every socket it listens on is on loopback, and nobody else can enter its folder.

    Raises `RunError` where the token cannot be written.
    """
    global _folder
    keep_token_private()
    _folder = _make_folder()
    try:
        with _on_loopback():
            ray.init(
                address="local",  # since without an address Ray joins whatever cluster it finds on the machine
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                _node_ip_address=LOOPBACK,
                # Ray opens the folder that it is given to everyone; it cannot open the one around that.
                _temp_dir=str(_folder / "ray"),
            )
    except BaseException:
        end(keep_logs=True)
        raise


def end(*, keep_logs: bool) -> None:
    """End the Ray that `start` started and remove its folder, but for Ray's logs where something failed."""
    global _folder
    ray.shutdown()
    logs = log_folder()
    if logs is not None and keep_logs and logs.is_dir():
        for entry in logs.parent.iterdir():
            if entry.is_dir() and entry.name != logs.name:
                shutil.rmtree(entry, ignore_errors=True)  # among them what did not fit into memory
        logger.warning("Ray's logs of this run are kept in %s", logs)
    elif _folder is not None:
        shutil.rmtree(_folder, ignore_errors=True)
    _folder = None


def log_folder() -> Path | None:
    """Where the Ray that this process started writes its logs; None where it started none."""
    return None if _folder is None else _folder / "ray" / "session_latest" / "logs"


def _make_folder() -> Path:
    """A new folder that only this user may enter, where temporary files go if the path is short enough."""
    parent = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    if len(parent) + len("/quiver-12345678") > LONGEST_FOLDER:
        parent = "/tmp"
    return Path(tempfile.mkdtemp(prefix="quiver-", dir=parent))


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Keep Ray from putting the machine's address in the place of 127.0.0.1, as it does where clusters are allowed.

    What Ray's processes listen on follows from the address of their node: with 127.0.0.1, it is that alone.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


# --- The token ---


def keep_token_private() -> None:
    """See to it that Ray's token, which lets its holder run code in any of this user's sessions, is this user's alone.

    Ray writes it readable for everyone, and keeps it for later sessions. Nothing is done where the token comes from
    elsewhere (`RAY_AUTH_TOKEN`, `RAY_AUTH_TOKEN_PATH`) or is turned off (`RAY_AUTH_MODE=disabled`).
    Raises `RunError` where it cannot be written.
    """
    elsewhere = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if elsewhere or os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return
    path = Path.home() / ".ray" / "auth_token"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.path.lexists(path):
            _write_token(path)
    except OSError as error:
        raise RunError(
            f"{path}: Ray's token cannot be written there ({error.strerror}). Name another place in "
            "RAY_AUTH_TOKEN_PATH, or use --serial, which starts no Ray."
        ) from error
    try:
        _close_to_others(path)
    except OSError as error:
        logger.warning(
            "%s: cannot be made this user's alone (%s); see to it that nobody else can read it", path, error.strerror
        )


def _write_token(path: Path) -> None:
    """A new token, there as a whole or not at all; another process may do the same at this moment."""
    # mkstemp's files are this user's alone.
    descriptor, name = tempfile.mkstemp(prefix=".auth_token-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
    finally:
        os.unlink(name)


def _close_to_others(path: Path) -> None:
    """Mode 0600, for the file itself and never for what a link points to."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "no regular file")
        if stat.S_IMODE(found.st_mode) & 0o077:
            os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
