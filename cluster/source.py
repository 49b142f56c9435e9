"""Where a run's rows come from: a fixed log here; logs and fresh data in `online_source`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from cluster.actors import Actors
from cluster.options import Recipe
from replay.draw import draw
from replay.rows import Rows
from replay.view import View


class Source(Protocol):
    """What the loop asks for the rows of each chunk, and tells when a chunk is trained."""

    def begin(self, step: int) -> None:
        """The learner stands at this step: at the beginning, on a resume, or after a death."""

    def ready(self, chunk: int) -> bool:
        """Whether the chunk's rows may be drawn now. Never waits."""

    def wait(self, chunk: int) -> None:
        """Until they may."""

    def draw(self, chunk: int, sequences: Sequence[int]) -> list[Rows]:
        """The draws of a chunk, one for each sequence number."""

    def snapshot(self, chunk: int) -> int | None:
        """How much of a growing store those draws may see; None where nothing grows."""

    def trained(self, done: int) -> None:
        """So many gradient steps have been asked of the learner."""

    def checkpointing(self) -> None:
        """A checkpoint is about to be written: what it rests on must be on the disk."""

    def clock(self) -> dict[str, float]:
        """How far the run is besides its gradient steps: beside every evaluation."""

    def metrics(self) -> dict[str, float]:
        """What belongs beside the losses."""

    def summary(self) -> dict[str, Any]:
        """What the run's summary says of it."""


class LogSource:
    """Draws from a fixed view: by priority where the recipe says so, else uniformly."""

    def __init__(self, actors: Actors, view: View, recipe: Recipe) -> None:
        self._actors, self._view, self._recipe = actors, view, recipe

    def begin(self, step: int) -> None:
        return

    def ready(self, chunk: int) -> bool:
        return True

    def wait(self, chunk: int) -> None:
        return

    def draw(self, chunk: int, sequences: Sequence[int]) -> list[Rows]:
        recipe, actors = self._recipe, self._actors
        if recipe.priority_exponent > 0:
            # Priorities have one owner, the learner.
            drawn: list[Rows] = actors.backend.get(actors.learners.ask("draw", chunk))
            return drawn
        return [
            draw(
                self._view,
                seed=recipe.seed,
                sequence=sequence,
                count=recipe.batch_size,
                shards_per_draw=recipe.shards_per_draw,
                request=actors.request,
            )
            for sequence in sequences
        ]

    def snapshot(self, chunk: int) -> int | None:
        return None

    def trained(self, done: int) -> None:
        return

    def checkpointing(self) -> None:
        return

    def clock(self) -> dict[str, float]:
        return {}

    def metrics(self) -> dict[str, float]:
        return {}

    def summary(self) -> dict[str, Any]:
        return {}
