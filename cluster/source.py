"""Where a run's rows come from: a fixed log here; logs and fresh data in `online_source`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from cluster.actors import Actors
from cluster.run import Run
from replay.drawing import draw
from replay.rows import Rows


class Source(ABC):
    """What the loop asks for the rows of each chunk, and tells when a chunk is trained; a context manager.

    All answers but the draws are those of a fixed log: nothing grows, so nothing is waited for.
    """

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what is open; the run is over."""
        return

    def begin(self, step: int) -> None:
        """The learner stands at this step: at the beginning, on a resume, or after a death."""
        return

    def ready(self, chunk: int) -> bool:
        """Whether the chunk's rows may be drawn now. Never waits."""
        return True

    def wait(self, chunk: int) -> None:
        """Until they may."""
        return

    @abstractmethod
    def draw(self, chunk: int, sequences: Sequence[int]) -> list[Rows]:
        """The draws of a chunk, one for each sequence number."""

    def snapshot(self, chunk: int) -> int | None:
        """How much of a growing store those draws may see; None where nothing grows."""
        return None

    def trained(self, done: int) -> None:
        """So many gradient steps have been asked of the learner."""
        return

    def checkpointing(self) -> None:
        """A checkpoint is about to be written: what it rests on must be on the disk."""
        return

    def clock(self) -> dict[str, float]:
        """How far the run is besides its gradient steps: beside every evaluation."""
        return {}

    def metrics(self) -> dict[str, float]:
        """What belongs beside the losses."""
        return {}

    def summary(self) -> dict[str, Any]:
        """What the run's summary says of it."""
        return {}


class LogSource(Source):
    """Draws from a fixed view: by priority where the recipe says so, else uniformly."""

    def __init__(self, run: Run, actors: Actors) -> None:
        self._view, self._recipe, self._request, self._actors = run.view, run.recipe, run.request, actors

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
                count=recipe.logged_rows(sequence),
                shards_per_draw=recipe.shards_per_draw,
                request=self._request,
            )
            for sequence in sequences
        ]
