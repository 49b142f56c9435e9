"""BellmanUpdater: labels chunks of transitions with the targets of published weights, in the manner of QT-Opt, or
imagines transitions with them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import learners
from cluster import process
from cluster.build import AlgorithmSpec
from cluster.routing import Assembly, assemble
from cluster.serialization import Packed
from learners.algorithm import Algorithm, Weights
from learners.errors import LearnerError
from replay.batch import Batch


@dataclass(frozen=True)
class LabelledChunk:
    """The rows of a chunk and their labels, both with leading dimension (draws · B), or (draws · B / w) of one of w
    learners."""

    batch: Batch[Any]
    targets: dict[str, NDArray[Any]] | None
    """None where the learner computes its own (fused)."""


class BellmanUpdater:
    """Holds published target weights and nothing else; labelling is pure."""

    def __init__(self, spec: AlgorithmSpec, threads: int, device: str) -> None:
        """Raises `RunError` where the device is cuda and this process has none."""
        process.prepare(threads, device)
        self._device = device
        self._algorithm: Algorithm = spec.create(process.device_of(device, "bellman_updater"))
        self._loaded = ("", -1)
        """Of which weights, target or imagine, it has which version."""

    def label(
        self,
        version: int,
        weights: Weights,
        seed: int,
        draws: range,
        ranks: int,
        assembly: Assembly,
        *parts: Packed,
    ) -> LabelledChunk | list[LabelledChunk]:
        """One call of `targets` for each draw, on exactly its rows: what the fused run would compute, bit for bit.

        Where there are several `ranks`, one labelled chunk for each: its rows of every draw.
        """
        if self._loaded != ("target", version):
            self._algorithm.load_target_weights(weights)
            self._loaded = ("target", version)
        batch = assemble(assembly, parts)
        labelled = LabelledChunk(batch, label(self._algorithm, batch, seed, draws))
        return labelled if ranks == 1 else [part_of_rank(labelled, rank, ranks, len(draws)) for rank in range(ranks)]

    def imagine(
        self, version: int, weights: Weights, key: tuple[int, int], assembly: Assembly, *parts: Packed
    ) -> Batch[NDArray[Any]]:
        """What the algorithm's `imagine` makes of these starts. Raises `LearnerError` where it has other columns than
        they have."""
        if self._loaded != ("imagine", version):
            self._algorithm.load_imagine_weights(weights)
            self._loaded = ("imagine", version)
        starts = replace(assemble(assembly, parts), key=key)
        imagined = self._algorithm.imagine(starts)
        imagined = replace(imagined, index=np.full(len(imagined), -1, np.int64))
        check_imagined(starts, imagined)
        return imagined

    def fingerprint(self) -> dict[str, str]:
        return process.fingerprint(self._device)


def check_imagined(starts: Batch[NDArray[Any]], imagined: Batch[NDArray[Any]]) -> None:
    """Raises `LearnerError` unless both can be rows of one batch."""
    expected, found = ({name: _kind(array) for name, array in batch.columns()} for batch in (starts, imagined))
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise LearnerError(
                f"imagine: {name} is {found.get(name, 'missing')}, expected {expected.get(name, 'no such column')}."
            )


def _kind(array: NDArray[Any]) -> str:
    return f"{array.dtype} (B{''.join(f', {size}' for size in array.shape[1:])})"


def part_of_rank(chunk: LabelledChunk, rank: int, ranks: int, draws: int) -> LabelledChunk:
    """The rows of one of `ranks` learners, an equal part of each of the chunk's draws, in their order."""
    of_rank = np.arange(len(chunk.batch)).reshape(draws, ranks, -1)[:, rank].reshape(-1)
    targets = None if chunk.targets is None else {name: label[of_rank] for name, label in chunk.targets.items()}
    return LabelledChunk(chunk.batch.take(of_rank), targets)


def label(algorithm: learners.Algorithm, batch: Batch[Any], seed: int, draws: range) -> dict[str, NDArray[Any]]:
    """The targets of a chunk, draw by draw: never one call on all rows, whose results would differ in the last bits."""
    size = len(batch) // len(draws)
    labels = [
        algorithm.targets(batch.rows(index * size, (index + 1) * size, key=(seed, sequence)))
        for index, sequence in enumerate(draws)
    ]
    return {name: np.concatenate([part[name].cpu().numpy() for part in labels]) for name in labels[0]}
