"""The run loop: ask for rows, have them labelled, train on them, publish weights; chunk after chunk, in order.

The driver passes references; no batch ever goes through it. What happens in which order is decided by the
schedule alone, so the same loop gives the same parameters over any backend and any number of actors.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cluster.actors import Actors
from cluster.backends.backend import ActorEndedError, Reference
from cluster.checkpoint import Checkpoint
from cluster.gathered import Gathered
from cluster.imagination import Imagination
from cluster.run import Run
from cluster.source import Source
from cluster.updater_pool import PendingLabels, UpdaterPool
from envs import EnvError
from replay.rows import Rows, concatenate_rows

IN_FLIGHT = 2
"""Chunks that may be queued at the learner, so that it never waits for the driver."""


@dataclass(frozen=True)
class PendingChunk:
    """A chunk that was asked for and is not trained yet."""

    rows: list[Rows]
    """Its draws, where they cannot be repeated."""
    gathered: list[Gathered]
    """The rows of each learner, where it computes its own labels; else nothing."""
    labels: PendingLabels | None
    """Those of all learners, where updaters make them."""
    imagined: list[PendingLabels]
    """Imagined rows that the learner is given before it trains on the chunk."""


@dataclass(frozen=True)
class Evaluation:
    """One on its way: the weights, kept until its result has been handed over, and who evaluates them."""

    weights: Reference
    result: Reference
    clock: dict[str, float]
    evaluator: int


@dataclass
class Listeners:
    """Whom the loop tells. Each is called in the order of the steps."""

    trained: Callable[[int, dict[str, float]], None]
    """(steps done, metrics of the last chunk)"""
    diagnosed: Callable[[int, dict[str, dict[str, float]]], None]
    evaluated: Callable[[int, dict[str, Any]], None]
    checkpointed: Callable[[int, dict[str, NDArray[Any]], dict[str, NDArray[Any]]], None]
    """(steps done, the algorithm's state, the pipeline's)"""


class Loop:
    """From one checkpoint (or the beginning) to the last step."""

    def __init__(self, run: Run, actors: Actors, source: Source, listeners: Listeners) -> None:
        self._actors, self._backend, self._source = actors, actors.backend, source
        self._recipe, self._cadence, self._listeners = run.recipe, run.cadence, listeners
        self._schedule = run.recipe.schedule
        self._prioritised = run.recipe.priority_exponent > 0
        # Rows alone depend on nothing: a fused run asks for them a little ahead, however shallow its pipeline.
        alone = run.recipe.fused and not self._prioritised and run.recipe.imagine_every is None
        self._ahead = max(run.recipe.depth, IN_FLIGHT) if alone else run.recipe.depth
        self._updaters = UpdaterPool(actors.updaters, actors.backend, late_seconds=run.topology.late_chunk_seconds)
        self._imagination = Imagination(run, actors, self._updaters)
        self._pending_chunks: dict[int, PendingChunk] = {}
        self._versions: dict[int, Reference] = {}
        """Published weights that chunks are still to be labelled, or transitions imagined, with."""
        self._pending: deque[Callable[[], None]] = deque()
        self._evaluations: dict[int, Evaluation] = {}
        self._next_request = self._next_train = 0
        self.evaluated_by = [0] * len(actors.evaluators)
        """Evaluations that each evaluator was asked for."""

    @property
    def labelled_by(self) -> list[int]:
        """Chunks that each updater labelled and the learner took, and batches that it imagined."""
        return self._updaters.answered_by

    def run(self, start: Checkpoint | None) -> None:
        """Raises `LearnerDiedError` where it must be run again from the last checkpoint."""
        self._begin(start)
        while self._next_train < self._schedule.chunks:
            while self._may_ask():
                self._ask(self._next_request)
                self._next_request += 1
            self._train(self._next_train)
            self._next_train += 1
            self._after(self._next_train - 1)
        self._settle()
        self._collect_evaluations(wait=True)

    # --- Beginning ---

    def _begin(self, start: Checkpoint | None) -> None:
        learners = self._actors.learners
        pipeline = {} if start is None else dict(start.pipeline)
        if start is not None:
            learners.tell("restore", start.learner, pipeline)
        self._source.begin(0 if start is None else start.step)
        if start is None or start.step == 0:
            if not self._recipe.fused:
                self._versions[0] = learners.ask("target_weights")
            elif self._schedule.imagined_by(0):
                self._versions[0] = learners.ask("imagine_weights")
            if self._actors.evaluators:
                self._evaluate(0, learners.ask("policy_weights"))
                # In one process it is there: an environment that cannot be used ends the run before it begins.
                self._collect_evaluations(wait=False)
            return
        chunk = -(-start.step // self._recipe.chunk_steps)
        self._next_train = self._next_request = chunk
        for name, array in pipeline.items():
            kind, _, rest = name.partition(".")
            if kind == "weights":
                self._versions[int(rest)] = self._backend.put(array)
            elif kind == "evaluation" and self._actors.evaluators:
                self._evaluate(int(rest), self._backend.put(array))
        if self._prioritised:
            # These draws were made by priorities that are gone; they were saved instead.
            while f"rows.{self._next_request}.000.index" in pipeline:
                self._ask(self._next_request, _rows_from_arrays(pipeline, f"rows.{self._next_request}."))
                self._next_request += 1

    # --- Asking ---

    def _may_ask(self) -> bool:
        """Whether to start on the next chunk; where there is none to train, once its rows may be drawn."""
        if self._next_request >= min(self._schedule.chunks, self._next_train + self._ahead + 1):
            return False
        if self._next_request == self._next_train:
            self._source.wait(self._next_request)
        return self._source.ready(self._next_request)

    def _ask(self, chunk: int, drawn: list[Rows] | None = None) -> None:
        """Start on a chunk: its rows, and its labels from the version that the schedule names."""
        draws = self._schedule.draws_of(chunk)
        rows = self._source.draw(chunk, draws) if drawn is None else drawn
        snapshot, ranks = self._source.snapshot(chunk), self._actors.learners.count
        version = self._schedule.version_for(chunk)
        if self._recipe.fused:
            imagined = []
            if self._schedule.imagines(chunk):
                imagined = self._imagination.ask(chunk, version, self._versions[version])
            of_ranks = [rows_of_rank(rows, rank, ranks) for rank in range(ranks)]
            gathered = [self._actors.gather(concatenate_rows(part), snapshot) for part in of_ranks]
            self._pending_chunks[chunk] = PendingChunk(self._kept(rows), gathered, None, imagined)
            return
        whole = self._actors.gather(concatenate_rows(rows), snapshot)
        labels = self._updaters.ask(
            "label",
            version,
            self._versions[version],
            self._recipe.seed,
            draws,
            self._parts,
            whole.assembly,
            *whole.parts,
            returns=self._parts,
        )
        self._pending_chunks[chunk] = PendingChunk(self._kept(rows), [], labels, [])

    def _kept(self, rows: list[Rows]) -> list[Rows]:
        """Draws that cannot be repeated, for a checkpoint: those by priorities, which change."""
        return rows if self._prioritised else []

    @property
    def _parts(self) -> int:
        """How many a labelled chunk is divided into: one for each learner, unless a step's rows may be any of the train
        buffer's, which every learner then has whole."""
        return 1 if self._recipe.label_reuse > 1 else self._actors.learners.count

    # --- Training ---

    def _train(self, chunk: int) -> None:
        asked, learners = self._pending_chunks[chunk], self._actors.learners
        if asked.imagined:
            rows = [self._updaters.answer(pending, learners.check)[0] for pending in asked.imagined]
            entered = learners.ask("remember", *rows)
            self._pending.append(lambda: learners.get(entered))
        if asked.labels is None:
            report = learners.train_fused(chunk, asked.gathered)
            if self._schedule.imagined_by(chunk + 1):
                self._versions[chunk + 1] = learners.ask("imagine_weights")
        else:
            labelled = self._updaters.answer(asked.labels, learners.check)
            labelled = labelled if len(labelled) == learners.count else labelled * learners.count
            report, self._versions[chunk + 1] = learners.train(chunk, labelled)
        del self._pending_chunks[chunk]
        for version in [v for v in self._versions if v < self._schedule.version_for(chunk + 1)]:
            del self._versions[version]
        done = self._schedule.steps_of(chunk).stop
        self._source.trained(done)
        beside = self._source.metrics()
        self._pending.append(lambda: self._listeners.trained(done, learners.get(report).metrics | beside))
        while len(self._pending) > IN_FLIGHT:
            self._pending.popleft()()

    # --- After a chunk ---

    def _after(self, chunk: int) -> None:
        done, last = self._schedule.steps_of(chunk).stop, chunk == self._schedule.chunks - 1
        learners, cadence = self._actors.learners, self._cadence
        if last or self._schedule.due(chunk, cadence.validate_every):
            diagnosis = learners.ask("diagnose")
            self._pending.append(lambda: self._listeners.diagnosed(done, learners.get(diagnosis)))
        if self._actors.evaluators and (last or self._schedule.due(chunk, cadence.eval_every)):
            self._evaluate(done, learners.ask("policy_weights"))
        if last or self._schedule.due(chunk, cadence.checkpoint_every):
            self._checkpoint(done)
        self._collect_evaluations(wait=False)

    def _checkpoint(self, done: int) -> None:
        state = self._actors.learners.ask("state")
        self._settle()
        failure = self._failure_of_evaluations()
        algorithm, pipeline = self._actors.learners.get(state)
        self._source.checkpointing()
        for version in range(self._schedule.version_for(self._next_train), self._next_train + 1):
            if version in self._versions:
                pipeline[f"weights.{version}"] = self._backend.get(self._versions[version])
        for step, evaluation in self._evaluations.items():
            pipeline[f"evaluation.{step}"] = self._backend.get(evaluation.weights)
        if self._prioritised:
            for number, asked in self._pending_chunks.items():
                pipeline |= _rows_to_arrays(asked.rows, f"rows.{number}.")
        self._listeners.checkpointed(done, algorithm, pipeline)
        if failure is not None:
            raise failure

    def _evaluate(self, step: int, weights: Reference) -> None:
        """Each evaluation is one evaluator's alone: its result is the same, however many there are."""
        busy = [evaluation.evaluator for evaluation in self._evaluations.values()]
        number = min(range(len(self._actors.evaluators)), key=lambda n: (busy.count(n), self.evaluated_by[n], n))
        self.evaluated_by[number] += 1
        result = self._backend.call(self._actors.evaluators[number], "evaluate", weights)
        self._evaluations[step] = Evaluation(weights, result, self._source.clock(), number)

    def _collect_evaluations(self, *, wait: bool) -> None:
        """Hand over results in the order of their steps, those that are there (or all)."""
        for step in sorted(self._evaluations):
            evaluation = self._evaluations[step]
            if not wait and not self._backend.wait([evaluation.result], 0.0):
                return
            self._listeners.evaluated(step, evaluation.clock | self._backend.get(evaluation.result))
            del self._evaluations[step]

    def _failure_of_evaluations(self) -> EnvError | ActorEndedError | None:
        """What an evaluation that is there failed by, to be raised once a checkpoint is saved: a run that goes on from
        it repeats the evaluation."""
        try:
            self._collect_evaluations(wait=False)
        except (EnvError, ActorEndedError) as error:
            return error
        return None

    def _settle(self) -> None:
        """Wait for everything the learner has been told to do."""
        while self._pending:
            self._pending.popleft()()


def rows_of_rank(rows: list[Rows], rank: int, ranks: int) -> list[Rows]:
    """The rows of one of the learners: an equal part of each draw, in their order."""
    if ranks == 1:
        return rows
    shares = [len(drawn) // ranks for drawn in rows]
    return [drawn.take(slice(rank * share, (rank + 1) * share)) for drawn, share in zip(rows, shares, strict=True)]


def _rows_to_arrays(rows: list[Rows], prefix: str) -> dict[str, NDArray[Any]]:
    return {
        f"{prefix}{number:03d}.{name}": column for number, part in enumerate(rows) for name, column in part.columns()
    }


def _rows_from_arrays(arrays: dict[str, NDArray[Any]], prefix: str) -> list[Rows]:
    rows: list[Rows] = []
    while f"{prefix}{len(rows):03d}.index" in arrays:
        start = f"{prefix}{len(rows):03d}."
        found = {name.removeprefix(start): column for name, column in arrays.items() if name.startswith(start)}
        # Before there were steps in rows, none of what was saved read them.
        rows.append(Rows.of({"step": np.zeros_like(found["index"]), **found}))
    return rows
