"""The train buffer: labelled rows that several gradient steps share, as in QT-Opt, entering and leaving by step."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cluster.roles.bellman_updater import LabelledChunk
from replay.batch import Batch, concatenate
from replay.random_words import REUSE, uniforms


class TrainBuffer:
    """The last u chunks' labelled rows, from which each step draws its batch.

    Chunk c brings K·B/u rows, which take part in the steps of chunks c … c + u − 1: K·B rows are held once it is full.
    What a step draws depends on the seed and the step only.
    """

    def __init__(self, label_reuse: int) -> None:
        self._chunks: deque[LabelledChunk] = deque(maxlen=label_reuse)

    def enter(self, chunk: LabelledChunk) -> None:
        """Add a chunk; the oldest leaves where the buffer is full."""
        self._chunks.append(chunk)

    def draw(self, seed: int, step: int, count: int) -> tuple[Batch[Any], dict[str, NDArray[Any]]]:
        """`count` rows with replacement, uniformly, and their labels."""
        offsets = np.cumsum([0, *(len(chunk.batch) for chunk in self._chunks)])
        picked = (uniforms(seed, REUSE, step, count) * offsets[-1]).astype(np.int64)
        picked.sort()
        bounds = np.searchsorted(picked, offsets)
        batches, labels = [], []
        for chunk, base, start, stop in zip(self._chunks, offsets[:-1], bounds[:-1], bounds[1:], strict=True):
            if stop > start:
                order = picked[start:stop] - base
                batches.append(chunk.batch.take(order))
                labels.append({name: label[order] for name, label in (chunk.targets or {}).items()})
        merged = {name: np.concatenate([label[name] for label in labels]) for name in labels[0]}
        return concatenate(batches), merged

    def state(self) -> list[LabelledChunk]:
        """Oldest first; what `restore` takes."""
        return list(self._chunks)

    def restore(self, chunks: list[LabelledChunk]) -> None:
        self._chunks.clear()
        self._chunks.extend(chunks)


def chunk_to_arrays(chunk: LabelledChunk, prefix: str) -> dict[str, NDArray[Any]]:
    """A labelled chunk as named arrays, for a checkpoint."""
    batch = {f"{prefix}batch.{name}": array for name, array in chunk.batch.columns()}
    return batch | {f"{prefix}targets.{name}": label for name, label in (chunk.targets or {}).items()}


def chunk_from_arrays(arrays: Mapping[str, NDArray[Any]], prefix: str) -> LabelledChunk:
    """The inverse of `chunk_to_arrays`."""
    batch, targets = (part_of(arrays, f"{prefix}{kind}") for kind in ("batch.", "targets."))
    return LabelledChunk(Batch.of(batch), targets)


def part_of(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """Those whose names begin with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
