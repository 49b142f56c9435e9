"""Exploration: what is added to a policy's actions while fresh data is gathered."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.actions import Act
from envs.errors import EnvError
from envs.policies import uniform


@dataclass(frozen=True)
class Exploration:
    """Gaussian noise as TD3's (Fujimoto et al. 2018, arXiv 1802.09477, section 5), and random actions.

    `Perturbed` is for recording a fixed log: its noise is in units of the action, its random actions come in runs.
    """

    noise: float = 0.0
    """Standard deviation, in halves of the range of each element of the action."""
    random_probability: float = 0.0
    """Of a uniform action in the place of the policy's: ε-greedy where actions are discrete."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.noise < math.inf:
            raise EnvError(f"noise: found {self.noise}, expected a finite number of at least 0.")
        if not 0.0 <= self.random_probability <= 1.0:
            raise EnvError(f"random_probability: found {self.random_probability}, expected a number in [0, 1].")


def explore(act: Act, space: spaces.Space[Any], exploration: Exploration, rng: np.random.Generator) -> Act:
    """`act` with noise on its actions (B, ...); then, row by row, a uniform action in their place.

    `space` is of one action. All randomness comes from `rng`; it draws nothing for what is switched off. Actions may
    leave their bounds: who steps the environment clips them. Raises `EnvError` for noise on actions that are not a
    bounded Box of floats, and for random ones that are neither that nor Discrete.
    """
    scale = exploration.noise * _half_range(space) if exploration.noise else None
    draw = uniform(space, rng) if exploration.random_probability else None

    def exploring(observation: Any, state: Any, first: np.ndarray) -> tuple[Any, Any]:
        actions, state = act(observation, state, first)
        # A copy: the policy may hold on to what it returned.
        actions = np.array(actions)
        if scale is not None:
            actions = actions + scale * rng.standard_normal(actions.shape)
        if draw is not None:
            for row in np.flatnonzero(rng.random(len(actions)) < exploration.random_probability):
                actions[row] = draw()
        return actions, state

    return exploring


def _half_range(space: spaces.Space[Any]) -> np.ndarray:
    """In float64: the range of a Box may be too wide for its own type."""
    if isinstance(space, spaces.Box) and space.is_bounded() and np.issubdtype(space.dtype, np.floating):
        return (space.high.astype(np.float64) - space.low.astype(np.float64)) / 2.0
    raise EnvError(
        f"noise: the action space is {space}, expected a bounded Box of floats, whose range is the unit of noise. "
        "Set noise to 0; random_probability is for Discrete actions."
    )
