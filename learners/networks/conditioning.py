"""What stands beside every observation that a network reads: the goal that it acts towards, or its task.

A goal is a second observation, normalised as the first. Its numbers follow those of the observation, and its pictures
are further pictures. A task is a one-hot vector behind them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from learners.networks.encoders import VECTOR, Features
from learners.networks.history import History
from learners.networks.normaliser import Normaliser

GOAL = "goal."
"""Begins the names of a goal's pictures in `Features`."""


class Conditioning:
    """From features of observations, goals and tasks to those that networks read. Without goals and tasks, it changes
    nothing."""

    def __init__(
        self, normaliser: Normaliser, *, history: int = 0, goals: bool = False, tasks: Sequence[str] = ()
    ) -> None:
        """`history` is how many observations before each it is joined with already (`History`)."""
        self.goals = goals
        self.tasks = tuple(tasks)
        seen = History(history)
        of_goals = {GOAL + name: shape for name, shape in normaliser.images.items()} if goals else {}
        self.images: dict[str, tuple[int, ...]] = seen.images(normaliser) | of_goals
        """Name to (height, width, channels)."""
        self.vector_size = seen.vector_size(normaliser) + normaliser.vector_size * goals + len(self.tasks)
        """Numbers beside the pictures."""

    def __call__(self, observation: Features, goal: Features | None, task: Tensor | None) -> Features:
        """`observation` and `goal` as the normaliser gives them, `task` int64 (B,). A single goal or task stands for
        all rows."""
        if not self.goals and not self.tasks:
            return observation
        images: dict[str, Tensor] = {}
        vectors: list[Tensor] = []
        lead: tuple[int, ...] = ()
        for prefix, features in (("", observation), (GOAL, goal)):
            if features is None:
                continue
            named = features if isinstance(features, dict) else {VECTOR: features}
            for name, part in named.items():
                rank = 1 if name == VECTOR else 3
                lead = lead or tuple(part.shape[:-rank])
                part = part.expand(*lead, *part.shape[-rank:])
                if name == VECTOR:
                    vectors.append(part)
                else:
                    images[prefix + name] = part
        if task is not None:
            one_hot = F.one_hot(task, len(self.tasks)).to(torch.float32)
            one_hot = one_hot.reshape(*one_hot.shape[:1], *(1,) * (len(lead) - 1), -1)
            vectors.append(one_hot.expand(*lead, len(self.tasks)))
        if not images:
            return torch.cat(vectors, dim=-1)
        return {**images, VECTOR: torch.cat(vectors, dim=-1)} if vectors else images
