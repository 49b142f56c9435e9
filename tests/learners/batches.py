"""Random batches of any spaces, holding what a request asks for."""

from __future__ import annotations

from typing import Any

import numpy as np

from replay.batch import Batch, Request
from replay.spaces import Box, Dict, Discrete, Image, Space, Spaces

STEPS = 5
"""The most steps of an episode."""


def random_batch(spaces: Spaces, request: Request, count: int = 8, sequence: int = 0) -> Batch[Any]:
    """Rewards are in [0, 1]. Every fourth row ends, as a transition or as an episode of 1 to `STEPS` steps."""
    generator = np.random.default_rng(sequence)
    episodes = request.kind == "episodes"
    lead = (count, STEPS) if episodes else (count,)
    ends = np.arange(count) % 4 == 3
    mask, terminated = None, ends
    if episodes:
        length = 1 + np.arange(count) % STEPS
        mask = (np.arange(STEPS) < length[:, None]).astype(np.uint8)
        terminated = ends[:, None] & (np.arange(STEPS) == length[:, None] - 1)
    seen = (*lead, request.history + 1) if request.history else lead
    done = (*lead, request.action_chunk) if request.action_chunk else lead
    reward = generator.uniform(size=lead).astype(np.float32)
    discount = np.float32(0.99) * (1 - terminated).astype(np.float32)
    extras: dict[str, Any] = {
        "return_to_go": generator.uniform(0.0, 5.0, lead).astype(np.float32),
        "next_action": sample(spaces.action, lead, generator),
        "has_next_action": 1 - terminated.astype(np.uint8),
    }
    return Batch(
        observation=sample(spaces.observation, seen, generator),
        action=sample(spaces.action, done, generator),
        reward=reward if mask is None else reward * mask,
        discount=discount if mask is None else discount * mask,
        next_observation=sample(spaces.observation, seen, generator),
        terminated=terminated.astype(np.uint8),
        truncated=np.zeros(lead, np.uint8),
        index=np.arange(count),
        mask=mask if not request.action_chunk else first_of(count, request.action_chunk),
        history_mask=first_of(count, request.history + 1)[:, ::-1].copy() if request.history else None,
        next_history_mask=first_of(count, request.history + 1)[:, ::-1].copy() if request.history else None,
        extras={name: extras[name] for name in request.columns},
        goal=None if request.goals is None else sample(spaces.observation, lead, generator),
        task=None if request.tasks is None else np.arange(count) % len(request.tasks.names),
        key=(0, sequence),
    )


def first_of(count: int, length: int) -> np.ndarray:
    """uint8 (count, length): the first 1, 2, … of each row are ones."""
    return (np.arange(length) <= (np.arange(count) % length)[:, None]).astype(np.uint8)


def sample(space: Space, lead: tuple[int, ...], generator: np.random.Generator) -> Any:
    """Elements of a space, (*lead, *shape)."""
    match space:
        case Dict():
            return {name: sample(leaf, lead, generator) for name, leaf in space.items()}
        case Image():
            return generator.integers(0, 256, (*lead, *space.shape), dtype=np.uint8)
        case Discrete():
            return generator.integers(space.start, space.start + space.n, lead)
        case Box() if space.bounded:
            return generator.uniform(space.low, space.high, (*lead, *space.shape)).astype(space.dtype)
        case Box():
            return generator.normal(size=(*lead, *space.shape)).astype(space.dtype)
