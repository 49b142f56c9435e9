"""Recording episodes one after the other, each from a seed of its own."""

from __future__ import annotations

import math
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import gymnasium as gym
import numpy as np

from envs.episode import RecordedEpisode, Recording
from envs.errors import EnvError
from envs.evaluate import MAX_STEPS, Progress, as_actions, endless, told_success
from envs.make import make
from envs.policies import Policy
from envs.spec import EnvSpec

_PACKAGES = ("numpy", "gymnasium", "gymnasium_robotics", "ogbench", "mujoco")
_POLICY_STREAM = 1


def collect(
    spec: EnvSpec,
    policy: Policy,
    *,
    episodes: int,
    seed: int,
    progress: Progress | None = None,
    max_steps: int = MAX_STEPS,
) -> Iterator[RecordedEpisode]:
    """Records episodes 0, 1, …, each whole before it is yielded; episode i is a function of `seed + i` alone.

    They are recorded in `policy.prepare(spec)`. Raises `EnvError` at once for a bad spec or policy;
    later for an episode longer than `max_steps` and for a reward that is not finite.
    """
    if episodes < 1:
        raise EnvError(f"episodes: found {episodes}, expected at least 1.")
    spec = policy.prepare(spec)
    env = make(spec)
    try:
        # Refuses here what it cannot act in; it draws from a generator of its own.
        policy(env, np.random.default_rng(0))
    except BaseException:
        env.close()
        raise
    return _episodes(env, spec, policy, episodes, seed, progress, max_steps)


def provenance(spec: EnvSpec, policy: Policy, *, episodes: int, seed: int) -> dict[str, Any]:
    """What a dataset's manifest should say of how it was collected, in JSON's types."""
    versions = {name: metadata.version(name) for name in _PACKAGES if name in sys.modules}
    return {
        **policy.description,
        "env": policy.prepare(spec).to_json(),
        "episodes": episodes,
        "seed": seed,
        "versions": {"python": platform.python_version(), **versions},
    }


def _episodes(
    env: gym.Env[Any, Any],
    spec: EnvSpec,
    policy: Policy,
    episodes: int,
    seed: int,
    progress: Progress | None,
    max_steps: int,
) -> Iterator[RecordedEpisode]:
    try:
        for i in range(episodes):
            yield _episode(env, spec, policy, seed + i, max_steps)
            if progress is not None:
                progress(i + 1, episodes)
    finally:
        env.close()


def _episode(env: gym.Env[Any, Any], spec: EnvSpec, policy: Policy, seed: int, max_steps: int) -> RecordedEpisode:
    # The environment is seeded with `seed` itself: the policy's draws must not repeat its stream.
    actor = policy(env, np.random.default_rng([seed, _POLICY_STREAM]))
    options = dict(actor.reset_options) if actor.reset_options is not None else None
    observation, info = env.reset(seed=seed, options=options)
    recording = Recording(observation, seed)
    where = f"environment {spec.id}, seed {seed}"
    terminated = truncated = False
    while not (terminated or truncated):
        if len(recording) == max_steps:
            raise EnvError(endless(spec.id, seed, max_steps))
        action = as_actions(np.asarray(actor.act(observation, info))[None], env.action_space, 1, spec.id)[0]
        observation, reward, terminated, truncated, info = env.step(action)
        if not math.isfinite(reward):
            raise EnvError(
                f"{where}: reward {reward} at step {len(recording) + 1}, expected a finite "
                "number. Look at the environment, and at the action it was given."
            )
        recording.add(action, observation, float(reward), told_success(info, where))
    return recording.finish(terminated=bool(terminated), truncated=bool(truncated))
