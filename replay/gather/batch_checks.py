"""What a batch may be: as large as memory holds, with flags that are flags and discrete values that are in their space.

A dataset says what it likes of its rows. Numbers of other kinds are whatever they are; these would be taken for other
than what they are, or lead out of a network's inputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from replay.batch import Batch, Request
from replay.errors import DataError
from replay.memory import require
from replay.rows import Rows
from replay.spaces import Discrete
from replay.view import View

SMALL = 64 << 20
"""Bytes of a batch that is made without asking whether there is memory for it."""
STEP_BYTES = 64
"""About what each step of a sum or a window takes while it is computed, beside its values."""

_REMEDY = "`quiver inspect --verify` says where; ingest the dataset again."


def check_room(rows: Rows, request: Request, length: int, row_bytes: int) -> None:
    """`length`: steps of each row's sum or window. `row_bytes`: of one step's values. Raises `DataError` for a batch
    that memory cannot hold."""
    steps = len(rows) if request.kind == "transitions" else len(rows) * length
    needed = steps * row_bytes + len(rows) * length * STEP_BYTES
    what = f"{len(rows):,} {request.kind}" + (f" of {length:,} steps" if length > 1 else "")
    require(needed, "batch", what, "ask for fewer, or shorter ones.")


def check_flags(view: View, flags: np.ndarray) -> np.ndarray:
    """The flags themselves. Raises `DataError` for others than 0 and 1."""
    if flags.max(initial=0) > 1:
        raise no_flags(view)
    return flags


def no_flags(view: View) -> DataError:
    return DataError(f"{_names(view)}: found flags, terminated or truncated, that are neither 0 nor 1. {_REMEDY}")


def check_discrete(view: View, name: str, space: Discrete, batch: Batch[np.ndarray]) -> None:
    """Raises `DataError` for values of an observation or action that are not in its space."""
    check_choices(
        view, name, space, [batch.action] if name == "action" else [batch.observation, batch.next_observation]
    )


def check_choices(view: View, name: str, space: Discrete, parts: list[Any]) -> None:
    """The same of actions, or of observations."""
    for part in parts:
        values = part[name.removeprefix("observation.")] if isinstance(part, dict) else part
        if values.size and not space.start <= int(values.min()) <= int(values.max()) < space.start + space.n:
            raise DataError(
                f"{_names(view)}: {name}: found values {values.min()} to {values.max()}, expected {space.start} to "
                f"{space.start + space.n - 1}. {_REMEDY}"
            )


def _names(view: View) -> str:
    return ", ".join(member.path for member in view.members)
