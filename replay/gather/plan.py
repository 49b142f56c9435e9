"""What is known of a request before its rows are: which columns it reads, where they lie, and how it is gathered."""

from __future__ import annotations

import numpy as np

from replay.batch import Request
from replay.errors import DataError
from replay.gather.batch_checks import STEP_BYTES
from replay.gather.observations import Observations
from replay.gather.open_shards import OpenShards
from replay.ranges import shown
from replay.records import listed
from replay.rows import Rows
from replay.schema import COMPUTED, FOLLOWING, RETURN_TO_GO


class Plan:
    """One request against the files as they lie now: void once a file is opened or closed.

    Raises `DataError` for columns that the data does not have.
    """

    def __init__(self, request: Request, shards: OpenShards, observations: Observations) -> None:
        self.request = request
        self.view = shards.view
        self.observations = observations
        self.history = request.history
        self.extras = tuple(name for name in request.columns if name not in COMPUTED)
        for name in self.extras:
            if name not in self.view.extras:
                known = listed([*sorted(self.view.extras), *COMPUTED])
                raise DataError(f"request.columns: the data has no {shown(name)}; it has {known}.")
        self.rewards = () if request.tasks is None else request.tasks.columns
        """Of the tasks, by their numbers."""
        others = [name for name in self.rewards if name != "reward"]
        for name in others:
            if name not in self.view.extras or self.view.extras[name].shape:
                raise DataError(f"request.tasks: the data has no column {shown(name)} of one number a step.")
        # Flags side by side, as `Addresses.read_flags` reads them.
        standard = (*observations.names, "action", "reward", "terminated", "truncated")
        self.names = (*standard, *dict.fromkeys((*self.extras, *others)))
        self.addresses = shards.addresses(self.names)
        self.to_go = RETURN_TO_GO in request.columns
        self.following = tuple(name for name in request.columns if name in FOLLOWING)
        self.one_step = (
            request.kind == "transitions" and request.n_step == 1 and not request.action_chunk and not self.to_go
        )
        self.scaled = request.reward_scale != 1.0 or request.reward_shift != 0.0
        self.discounts = np.array([request.discount, 0.0], np.float32)
        self.row_bytes = _row_bytes(request, shards, self.names, observations.names)
        self.step_bytes = self.row_bytes + STEP_BYTES
        """The most that a step of a row may take."""


def steps_together(rows: Rows, request: Request) -> int:
    """Of each row's sum or window."""
    if request.kind == "windows":
        return request.length
    if request.kind == "transitions" and request.steps_ahead == 1:
        return 1
    most = int(rows.remaining.max(initial=0))
    # No sum goes beyond the end of its episode; that it could makes a difference of one step.
    return most if request.kind == "episodes" else min(request.steps_ahead, most + 1)


def _row_bytes(request: Request, shards: OpenShards, names: tuple[str, ...], observations: tuple[str, ...]) -> int:
    """Of a transition, or of a step of a window: its values, and what choosing them takes."""
    widths = {name: shards.columns[name].width for name in names}
    # Now and next, and a copy that they are cut from.
    seen = 4 * sum(widths[name] for name in observations) * (request.history + 1)
    rest = sum(widths[name] for name in names if name not in observations)
    more_actions = widths["action"] * max(request.action_chunk - 1, 0)
    return seen + rest + more_actions + STEP_BYTES * (request.history + request.action_chunk)
