"""Recording episodes one after the other, each from a seed of its own."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any

import gymnasium as gym
import numpy as np

from envs.actions import as_action
from envs.episode import RecordedEpisode, Recording
from envs.errors import MOST_EPISODES, MOST_STEPS, EnvError, seeds, whole
from envs.evaluate import MAX_STEPS, Progress, endless
from envs.guard import told_success
from envs.make import make
from envs.policies import Policy
from envs.spec import EnvSpec
from envs.watch import Patience, Watch
from envs.watcher import CONSTRUCTION, RESET

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
    patience: Patience | None = None,
    cleaning_up: Callable[[], None] | None = None,
) -> Iterator[RecordedEpisode]:
    """Records episodes 0, 1, …, each whole before it is yielded; episode i is a function of `seed + i` alone.

    They are recorded in `policy.prepare(spec)`. Raises `EnvError` at once for a bad spec or policy, and for seeds below
    0 or above 2³² - 1; later for an episode longer than `max_steps` and for actions that are none of the environment's,
    and `EnvFailedError` for an environment that raises, or gives what is no observation, reward, end or info, NaN
    included. With `patience`, a call of the environment that takes longer raises `EnvStalledError`; where only the
    end of the process ends it, `cleaning_up` is called before.
    """
    whole("episodes", episodes, 1, MOST_EPISODES)
    whole("max_steps", max_steps, 1, MOST_STEPS)
    seeds(seed, episodes)
    spec = policy.prepare(spec)
    watch = Watch(patience, cleaning_up)
    try:
        with watch:
            watch.begin(f"environment {spec.id}", CONSTRUCTION)
            env = make(spec, finite=True)
    except BaseException:
        watch.close()
        raise
    try:
        # Refuses here what it cannot act in; it draws from a generator of its own.
        policy(env, np.random.default_rng(0))
    except BaseException:
        env.close()
        watch.close()
        raise
    return _episodes(env, spec, policy, episodes, seed, progress, max_steps, watch)


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
    watch: Watch,
) -> Iterator[RecordedEpisode]:
    try:
        for i in range(episodes):
            with watch:
                episode = _episode(env, spec, policy, seed + i, max_steps, watch)
            yield episode
            if progress is not None:
                progress(i + 1, episodes)
    finally:
        env.close()
        watch.close()


def _episode(
    env: gym.Env[Any, Any], spec: EnvSpec, policy: Policy, seed: int, max_steps: int, watch: Watch
) -> RecordedEpisode:
    # The environment is seeded with `seed` itself: the policy's draws must not repeat its stream.
    actor = policy(env, np.random.default_rng([seed, _POLICY_STREAM]))
    options = dict(actor.reset_options) if actor.reset_options is not None else None
    where = f"environment {spec.id}, seed {seed}"
    watch.begin(where, RESET)
    observation, info = env.reset(seed=seed, options=options)
    watch.end()
    recording = Recording(observation, seed)
    terminated = truncated = False
    while not (terminated or truncated):
        if len(recording) == max_steps:
            raise EnvError(endless(spec.id, seed, max_steps))
        action = as_action(actor.act(observation, info), env.action_space, spec.id)
        watch.begin(where, len(recording) + 1)
        observation, reward, terminated, truncated, info = env.step(action)
        watch.end()
        recording.add(action, observation, float(reward), told_success(info, where))
    return recording.finish(terminated=terminated, truncated=truncated)
