"""The contract of every algorithm: what Bellman updaters, learners, evaluators and checkpoints may ask of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from learners.base.online import Online
from replay.batch import Batch, Request
from replay.spaces import Spaces

Targets = Mapping[str, torch.Tensor]
"""Named labels with leading dimension B (an ensemble with independent targets has (B, E))."""

Metrics = dict[str, torch.Tensor]
"""Scalars, still on the device: nothing calls `.item()` between updates. The one exception is `priority`, (B,)."""

Weights = NDArray[np.float32]
"""Parameters as one flat vector: what travels between processes."""

Observation = NDArray[Any] | dict[str, NDArray[Any]]


class Algorithm(Protocol):
    """One learner's parameters and how they move.

    `update(b)` means `update(b, targets(b))`: targets are computed before any parameter moves. All randomness
    is keyed by `batch.key`, so the same batch and the same parameters give the same result in any process.
    """

    spaces: Spaces
    """Of the data, and of every environment that it acts in."""
    requires: Request
    """What every batch must hold."""
    has_targets: bool
    """Whether Bellman updaters have anything to compute (behaviour cloning has no targets)."""
    online: ClassVar[Online]
    """How it is fine-tuned on fresh data unless a run says otherwise: the share of it, who explores and how."""

    def targets(self, batch: Batch[Any]) -> Targets:
        """What a Bellman updater runs: no gradients, published weights, rows exactly as in `batch`."""

    def update(self, batch: Batch[Any], targets: Mapping[str, Any] | None = None) -> Metrics:
        """One gradient step."""

    def diagnostics(self, batch: Batch[Any]) -> Metrics:
        """The losses, and mean values on data and at the policy's actions, moving nothing."""

    def act(
        self,
        observation: Observation,
        state: Any = None,
        *,
        key: tuple[int, int] | None = None,
        deterministic: bool = True,
        goal: Observation | None = None,
        task: str | None = None,
    ) -> tuple[NDArray[Any], Any]:
        """Actions in the environment's units, for one observation or for a stack of them.

        Nested dictionaries are flattened by their keys, and pictures with their channels first turned, as they are in
        data. `key` (seed, sequence) addresses the sampling noise and is needed unless `deterministic`. `goal`, an
        observation or one for each, is what a policy acts towards that was trained towards goals (`requires.goals`),
        `task` the name of what one does that was trained on tasks (`requires.tasks`); others have neither.

        Raises `LearnerError`, naming the part, what was found and what expected, for another shape, type or set of
        keys than the data has, for NaN and infinities, and for values outside a `Discrete` space.
        """

    def target_weights(self) -> Weights:
        """Exactly what `targets` needs."""

    def load_target_weights(self, weights: Weights) -> None: ...

    def policy_weights(self) -> Weights:
        """Exactly what `act` needs."""

    def load_policy_weights(self, weights: Weights) -> None: ...

    def distribute(self, rank: int, world: int, reduce: Callable[[torch.Tensor], None]) -> None:
        """Become one of `world` learners: `update` takes its slice of each batch, `reduce` averages gradients."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Everything a bit-exact resume needs, by name."""

    def state_layout(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Dtype and shape of all that `state_dict` may hold, by name. Before the first step, moments are missing."""

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None: ...
