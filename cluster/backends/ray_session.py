"""Joining a Ray cluster, or starting Ray on this machine."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import ray

from cluster.backends import ray_local
from cluster.backends.ray_address import settle_address
from cluster.backends.ray_watch import time_limit
from cluster.errors import RunError
from cluster.signals import handlers_kept

START_TIMEOUT = 90.0
"""Seconds for Ray to start on this machine, or to take us in; it takes two or three where nothing is wrong."""


def connect(address: str | None) -> bool:
    """Join the cluster at `address`, or start Ray on this machine; returns whether it joined one.

    Raises `RunError` where nobody answers there. Signals are handled afterwards as they were before.
    """
    named = address or os.environ.get("RAY_ADDRESS")
    address = settle_address(address or None)
    late = f"--address {named}: answers, but did not take this run in; is it a Ray cluster, and of this version?"
    if address is None:
        late = "Ray did not start on this machine; free some memory, or use --serial."
    try:
        with time_limit(START_TIMEOUT, f"{late} Ray's logs are in {log_folder()}."), handlers_kept():
            if address is None:
                ray_local.start()
            else:
                ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:
        ray.shutdown()
        # Ray has no class of errors for this; the first line says what happened.
        told = f"({str(error).strip().splitlines()[0]})" if str(error).strip() else f"({error!r})"
        if address is None:
            raise RunError(
                f"Ray did not start on this machine {told}. Its logs are in {log_folder()}. Free some memory or "
                "processors, or use --serial."
            ) from error
        raise RunError(
            f"--address {named}: no Ray cluster takes this run in {told}. Start one with `ray start --head`, or leave "
            "out --address to start Ray on this machine."
        ) from error
    except BaseException:
        ray.shutdown()
        raise
    return address is not None


def log_folder() -> Path:
    """Where Ray's processes on a machine write their logs, unless the cluster was started with another folder."""
    return ray_local.log_folder() or Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray" / "session_latest" / "logs"
