"""From an observation of an environment to an action in its units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from learners.algorithm import Observation
from learners.base import randomness
from learners.base.encoding import Encoding
from learners.base.observations import ObservationCheck
from learners.errors import LearnerError
from learners.networks.encoders import Features, rows_of
from learners.networks.normaliser import Normaliser
from replay.spaces import Spaces

Policy = Callable[[Features, Tensor | None], Tensor]
"""Embedded observations, and standard normal noise (B, A) or None, to actions (B, A), in [-1, 1] or one-hot."""


class Acting:
    """What `act` does with a policy, whatever that is."""

    def __init__(self, spaces: Spaces, normaliser: Normaliser, encoding: Encoding, device: torch.device) -> None:
        self._space = spaces.action
        self._normaliser = normaliser
        self._encoding = encoding
        self._device = device
        self.check_observation = ObservationCheck(normaliser.columns)

    def __call__(
        self,
        policy: Policy,
        observation: Observation,
        state: Any = None,
        *,
        key: tuple[int, int] | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[Any], Any]:
        """As `Algorithm.act`, which says what is raised."""
        batch, single = self.check_observation(observation)
        inputs = self._encoding.embedded(self._encoding.features(batch))
        noise = None
        if not deterministic:
            if key is None:
                raise LearnerError("act: deterministic=False needs key=(seed, sequence) to draw its noise from.")
            noise = randomness.normal(key, "act", (rows_of(inputs), self._normaliser.action_size), self._device)
        action = self._normaliser.environment_action(policy(inputs, noise))
        array = action.cpu().numpy().reshape(-1, *self._space.shape).astype(self._space.dtype)
        return (array[0] if single else array), state
