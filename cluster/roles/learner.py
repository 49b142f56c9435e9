"""Learner: all parameters of a run, moved one gradient step at a time through chunks that arrive in order."""

from __future__ import annotations

import math
import os
import socket
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # documented, but in no stub

from cluster import process
from cluster.build import AlgorithmSpec
from cluster.errors import DivergedError
from cluster.options import Recipe
from cluster.roles.bellman_updater import LabelledChunk
from cluster.roles.imagined_rows import ImaginedRows
from cluster.roles.train_buffer import TrainBuffer, chunk_from_arrays, chunk_to_arrays, part_of
from cluster.routing import Assembly, assemble
from cluster.serialization import Packed
from learners.algorithm import Metrics, Weights
from replay.batch import Batch, concatenate
from replay.priority import Priorities
from replay.rows import Rows
from replay.view import View

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class ChunkReport:
    """What the loop learns of a chunk: its metrics, averaged over its steps, and the time spent on it."""

    metrics: dict[str, float]
    seconds: float


class Learner:
    """Consumes chunks in order; everything a resume needs is in `state`."""

    def __init__(
        self, spec: AlgorithmSpec, recipe: Recipe, device: str, view: View | None = None, world: int = 1
    ) -> None:
        """`view` is needed where sampling is prioritised: its priorities are owned here. Batches will be shared by
        `world` learners.

        Raises `RunError` where the device is cuda and this process has none, and `LearnerError` where a step would not
        fit in its memory.
        """
        process.prepare(recipe.threads, device)
        self._device = device
        self._recipe = recipe
        self._schedule = recipe.schedule
        self._algorithm = spec.create(process.device_of(device, "learner"), rows=recipe.batch_size // world)
        self._rank, self._world = 0, 1
        self._listening: socket.socket | None = None
        self._buffer = TrainBuffer(recipe.label_reuse) if recipe.label_reuse > 1 else None
        self._imagined = None if recipe.imagined_capacity is None else ImaginedRows(recipe.imagined_capacity)
        self._priorities = _priorities(recipe, view)
        self._view = view
        self._fixed: dict[str, list[Batch[Any]]] = {}

    # --- Training ---

    def train(self, chunk: int, labelled: LabelledChunk) -> tuple[ChunkReport, Weights | None]:
        """The gradient steps of a chunk, and the weights published after it, by rank 0 for all."""
        report = self._train(chunk, labelled)
        return report, None if self._rank else self._algorithm.target_weights()

    def train_fused(self, chunk: int, assembly: Assembly, *parts: Packed) -> ChunkReport:
        """The same with rows straight from the shards: the learner computes its own targets, and publishes nothing."""
        return self._train(chunk, LabelledChunk(assemble(assembly, parts), None))

    def _train(self, chunk: int, labelled: LabelledChunk) -> ChunkReport:
        start = time.perf_counter()
        if self._buffer is not None:
            self._buffer.enter(labelled)
        collected = [
            self._step(*self._rows_of_step(labelled, position, step))
            for position, step in enumerate(self._schedule.steps_of(chunk))
        ]
        return ChunkReport(self._averages(collected, chunk), time.perf_counter() - start)

    def _rows_of_step(
        self, labelled: LabelledChunk, position: int, step: int
    ) -> tuple[Batch[Any], dict[str, NDArray[Any]] | None]:
        """This rank's part of a step's batch, and its labels, where they came with it."""
        seed, size = self._recipe.seed, self._recipe.batch_size
        share = size // self._world
        if self._imagined is not None:
            return self._with_imagined(labelled.batch, position, step), None
        if self._buffer is None:
            # What comes is this rank's own rows of each draw.
            batch, labels, first = labelled.batch, labelled.targets, position * share
        else:
            # A step's rows may be any of the buffer's, which every rank therefore has whole.
            batch, labels = self._buffer.draw(seed, step, size)
            first = self._rank * share
        mine = slice(first, first + share)
        targets = None if labels is None else {name: label[mine] for name, label in labels.items()}
        return batch.rows(mine.start, mine.stop, key=(seed, step)), targets

    def _with_imagined(self, logged: Batch[Any], position: int, step: int) -> Batch[Any]:
        """A step's logged rows, and imagined ones behind them, in their fixed shares."""
        assert self._imagined is not None
        recipe = self._recipe
        first = sum(recipe.logged_rows(earlier) for earlier in range(step - position, step))
        parts = [logged.rows(first, first + recipe.logged_rows(step))]
        if count := recipe.imagined_rows(step):
            parts.append(self._imagined.draw(recipe.seed, step, count))
        return replace(concatenate(parts), key=(recipe.seed, step))

    def _step(self, batch: Batch[Any], targets: dict[str, NDArray[Any]] | None) -> Metrics:
        metrics = self._algorithm.update(batch, targets)
        priority = metrics.pop("priority", None)
        if self._priorities is not None and priority is not None:
            self._priorities.update(batch.index, priority.cpu().numpy())
        return metrics

    def _averages(self, collected: list[Metrics], chunk: int) -> dict[str, float]:
        # Over several learners each step's are averages already.
        metrics = process.as_floats(_mean(collected))
        for name, value in metrics.items():
            if not math.isfinite(value):
                steps = self._schedule.steps_of(chunk)
                raise DivergedError(
                    f"{name} became {value} in steps {steps.start} to {steps.stop - 1}: the run diverged. "
                    "Lower --learning-rate, scale rewards with --reward-scale, or resume an earlier checkpoint."
                )
        return metrics

    # --- Imagining ---

    def remember(self, *imagined: Batch[Any]) -> None:
        """Imagined rows, which the steps from here on may draw."""
        assert self._imagined is not None
        for batch in imagined:
            self._imagined.enter(batch)

    def imagine_weights(self) -> Weights:
        """What updaters need to imagine by."""
        return self._algorithm.imagine_weights()

    # --- Prioritised sampling ---

    def draw(self, chunk: int) -> list[Rows]:
        """The draws of a chunk, by the priorities of the chunks trained so far."""
        assert self._priorities is not None
        assert self._view is not None
        recipe = self._recipe
        return [
            self._priorities.draw(
                self._view,
                seed=recipe.seed,
                sequence=sequence,
                count=recipe.batch_size,
                request=self._algorithm.requires,
            )
            for sequence in self._schedule.draws_of(chunk)
        ]

    # --- Diagnostics ---

    def keep_batches(self, name: str, size: int, assembly: Assembly, *parts: Packed) -> None:
        """Keep a fixed set of batches of `size` rows, under a name, for `diagnose`."""
        batch = assemble(assembly, parts)
        self._fixed[name] = [
            batch.rows(start, start + size, key=(self._recipe.seed, start // size))
            for start in range(0, len(batch), size)
        ]

    def diagnose(self) -> dict[str, dict[str, float]]:
        """By name, the means of the algorithm's diagnostics over the batches that are kept."""
        return {
            name: process.as_floats(_mean([self._algorithm.diagnostics(batch) for batch in batches]))
            for name, batches in self._fixed.items()
        }

    # --- Several learners ---

    def meeting_point(self) -> tuple[str, int]:
        """Where the ranks find each other: this node's address, and a port there that this rank listens on."""
        import ray  # several learners are several Ray actors; a serial run never comes here

        address = ray.util.get_node_ip_address()
        # Left to itself, PyTorch would listen on every interface, and everybody who connects could write to its store.
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listening = socket.create_server((address, 0), family=family)
        return address, self._listening.getsockname()[1]

    def join(self, rank: int, world: int, meeting_point: tuple[str, int]) -> None:
        """Become one of `world` learners, each with an equal slice of every batch and the same parameters.

        Rank 0 is the one that was asked for the meeting point.
        """
        kind = "nccl" if self._device == "cuda" else "gloo"
        address, port = meeting_point
        if address == LOOPBACK:
            # Else it takes the address that the machine's name stands for.
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        listening = None if self._listening is None else self._listening.detach()
        store = TCPStore(address, port, world, rank == 0, master_listen_fd=listening)
        torch.distributed.init_process_group(kind, store=store, rank=rank, world_size=world)
        self._rank, self._world = rank, world
        self._algorithm.distribute(rank, world, _average_)

    # --- Weights and state ---

    def target_weights(self) -> Weights:
        """What updaters need to label by."""
        return self._algorithm.target_weights()

    def policy_weights(self) -> Weights:
        """What evaluators and runners need to act by."""
        return self._algorithm.policy_weights()

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """The algorithm's state, and the pipeline's (train buffer, imagined rows, priorities), as named arrays."""
        algorithm = {name: tensor.cpu().numpy().copy() for name, tensor in self._algorithm.state_dict().items()}
        pipeline: dict[str, NDArray[Any]] = {}
        if self._buffer is not None:
            for index, chunk in enumerate(self._buffer.state()):
                pipeline |= chunk_to_arrays(chunk, f"buffer.{index:03d}.")
        if self._imagined is not None:
            pipeline |= {f"imagined.batch.{name}": array for name, array in self._imagined.state().items()}
        if self._priorities is not None:
            pipeline |= {f"priorities.{name}": array for name, array in self._priorities.state_dict().items()}
        return algorithm, pipeline

    def restore(self, algorithm: dict[str, NDArray[Any]], pipeline: dict[str, NDArray[Any]]) -> None:
        self._algorithm.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in algorithm.items()})
        if self._buffer is not None:
            prefixes = sorted({key[: len("buffer.000.")] for key in pipeline if key.startswith("buffer.")})
            self._buffer.restore([chunk_from_arrays(pipeline, prefix) for prefix in prefixes])
        if self._imagined is not None:
            self._imagined.restore(part_of(pipeline, "imagined.batch."))
        if self._priorities is not None:
            self._priorities.load_state_dict(part_of(pipeline, "priorities."))

    def fingerprint(self) -> dict[str, str]:
        return process.fingerprint(self._device)


def _priorities(recipe: Recipe, view: View | None) -> Priorities | None:
    if recipe.priority_exponent <= 0:
        return None
    assert view is not None
    return Priorities(
        view.transitions, exponent=recipe.priority_exponent, importance_exponent=recipe.importance_exponent
    )


def _average_(vector: torch.Tensor) -> None:
    torch.distributed.all_reduce(vector)
    vector.div_(torch.distributed.get_world_size())


def _mean(collected: list[Metrics]) -> Metrics:
    return {name: torch.stack([metrics[name] for metrics in collected]).mean() for name in collected[0]}
