"""Environments side by side: each way gives the same episodes, and what cannot be is refused."""

import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from envs import EnvError, EnvSpec, Rollout, make_vector

CART = EnvSpec("CartPole-v1", {"max_episode_steps": 30})


def right(observation, state, first):
    return np.ones(len(observation), np.int64), state


@pytest.mark.parametrize(("vectorization", "kind"), [("sync", SyncVectorEnv), ("async", AsyncVectorEnv)])
def test_resets_are_left_to_the_rollout(vectorization, kind):
    vector = make_vector(CART, 2, vectorization)
    try:
        assert type(vector) is kind
        assert vector.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    finally:
        vector.close()


def test_processes_give_the_episodes_that_one_process_gives():
    found = []
    for vectorization in ("sync", "async"):
        with Rollout(CART, seed=3, vector=lambda way=vectorization: make_vector(CART, 2, way)) as rollout:
            found.append(rollout.run(right, 40))
    assert len(found[0]) == len(found[1]) > 2
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one.observation, other.observation)


def test_a_native_vector_environment_is_stepped_in_its_own_mode():
    spec = EnvSpec("CartPole-v1")
    with Rollout(spec, seed=3, vector=lambda: make_vector(spec, 3, "native")) as rollout:
        episodes = rollout.run(right, 40)
    assert episodes
    for episode in episodes:
        # The pole falls; each observation is one step after the last, and no reset is among them.
        assert episode.terminated[-1]
        assert len(episode.observation) == len(episode) + 1
        positions, velocities = episode.observation[:, 0], episode.observation[:, 1]
        np.testing.assert_allclose(positions[1:], positions[:-1] + 0.02 * velocities[:-1], atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "vectorization", "message"),
    [
        (CART, "parallel", r"found 'parallel', expected one of sync, async, native"),
        (EnvSpec("Pendulum-v1"), "native", r"environment Pendulum-v1.*no native vector environment"),
        (EnvSpec("CartPole-v1", reset_options={"low": 0.0}), "native", r"is taken as it is"),
    ],
)
def test_what_cannot_be_is_refused(spec, vectorization, message):
    with pytest.raises(EnvError, match=message):
        make_vector(spec, 2, vectorization)
