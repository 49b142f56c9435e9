"""Episodes as plain arrays, and how they grow step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.evaluate import stack


@dataclass(frozen=True)
class RecordedEpisode:
    """T transitions and T + 1 observations: `observation[t + 1]` is the one after `action[t]`."""

    observation: Any
    """(T + 1, ...) in the environment's type, or a dictionary of such arrays."""
    action: np.ndarray
    """(T, ...) as executed: noise added, clipped to the bounds, in the type of the action space."""
    reward: np.ndarray
    """(T,) float64"""
    terminated: np.ndarray
    """(T,) bool"""
    truncated: np.ndarray
    """(T,) bool"""
    success: bool | None
    """Whether any step's info told of success; None where it never said."""
    seed: int | None
    """The seed of the reset it began with; None where that went on with the generator of the episode before."""
    versions: tuple[int, ...] = ()
    """Of what acted in it, as the caller numbers them: each once, ascending; none where the caller gave no number."""

    def __len__(self) -> int:
        """T, the number of transitions."""
        return len(self.reward)


class Recording:
    """An episode under way, from its first observation."""

    def __init__(self, observation: Any, seed: int | None = None) -> None:
        self._seed = seed
        self._observations, self._actions = [observation], list[Any]()
        self._rewards: list[float] = []
        self._success: bool | None = None
        self._versions: set[int] = set()

    def __len__(self) -> int:
        """Steps so far."""
        return len(self._rewards)

    def add(
        self, action: Any, observation: Any, reward: float, success: bool | None, version: int | None = None
    ) -> None:
        """A step: what was done, by which version of a policy, and what came of it, finite or not."""
        if version is not None:
            self._versions.add(version)
        self._actions.append(action)
        self._observations.append(observation)
        self._rewards.append(float(reward))
        if success is not None:
            self._success = success or bool(self._success)

    def finish(self, *, terminated: bool, truncated: bool) -> RecordedEpisode:
        """The episode, ended at its last step."""
        last = np.arange(1, len(self) + 1) == len(self)
        return RecordedEpisode(
            observation=stack(self._observations),
            action=np.stack(self._actions),
            reward=np.asarray(self._rewards, dtype=np.float64),
            terminated=last & terminated,
            truncated=last & truncated,
            success=self._success,
            seed=self._seed,
            versions=tuple(sorted(self._versions)),
        )
