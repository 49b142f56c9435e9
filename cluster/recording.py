"""Between environments and datasets, which know nothing of each other: spaces and episodes of one as the other's."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from cluster.errors import RunError
from envs import RecordedEpisode
from replay.episode import Episode
from replay.readers.source import array_space, box
from replay.spaces import Box, Dict, Discrete, Image, Leaf, Spaces

SMALLEST_PICTURE = 16
"""Sides of what an environment shows as bytes (H, W, C) and is kept as a picture. Somebody declared this space, so
that it is trusted further than an array in a file; the seven cells of MiniGrid stay numbers."""


def spaces_of(env: gym.Env[Any, Any], where: str) -> Spaces:
    """The spaces of a dataset recorded in `env`. Raises `RunError`, naming `where`, for those no dataset can hold."""
    space = env.observation_space
    observation: Leaf | Dict
    if isinstance(space, gym.spaces.Dict):
        observation = Dict.of({key: _leaf(part, f"{where}, observation {key}") for key, part in space.spaces.items()})
    else:
        observation = _leaf(space, f"{where}, observation")
    action = _leaf(env.action_space, f"{where}, action")
    if isinstance(action, Image):
        raise RunError(f"{where}, action: a picture is no action.")
    return Spaces(observation, action)


def episode_of(recorded: RecordedEpisode, *, source: str) -> Episode:
    """A recorded episode as the writer takes it. `source` says where it comes from: a seed, or who gathered it."""
    observation = recorded.observation
    return Episode(
        observation=dict(observation) if isinstance(observation, dict) else observation,
        action=recorded.action,
        reward=recorded.reward,
        terminated=recorded.terminated.astype(np.uint8),
        truncated=recorded.truncated.astype(np.uint8),
        source=source,
        success=recorded.success,
    )


def _leaf(space: gym.Space[Any], where: str) -> Box | Discrete | Image:
    match space:
        case gym.spaces.Discrete():
            return Discrete(int(space.n), int(space.start))
        case gym.spaces.Box():
            found = array_space(space.shape, space.dtype, smallest=SMALLEST_PICTURE)
            return found if isinstance(found, Image) else box(space.shape, space.dtype, space.low, space.high)
        case _:
            raise RunError(f"{where}: {space} cannot be recorded; expected Box, Discrete or a Dict of those.")
