"""From batches and observations to what networks read: tensors on the device, normalised, embedded where networks share
an encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learners.base.augmentation import Crops
from learners.base.checks import HISTORY_MASKS, check_batch
from learners.base.inputs import Inputs
from learners.networks.conditioning import Conditioning
from learners.networks.encoders import Encoder, Features
from learners.networks.history import History
from learners.networks.normaliser import Normaliser
from replay.batch import Batch, Request
from replay.spaces import Spaces


class Encoding:
    """`shared` is the encoder that all networks read from, where there is one; `history` is how many observations
    before the present one they read beside it."""

    def __init__(
        self,
        spaces: Spaces,
        normaliser: Normaliser,
        conditioning: Conditioning,
        shared: Encoder | None,
        device: torch.device,
        *,
        history: int = 0,
    ) -> None:
        self._history = History(history)
        self._spaces = spaces
        self._normaliser = normaliser
        self._conditioning = conditioning
        self._shared = shared
        self._device = device
        self._checked: set[str] = set()
        """Which observations of batches have been looked at: those of the first."""

    def inputs(
        self,
        batch: Batch[Any],
        request: Request,
        reads: tuple[str, ...],
        noise: dict[str, Tensor],
        *,
        crops: Crops | None = None,
        purpose: str = "",
    ) -> Inputs:
        """A batch as networks see it, not yet embedded: observations have the goal or the task of their row beside
        them, where the request has any. Of `observation` and `next_observation` those that are not in
        `reads` are None; pictures are moved by `crops`, where given, with noise for that purpose.

        Raises `LearnerError` where the first batch is not what `request` asks for.
        """
        if not self._checked >= set(reads):
            check_batch(batch, self._spaces, request, reads)
            self._checked.update(reads)
        goal = self.normalised(batch.goal) if request.goals is not None else None
        if goal is not None and crops is not None:
            goal = crops(goal, batch, f"{purpose}/goal")
        task = self.tensor(batch.task) if request.tasks is not None else None
        observations: dict[str, Any] = dict.fromkeys(("observation", "next_observation"))
        for name in observations:
            if name in reads:
                features = self.features(getattr(batch, name), getattr(batch, HISTORY_MASKS[name]))
                moved = features if crops is None else crops(features, batch, f"{purpose}/{name}")
                observations[name] = self._conditioning(moved, goal, task)
        action, present = self._normaliser.action(self.tensor(batch.action)), None
        if request.action_chunk:
            steps = self.tensor(batch.mask).to(action.dtype)
            present = steps.unsqueeze(-1).expand_as(action).flatten(1)
            # What stands where a step does not exist is nothing that anybody did, and must not reach a network.
            action = torch.where(present > 0, action.flatten(1), 0.0)
        return Inputs(
            **observations,
            action=action,
            reward=self.tensor(batch.reward),
            discount=self.tensor(batch.discount),
            weight=None if batch.weight is None else self.tensor(batch.weight),
            mask=None if batch.mask is None else self.tensor(batch.mask),
            labels={},
            noise=noise,
            extras={name: self.tensor(extra) for name, extra in batch.extras.items()},
            present=present,
        )

    def features(self, observation: Any, history_mask: Any = None) -> Features:
        """An observation as it is in a batch, on the device, normalised, and joined with its history where there is
        one, (B, H + 1, ...), of which `history_mask` (B, H + 1) says what there is."""
        found = self.normalised(observation)
        return self._history.joined(found, self.tensor(history_mask)) if self._history.steps else found

    def normalised(self, observation: Any) -> Features:
        """An observation as it is in a batch, without a history: on the device and normalised."""
        return self._normaliser.observation(
            {name: self.tensor(part) for name, part in observation.items()}
            if isinstance(observation, Mapping)
            else self.tensor(observation)
        )

    def embedded(self, observation: Features | None) -> Any:
        """By the shared encoder, where there is one."""
        return observation if self._shared is None or observation is None else self._shared(observation)

    def tensor(self, array: Any) -> Tensor:
        """An array, in whatever memory it lies, on the device."""
        if isinstance(array, Tensor):
            return array.to(self._device, non_blocking=True)
        array = np.ascontiguousarray(array)
        # What Ray hands over is read-only, which PyTorch cannot express: copy those.
        return torch.from_numpy(array if array.flags.writeable else array.copy()).to(self._device, non_blocking=True)
