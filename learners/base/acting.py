"""From an observation of an environment to an action in its units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learners.algorithm import Observation
from learners.base import randomness
from learners.base.acting_state import ActingState, beginnings, play, remember
from learners.base.encoding import Encoding
from learners.base.observations import ObservationCheck, observations_in
from learners.errors import LearnerError
from learners.networks.conditioning import Conditioning
from learners.networks.encoders import Features, rows_of
from learners.networks.normaliser import Normaliser
from replay.ranges import shown
from replay.records import listed
from replay.spaces import Spaces

Policy = Callable[[Features, Tensor | None], Tensor]
"""Embedded observations, and standard normal noise (B, A) or None, to actions (B, A), in [-1, 1] or one-hot. A is
h·A where actions are chunks of h."""


class Acting:
    """What `act` does with a policy, whatever that is. Its state is None, or an `ActingState` where the policy reads
    the observations before, or plans its actions in chunks."""

    def __init__(
        self,
        spaces: Spaces,
        normaliser: Normaliser,
        conditioning: Conditioning,
        encoding: Encoding,
        device: torch.device,
        *,
        history: int = 0,
        action_chunk: int = 0,
    ) -> None:
        self._history = history
        self._chunk = action_chunk
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
        first: Any = None,
        *,
        key: tuple[int, int] | None = None,
        deterministic: bool = True,
        goal: Observation | None = None,
        task: str | None = None,
    ) -> tuple[NDArray[Any], Any]:
        """As `Algorithm.act`, which says what is raised."""
        if not deterministic and key is None:
            raise LearnerError("act: deterministic=False needs key=(seed, sequence) to draw its noise from.")
        drawn = None if deterministic else key
        batch, single = self.check_observation(observation)
        beside = self._goal(goal, observations_in(batch)), self._task(task)
        if not (self._history or self._chunk):
            found = self._decide(policy, batch, None, beside, drawn)
            return (found[0] if single else found), state
        begins = beginnings(first, state, observations_in(batch))
        before: ActingState = ActingState() if state is None else state
        past, plan, mask = None, None, None
        if self._history:
            past = remember(before.past, batch, begins, self._history)
            batch, mask = past.observation, past.mask
        if self._chunk:
            found, plan = play(
                before.plan, begins, self._chunk, lambda: self._decide(policy, batch, mask, beside, drawn)
            )
        else:
            found = self._decide(policy, batch, mask, beside, drawn)
        return (found[0] if single else found), ActingState(past, plan)

    def _decide(
        self,
        policy: Policy,
        observation: Observation,
        mask: NDArray[np.uint8] | None,
        beside: tuple[Features | None, Tensor | None],
        key: tuple[int, int] | None,
    ) -> NDArray[Any]:
        """Actions (B, *shape), or chunks of them (B, h, *shape), given the goal and the task that stand `beside` the
        observation; drawn where there is a key."""
        inputs = self._encoding.embedded(self._conditioning(self._encoding.features(observation, mask), *beside))
        noise = None
        if key is not None:
            width = self._normaliser.action_size * max(1, self._chunk)
            noise = randomness.normal(key, "act", (rows_of(inputs), width), self._device)
        action = policy(inputs, noise)
        if self._chunk:
            action = action.reshape(-1, self._chunk, self._normaliser.action_size)
        array = self._normaliser.environment_action(action).cpu().numpy()
        steps = (self._chunk,) if self._chunk else ()
        return array.reshape(-1, *steps, *self._space.shape).astype(self._space.dtype)

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
        if observations_in(batch) not in (1, rows):
            raise LearnerError(
                f"act: goal: found {observations_in(batch)} for {rows} observations, expected 1 or {rows}."
            )
        return self._encoding.normalised(batch)

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
