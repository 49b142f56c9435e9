"""Logs and fresh data: runners kept busy, episodes made durable, and each chunk drawn from a snapshot on record."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from cluster.actors import Actors
from cluster.backends.backend import Reference
from cluster.episode_log import EpisodeLog
from cluster.errors import RunError
from cluster.roles.env_runner import RolloutReport, next_sequence
from cluster.run import Run
from cluster.runner_pool import RunnerPool
from cluster.snapshots import Snapshots
from cluster.source import Source
from replay.mixing import draw_mixed
from replay.online.store import Inserted, OnlineReader
from replay.rows import Rows
from replay.view import ALL, View

logger = logging.getLogger(__name__)

PATIENCE = 0.05
"""Seconds that the driver waits at a time for runners, while nothing else can be done."""
SHOWN = 60.0
"""Seconds within which the driver must see what the writer has stored."""
WAITING = 60.0
"""Seconds of waiting for data after which it says so, and again after each further time."""


@dataclass(frozen=True)
class _Insert:
    """Episodes on their way into the store."""

    report: RolloutReport
    acknowledgement: Reference


class OnlineSource(Source):
    """What a chunk may see is the journal's prefix that is recorded for it, whenever its rows are asked for again."""

    def __init__(self, run: Run, actors: Actors, reader: OnlineReader) -> None:
        interaction = run.interaction
        assert interaction is not None
        self._recipe, self._online, self._mixing = run.recipe, interaction.recipe, interaction.mixing
        self._logged, self._request = run.logged, run.request
        self._actors, self._backend = actors, actors.backend
        self._schedule = run.recipe.schedule
        self._limiter = self._online.limiter(run.recipe.chunk_steps, len(actors.runners))
        self._reader = reader
        with ExitStack() as opened:
            self._snapshots = opened.enter_context(closing(Snapshots(run.folder.snapshots)))
            self._episodes = opened.enter_context(closing(EpisodeLog(run.folder.episodes, reader.rows_since(0))))
            self._opened = opened.pop_all()
        self._pool = RunnerPool(
            actors.runners,
            actors.backend,
            self._online.envs_per_runner,
            self._online.rollout_steps,
            first_sequence=next_sequence(reader.ids),
            stalled_seconds=interaction.stalled_seconds,
        )
        self._inserts: deque[_Insert] = deque()
        self._weights: tuple[int, Reference] | None = None
        self._publishing: tuple[int, Reference] | None = None
        self._asked = max((self._schedule.steps_of(chunk).stop for chunk in self._snapshots), default=0)
        self._done = 0
        self._fresh: tuple[int, View | None] = (-1, None)
        self._staleness: deque[int] = deque(maxlen=20)
        self._share = 0.0
        self._waited = 0.0
        self._duplicates = 0

    def close(self) -> None:
        self._opened.close()

    # --- What the loop asks ---

    def begin(self, step: int) -> None:
        # What was asked of a learner that died never comes, and what it published may be lost with its node.
        self._done, self._weights, self._publishing = step, None, None

    def ready(self, chunk: int) -> bool:
        self._pump(0.0)
        if chunk in self._snapshots:
            return True
        if self._logged is None and self._view_of(self._reader.snapshot) is None:
            return False
        if self._over:
            return True
        steps = self._schedule.steps_of(chunk)
        last = chunk == self._schedule.chunks - 1
        return not last and self._limiter.may_learn(self._asked, len(steps), self._reader.transitions)

    def wait(self, chunk: int) -> None:
        """Raises `RunError` where nothing that is still to come can end the wait."""
        began, told = time.monotonic(), 0.0
        while not self.ready(chunk):
            self._check_hope()
            self._pump(PATIENCE)
            waited = time.monotonic() - began
            if waited - told >= WAITING:
                told = waited
                logger.warning("the learner has waited %.0f s for fresh data: %s", waited, self._pool.describe())
        self._waited += time.monotonic() - began

    def draw(self, chunk: int, sequences: Sequence[int]) -> list[Rows]:
        if chunk not in self._snapshots:
            self._snapshots.record(chunk, self._reader.snapshot)
            self._asked = max(self._asked, self._schedule.steps_of(chunk).stop)
        fresh = self._view_of(self._snapshots[chunk])
        drawn = []
        for sequence in sequences:
            # With label reuse there are fewer draws than steps.
            step = sequence * self._recipe.label_reuse
            self._share = self._mixing.share_at(
                step,
                0 if fresh is None else fresh.transitions,
                0 if self._logged is None else self._logged.transitions,
            )
            drawn.append(
                draw_mixed(
                    self._logged,
                    fresh,
                    self._share,
                    seed=self._recipe.seed,
                    sequence=sequence,
                    count=self._recipe.batch_size,
                    request=self._request,
                )
            )
        return drawn

    def snapshot(self, chunk: int) -> int | None:
        return self._snapshots[chunk]

    def trained(self, done: int) -> None:
        self._done = done
        self._publish()
        self._pump(0.0)

    def checkpointing(self) -> None:
        self._snapshots.sync()

    def clock(self) -> dict[str, float]:
        return {"env_steps": self._reader.transitions}

    def metrics(self) -> dict[str, float]:
        stored = self._reader.transitions
        beyond = stored - self._online.learning_starts
        return {
            "env_steps": stored,
            "fresh_episodes": self._reader.episodes,
            "quarantined": self._pool.quarantined,
            **self._episodes.recent(),
            "fresh_share": self._share,
            "policy_staleness": float(np.mean(self._staleness)) if self._staleness else 0.0,
            "updates_per_step": self._asked / beyond if beyond > 0 else 0.0,
            "waited_for_data": self._waited,
            "runners_busy": self._pool.busy,
        }

    def summary(self) -> dict[str, Any]:
        return {
            "env_steps": self._reader.transitions,
            "fresh_episodes": self._reader.episodes,
            "quarantined": self._pool.quarantined,
            "duplicates": self._duplicates,
            "runners": self._pool.summary(),
        }

    # --- Interaction ---

    @property
    def _over(self) -> bool:
        """Whether all environment steps of the run are in the store."""
        return self._reader.transitions >= self._online.env_steps

    def _pump(self, seconds: float) -> None:
        """Take what is there, or comes within so many seconds, and give idle runners something to do."""
        self._adopt_weights()
        references = [*self._pool.references(), *(insert.acknowledgement for insert in self._inserts)]
        if references:
            ready = self._backend.wait(references, seconds)
            for report, episodes in self._pool.take(ready):
                self._received(report, episodes)
            while self._inserts and any(self._inserts[0].acknowledgement is found for found in ready):
                self._acknowledged(self._inserts.popleft())
        elif seconds:
            time.sleep(seconds)
        self._send_out()

    def _received(self, report: RolloutReport, episodes: Reference) -> None:
        self._staleness.append(self._done - report.version)
        if report.episodes:
            acknowledgement = self._backend.call(self._actors.writers[0], "insert", episodes, report.runner)
            self._inserts.append(_Insert(report, acknowledgement))

    def _acknowledged(self, insert: _Insert) -> None:
        inserted: Inserted = self._backend.get(insert.acknowledgement)
        self._duplicates += len(inserted.duplicates)
        # The file system may show the journal a little later than the writer's answer comes.
        deadline = time.monotonic() + SHOWN
        while self._reader.refresh() < inserted.snapshot:
            if time.monotonic() > deadline:
                raise RunError(
                    f"{self._reader.path}: the driver has not seen what the writer stored for {SHOWN:.0f} s. Do both "
                    "nodes share this folder? Put that right, then go on with --resume."
                )
            time.sleep(PATIENCE)
        # All that is new, in the store's order: it need not be the order of the answers, where a writer died.
        self._episodes.add(self._reader.rows_since(self._episodes.count))
        self._pool.stored(insert.report)

    def _check_hope(self) -> None:
        """Raises `RunError` where the learner has nothing to sample from, and no runner will bring anything: all is
        gathered, or the runners may not run further ahead of it."""
        nothing = self._logged is None and self._view_of(self._reader.snapshot) is None
        if not nothing or self._inserts or not self._pool.resting or self._weights is None:
            return
        online, stored = self._online, self._reader.transitions
        rules = {"--min-return": online.min_return, "--max-age": online.max_age, "--capacity": online.capacity}
        given = " ".join(f"{option} {value:g}" for option, value in rules.items() if value is not None)
        best = self._episodes.best
        raise RunError(
            f"{given}: leaves nothing to learn from. Of {self._reader.episodes} episodes, {stored} environment steps, "
            f"{'' if best is None else f'the best of which returned {best:g}, '}none may be sampled, and no more come "
            f"{'after --env-steps' if self._over else 'before the first gradient step (--slack)'}. They are in "
            f"{self._reader.path}. Begin another run with a bound that episodes meet, with --dataset, or with a larger "
            "--learning-starts, in whose course more is gathered."
        )

    def _send_out(self) -> None:
        if self._weights is None or self._over:
            return
        version, weights = self._weights
        under_way = self._pool.under_way + sum(insert.report.ended for insert in self._inserts)
        for runner in self._pool.idle():
            left = self._online.env_steps - self._reader.transitions - under_way - self._pool.pending
            if left <= 0:
                self._pool.cut(runner)
                continue
            steps = self._pool.steps_for(left)
            if not self._limiter.may_act(self._asked, self._reader.transitions, under_way, steps):
                return
            self._pool.collect(runner, version, weights, steps)
            under_way += steps

    # --- Weights ---

    def _publish(self) -> None:
        self._publishing = (self._done, self._actors.learners.ask("policy_weights"))

    def _adopt_weights(self) -> None:
        """The newest that are there: no runner is to wait for the learner, nor to be lost with it."""
        if self._publishing is None and self._weights is None:
            self._publish()
        if self._publishing is not None and self._backend.wait([self._publishing[1]], 0.0):
            self._weights, self._publishing = self._publishing, None

    # --- Views ---

    def _view_of(self, snapshot: int) -> View | None:
        """The episodes that a snapshot holds; None where there are none."""
        if self._fresh[0] != snapshot:
            dataset = self._reader.dataset(snapshot)
            self._fresh = (snapshot, dataset.view(ALL) if dataset.num_episodes else None)
        return self._fresh[1]
