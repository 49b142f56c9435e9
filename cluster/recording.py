"""Between environments and datasets, which know nothing of each other: spaces and episodes of one as the other's."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np

from cluster.errors import RunError
from envs import RecordedEpisode
from replay.episode import Episode
from replay.readers.source import box
from replay.spaces import Box, Dict, Discrete, Image, Leaf, Spaces, channels_last, observation_columns, picture_shape

SMALLEST_PICTURE = 16
"""Sides of what an environment shows as bytes and is kept as a picture. Somebody declared this space, so that it is
trusted further than an array in a file; the seven cells of MiniGrid stay numbers."""


def spaces_of(env: gym.Env[Any, Any], where: str) -> Spaces:
    """The spaces of a dataset recorded in `env`. Raises `RunError`, naming `where`, for those no dataset can hold."""
    space = env.observation_space
    observation: Leaf | Dict
    if isinstance(space, gym.spaces.Dict):
        if not space.spaces:
            raise RunError(f"{where}, observation: is a dictionary without parts, expected at least one.")
        observation = Dict.of({key: _leaf(part, f"{where}, observation {key}") for key, part in space.spaces.items()})
    else:
        observation = _leaf(space, f"{where}, observation")
    if not isinstance(env.action_space, gym.spaces.Box | gym.spaces.Discrete):
        raise RunError(
            f"{where}, action: {short(env.action_space)} is not supported, expected Box or Discrete. Make one Box or "
            "one Discrete of it in a wrapper, and register that under an id of its own."
        )
    action = _leaf(env.action_space, f"{where}, action")
    if isinstance(action, Image):
        raise RunError(f"{where}, action: a picture is no action.")
    return Spaces(observation, action)


def notes_of(env: gym.Env[Any, Any], spaces: Spaces) -> list[str]:
    """What a person should know of how observations of `env` are kept, as `spaces_of` gave them: cameras that are left
    out, first of all."""
    left_out: dict[str, gym.Space[Any]] = env.get_wrapper_attr("left_out") if env.has_wrapper_attr("left_out") else {}
    notes = []
    pictures = sorted(name for name, space in left_out.items() if _is_picture(space))
    if pictures:
        notes.append(f"pictures that are not recorded: {', '.join(pictures)}; the observation key keeps one part alone")
    if others := sorted(set(left_out) - set(pictures)):
        notes.append(f"not recorded: {', '.join(others)}; the observation key keeps one part alone")
    for name, leaf in observation_columns(spaces.observation).items():
        shape = _part(env, name).shape or ()
        if isinstance(leaf, Image) and shape != leaf.shape:
            notes.append(f"{name}: pictures come channels first, {shape}; kept as {leaf.shape}")
        elif isinstance(leaf, Box) and len(shape) > 1 and math.prod(shape) >= 1024:
            notes.append(
                f"{name}: {math.prod(shape):,} numbers, taken as a vector; pictures are uint8 (height, width, channels)"
            )
    return notes


def episode_of(recorded: RecordedEpisode, spaces: Spaces, *, source: str) -> Episode:
    """A recorded episode as the writer of a dataset of `spaces` takes it. `source` says where it comes from: a seed, or
    who gathered it."""
    found = recorded.observation
    columns = observation_columns(spaces.observation)
    observation: Any
    if isinstance(found, dict):
        observation = {key: _rows(part, columns.get(f"observation.{key}")) for key, part in found.items()}
    else:
        observation = _rows(found, columns.get("observation"))
    return Episode(
        observation=observation,
        action=recorded.action,
        reward=recorded.reward,
        terminated=recorded.terminated.astype(np.uint8),
        truncated=recorded.truncated.astype(np.uint8),
        source=source,
        success=recorded.success,
    )


def short(space: gym.Space[Any]) -> str:
    """A space in a message: those of text, and of many parts, are long."""
    text = str(space)
    return text if len(text) <= 100 else f"{text[:100]}…"


def _rows(rows: Any, leaf: Leaf | None) -> Any:
    return channels_last(rows, leaf.shape) if isinstance(leaf, Image) else rows


def _leaf(space: gym.Space[Any], where: str) -> Box | Discrete | Image:
    match space:
        case gym.spaces.Discrete():
            return Discrete(int(space.n), int(space.start))
        case gym.spaces.MultiBinary():
            return box(space.shape, np.int8, 0, 1)
        case gym.spaces.Box():
            shape = picture_shape(space.shape, space.dtype, smallest=SMALLEST_PICTURE)
            return Image(shape) if shape else box(space.shape, space.dtype, space.low, space.high)
        case _:
            raise RunError(
                f"{where}: {short(space)} cannot be recorded; expected Box, Discrete, MultiDiscrete, MultiBinary, or "
                "dictionaries and tuples of those. Of a dictionary, --observation-key keeps one part alone."
            )


def _is_picture(space: gym.Space[Any]) -> bool:
    return isinstance(space, gym.spaces.Box) and picture_shape(space.shape, space.dtype) is not None


def _part(env: gym.Env[Any, Any], name: str) -> gym.Space[Any]:
    """The space of a column."""
    space = env.observation_space
    return space[name.removeprefix("observation.")] if isinstance(space, gym.spaces.Dict) else space
