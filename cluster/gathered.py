"""Rows that were asked for: references to their parts, and how those become one batch. No batch passes the driver."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.backends.backend import Reference
from cluster.routing import Assembly


@dataclass(frozen=True)
class Gathered:
    """A batch on its way from the shard actors."""

    assembly: Assembly
    parts: list[Reference]
    """One for each node that holds some of the rows."""
