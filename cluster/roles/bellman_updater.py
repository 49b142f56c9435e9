"""BellmanUpdater: labels chunks of transitions with the targets of published weights, in the manner of QT-Opt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import learners
from cluster import process
from cluster.build import AlgorithmSpec
from cluster.routing import Assembly, assemble
from cluster.serialization import Packed
from learners.algorithm import Algorithm, Weights
from replay.batch import Batch


@dataclass(frozen=True)
class LabelledChunk:
    """The rows of a chunk and their labels, both with leading dimension (draws · B)."""

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
        self._version = -1

    def label(
        self,
        version: int,
        weights: Weights,
        seed: int,
        draws: range,
        assembly: Assembly,
        *parts: Packed,
    ) -> LabelledChunk:
        """One call of `targets` for each draw, on exactly its rows: what the fused run would compute, bit for bit."""
        if version != self._version:
            self._algorithm.load_target_weights(weights)
            self._version = version
        batch = assemble(assembly, parts)
        return LabelledChunk(batch, label(self._algorithm, batch, seed, draws))

    def fingerprint(self) -> dict[str, str]:
        return process.fingerprint(self._device)


def label(algorithm: learners.Algorithm, batch: Batch[Any], seed: int, draws: range) -> dict[str, NDArray[Any]]:
    """The targets of a chunk, draw by draw: never one call on all rows, whose results would differ in the last bits."""
    size = len(batch) // len(draws)
    labels = [
        algorithm.targets(batch.rows(index * size, (index + 1) * size, key=(seed, sequence)))
        for index, sequence in enumerate(draws)
    ]
    return {name: np.concatenate([part[name].cpu().numpy() for part in labels]) for name in labels[0]}
