"""Joining a Ray cluster, or starting Ray on this machine."""

from __future__ import annotations

import logging
import os

import ray

from cluster import ray_local
from cluster.errors import RunError


def connect(address: str | None) -> bool:
    """Join the cluster at `address`, or start Ray on this machine; returns whether it joined one."""
    address = address or os.environ.get("RAY_ADDRESS")
    try:
        if address is None:
            ray_local.start()
        else:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise RunError(
            f"--address {address}: no Ray cluster answers there ({error}). Start one with `ray start --head`, "
            "or leave out --address to start Ray on this machine."
        ) from error
    return address is not None
