"""Whether a policy and an environment fit: what one observes and does is what the other shows and takes."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from cluster.errors import RunError
from cluster.recording import short
from replay.spaces import Box, Discrete, Image, Leaf, Spaces, observation_columns

OBSERVATION = "observation"


def check_fit(observes: gym.Space[Any], acts: gym.Space[Any], spaces: Spaces, id: str) -> list[str]:
    """Raises `RunError`, naming both, unless a policy of data with these spaces can act in the environment `id`, which
    observes and acts in those; gives what is worth a warning.

    The parts of an observation have the same names, shapes and kinds, and choices are the same ones. Numbers may be of
    another type, as learners take all as float32; but bytes and floating point are never taken for each other: one may
    be pixels up to 255, and the other up to 1. The environment takes every action of the policy. That it takes others
    too, or has other bounds, is a warning: actions are in the environment's units in data and environment alike, and
    bounds that a reader took from a log are narrower than those of where it was recorded.
    """
    ours = observation_columns(spaces.observation)
    theirs = (
        {f"{OBSERVATION}.{key}": part for key, part in observes.spaces.items()}
        if isinstance(observes, gym.spaces.Dict)
        else {OBSERVATION: observes}
    )
    differing = [name for name in {**ours, **theirs} if name not in ours or not _shows(theirs.get(name), ours[name])]
    if differing:
        raise RunError(
            f"--env {id}: observes {_listed(theirs, differing)}, the data holds {_listed(ours, differing)}. Where the "
            "data kept one key of a dictionary, name it with --observation-key; else name the environment that the "
            "data is from."
        )
    action = spaces.action
    if not _takes(acts, action):
        raise RunError(
            f"--env {id}: takes actions {_described(acts)}, the data holds {_described(action)}. Name the environment "
            "that the data is from."
        )
    return _warnings(acts, action, id)


def _shows(space: gym.Space[Any] | None, leaf: Leaf) -> bool:
    """Whether what an environment shows under this space is what the data holds."""
    if isinstance(space, gym.spaces.Discrete):
        if isinstance(leaf, Discrete):
            return (int(space.n), int(space.start)) == (leaf.n, leaf.start)
        # A log without declared spaces holds the numbers of choices as integers, and policies learned from those.
        return isinstance(leaf, Box) and leaf.shape == () and np.dtype(leaf.dtype).kind in "iu"
    if not isinstance(space, gym.spaces.Box | gym.spaces.MultiBinary) or isinstance(leaf, Discrete):
        return False
    shape, dtype = tuple(space.shape), np.dtype(space.dtype)
    if isinstance(leaf, Image):
        height, width, channels = leaf.shape
        return dtype == np.uint8 and shape in (leaf.shape, (channels, height, width))
    mixed = np.dtype(leaf.dtype).kind == "f" if dtype == np.uint8 else leaf.dtype == "uint8" and dtype.kind == "f"
    return shape == tuple(leaf.shape) and not mixed


def _takes(space: gym.Space[Any], action: Box | Discrete) -> bool:
    """Whether every action of a policy is one of the environment's."""
    if isinstance(action, Discrete):
        return (
            isinstance(space, gym.spaces.Discrete)
            and int(space.start) <= action.start
            and action.start + action.n <= int(space.start + space.n)
        )
    return isinstance(space, gym.spaces.Box) and tuple(space.shape) == tuple(action.shape)


def _warnings(space: gym.Space[Any], action: Box | Discrete, id: str) -> list[str]:
    if isinstance(action, Discrete):
        if (int(space.n), int(space.start)) != (action.n, action.start):  # type: ignore[attr-defined]
            return [
                f"--env {id}: takes actions {_described(space)}, and the policy only those of the data, "
                f"{_described(action)}."
            ]
        return []
    assert isinstance(space, gym.spaces.Box)
    ours = [np.broadcast_to(np.asarray(bound, np.float64), (action.size,)) for bound in (action.low, action.high)]
    theirs = [bound.astype(np.float64).ravel() for bound in (space.low, space.high)]
    known = np.isfinite([*ours, *theirs]).all(axis=0)
    same = all(np.allclose(a[known], b[known], rtol=1e-4, atol=1e-6) for a, b in zip(ours, theirs, strict=True))
    if same:
        return []
    return [
        f"--env {id}: takes actions {_described(space)}, and the policy those of the data, {_described(action)}. That "
        "is right where the data's actions are in the units of this environment."
    ]


def _listed(parts: dict[str, Any], names: list[str]) -> str:
    return ", ".join(f"{name}: {_described(parts[name])}" for name in names if name in parts) or "nothing else"


def _described(space: Any) -> str:
    """A space of ours or of gymnasium's, in the same words."""
    match space:
        case Discrete() | gym.spaces.Discrete():
            return f"Discrete({space.n}) from {space.start}"
        case Image():
            return f"pictures {space.shape}"
        case gym.spaces.Box():
            return f"Box {space.shape} {space.dtype}{_bounds(space.low.ravel(), space.high.ravel())}"
        case Box():
            return f"Box {space.shape} {space.dtype}{_bounds(np.asarray(space.low), np.asarray(space.high))}"
        case _:
            return short(space)


def _bounds(low: np.ndarray, high: np.ndarray) -> str:
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        return ""
    return f" from {low.min():g} to {high.max():g}" if low.size and high.size else ""
