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
from learners.networks.conditioning import Conditioning
from learners.networks.encoders import Features, rows_of
from learners.networks.normaliser import Normaliser
from replay.ranges import shown
from replay.records import listed
from replay.spaces import Spaces

Policy = Callable[[Features, Tensor | None], Tensor]
"""Embedded observations, and standard normal noise (B, A) or None, to actions (B, A), in [-1, 1] or one-hot."""


class Acting:
    """What `act` does with a policy, whatever that is."""

    def __init__(
        self,
        spaces: Spaces,
        normaliser: Normaliser,
        conditioning: Conditioning,
        encoding: Encoding,
        device: torch.device,
    ) -> None:
        self._space = spaces.action
        self._normaliser = normaliser
        self._conditioning = conditioning
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
        goal: Observation | None = None,
        task: str | None = None,
    ) -> tuple[NDArray[Any], Any]:
        """As `Algorithm.act`, which says what is raised."""
        batch, single = self.check_observation(observation)
        features = self._encoding.features(batch)
        conditioned = self._conditioning(features, self._goal(goal, rows_of(features)), self._task(task))
        inputs = self._encoding.embedded(conditioned)
        noise = None
        if not deterministic:
            if key is None:
                raise LearnerError("act: deterministic=False needs key=(seed, sequence) to draw its noise from.")
            noise = randomness.normal(key, "act", (rows_of(inputs), self._normaliser.action_size), self._device)
        action = self._normaliser.environment_action(policy(inputs, noise))
        array = action.cpu().numpy().reshape(-1, *self._space.shape).astype(self._space.dtype)
        return (array[0] if single else array), state

    def _goal(self, goal: Observation | None, rows: int) -> Features | None:
        """One goal, or as many as there are observations."""
        if not self._conditioning.goals:
            if goal is not None:
                raise LearnerError("act: goal: found one, but this policy acts towards none; leave it out.")
            return None
        if goal is None:
            raise LearnerError("act: goal: found none, expected an observation that this policy is to act towards.")
        try:
            batch, _ = self.check_observation(goal)
        except LearnerError as error:
            raise LearnerError(str(error).replace("act:", "act: goal:", 1)) from error
        features = self._encoding.features(batch)
        if rows_of(features) not in (1, rows):
            raise LearnerError(f"act: goal: found {rows_of(features)} for {rows} observations, expected 1 or {rows}.")
        return features

    def _task(self, task: str | None) -> Tensor | None:
        """The number of a task, (1,)."""
        known = self._conditioning.tasks
        if not known:
            if task is not None:
                raise LearnerError(f"act: task: found {shown(task)}, but this policy knows no tasks; leave it out.")
            return None
        if task not in known:
            found = "none" if task is None else shown(task)
            raise LearnerError(f"act: task: found {found}, expected one of {listed(known)}.")
        return torch.tensor([known.index(task)], device=self._device)
