"""How likely a policy is to take a given action, in the units of the environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from learners.algorithm import Observation
from learners.base.encoding import Encoding
from learners.base.observations import ObservationCheck, observations_in
from learners.errors import LearnerError
from learners.networks.encoders import Features
from learners.networks.normaliser import Normaliser
from replay.ranges import shown
from replay.spaces import Discrete, Spaces

PolicyLogProb = Callable[[Features, Tensor], Tensor | None]
"""Embedded observations and actions (B, A), in [-1, 1] or one-hot, to log π(a∣s), (B,)."""


class Density:
    """What `log_prob` does with a policy, whatever that is."""

    def __init__(self, spaces: Spaces, normaliser: Normaliser, encoding: Encoding) -> None:
        self._space = spaces.action
        self._normaliser = normaliser
        self._encoding = encoding
        self._check_observation = ObservationCheck(normaliser.columns)

    def __call__(
        self, policy_log_prob: PolicyLogProb, observation: Observation, action: Any
    ) -> NDArray[np.float32] | None:
        """As `Algorithm.log_prob`, which says what is raised."""
        batch, single = self._check_observation(observation)
        features = self._encoding.embedded(self._encoding.features(batch))
        rows = observations_in(batch)
        encoded = self._normaliser.action(self._encoding.tensor(self._checked(action, rows, single)))
        found = policy_log_prob(features, encoded)
        if found is None:
            return None
        array = (found - self._normaliser.log_action_scale()).float().cpu().numpy()
        return array[0] if single else array

    def _checked(self, action: Any, rows: int, single: bool) -> NDArray[Any]:
        """(B, …), as numbers of the action space."""
        array = np.asarray(action)
        discrete = isinstance(self._space, Discrete)
        if array.dtype.kind not in ("iu" if discrete else "iuf"):
            raise LearnerError(
                f"log_prob: action: found {shown(action) if array.dtype == object else array.dtype}, expected "
                f"{'integers' if discrete else 'numbers'} ({self._space.dtype})."
            )
        shape = tuple(self._space.shape) if single else (rows, *self._space.shape)
        if array.shape != shape:
            raise LearnerError(
                f"log_prob: action: found shape {array.shape}, expected {shape}: one action for each observation."
            )
        if isinstance(self._space, Discrete):
            last = self._space.start + self._space.n - 1
            if array.size and not (self._space.start <= int(array.min()) and int(array.max()) <= last):
                raise LearnerError(
                    f"log_prob: action: found {int(array.min())} to {int(array.max())}, expected {self._space.start} "
                    f"to {last}."
                )
            array = array.astype(np.int64)
        else:
            array = array.astype(np.float32)
            if not np.isfinite(array).all():
                raise LearnerError("log_prob: action: found NaN or infinite numbers, expected such as float32 holds.")
        return array.reshape(rows, *self._space.shape)
