"""Quiver's side of `learning.py`: the loop that README.md shows for a notebook."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from _learning_methods import Method
from _learning_tasks import Task
from _learning_trainer import PROBE_ROWS, PROBE_SEED, Values

import learners
from replay import Batch, Dataset

PROBE_EPISODES = 16
"""Of methods that learn from whole episodes."""


class QuiverTrainer:
    def __init__(self, dataset: Dataset, method: Method, task: Task, *, seed: int, device: str) -> None:
        self._dataset, self._seed, self._batch = dataset, seed, method.batch
        # What all methods have in common includes rewards, which cloning does not read.
        known = {entry.name for entry in fields(learners.config_class(method.algorithm))}
        knobs = {knob: value for knob, value in method.knobs_for(task).items() if knob in known}
        self._algorithm = learners.create(
            method.algorithm,
            dataset.spaces,
            seed=seed,
            statistics=dataset.statistics,
            device=device,
            **knobs,
        )

    def _sample(self, seed: int, sequence: int, count: int) -> Batch[Any]:
        return self._dataset.sample(seed=seed, sequence=sequence, count=count, request=self._algorithm.requires)

    def train(self, start: int, stop: int) -> None:
        for sequence in range(start, stop):
            self._algorithm.update(self._sample(self._seed, sequence, self._batch))

    def act(self, observation: Any, state: Any, first: Any) -> tuple[Any, Any]:
        return self._algorithm.act(observation, state, first)

    def values(self) -> Values:
        rows = PROBE_EPISODES if self._algorithm.requires.kind == "episodes" else PROBE_ROWS
        found = self._algorithm.diagnostics(self._sample(PROBE_SEED, 0, rows))
        q_data, q_policy = (found[name].item() if name in found else None for name in ("q_data", "q_policy"))
        return Values(q_data, q_policy)
