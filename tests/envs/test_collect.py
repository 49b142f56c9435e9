from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from envs import (
    Actor,
    ActPolicy,
    EnvError,
    EnvSpec,
    Perturbed,
    Policy,
    RandomPolicy,
    RecordedEpisode,
    collect,
    provenance,
)


class Constant(Policy):
    """The same action at every step."""

    def __init__(self, action: float) -> None:
        self.action = action

    @property
    def description(self) -> dict[str, Any]:
        return {"collected_by": "scripted", "policy": "constant"}

    def __call__(self, env: gym.Env[Any, Any], rng: np.random.Generator) -> Actor:
        return Actor(lambda observation, info: np.array([self.action]), {"cell": (1, 2)})


def test_an_episode_holds_one_observation_more_than_actions(countdown: str) -> None:
    # Seeds 2 and 3 last 4 and 2 steps; the observation is (steps left, seed).
    first, second = collect(EnvSpec(countdown, kwargs={"tells": "success"}), Constant(0.5), episodes=2, seed=2)
    assert (len(first), len(second)) == (4, 2)
    assert first.observation.tolist() == [[4, 2], [3, 2], [2, 2], [1, 2], [0, 2]]
    assert first.observation.dtype == np.float64
    assert first.action.tolist() == [[0.5]] * 4
    assert first.action.dtype == np.float32
    assert first.reward.tolist() == [6.0] * 4
    assert first.terminated.tolist() == [False, False, False, True]
    assert first.truncated.tolist() == [False] * 4
    assert (first.success, first.seed, second.seed) == (True, 2, 3)


def test_a_time_limit_truncates(countdown: str) -> None:
    spec = EnvSpec(countdown, kwargs={"endless": True, "max_episode_steps": 3})
    (episode,) = collect(spec, Constant(0.0), episodes=1, seed=0)
    assert episode.terminated.tolist() == [False, False, False]
    assert episode.truncated.tolist() == [False, False, True]
    assert episode.success is None
    with pytest.raises(EnvError, match="seed 0: no end after 20 steps"):
        next(collect(EnvSpec(countdown, kwargs={"endless": True}), Constant(0.0), episodes=1, seed=0, max_steps=20))


def test_dictionary_observations_are_recorded_part_by_part(countdown: str) -> None:
    (episode,) = collect(EnvSpec(countdown, kwargs={"dictionary": True}), Constant(0.0), episodes=1, seed=0)
    assert episode.observation["joints"].tolist() == [[2, 0], [1, 0], [0, 0]]
    assert episode.observation["goal"].tolist() == [[-2, 0], [-1, 0], [0, 0]]


def test_actions_are_recorded_as_executed(countdown: str) -> None:
    (episode,) = collect(EnvSpec(countdown), Constant(7.0), episodes=1, seed=0)
    assert episode.action.tolist() == [[1.0], [1.0]]
    assert episode.reward.tolist() == [11.0, 11.0]


def test_an_actor_may_choose_its_reset_and_the_spec_has_the_last_word(countdown: str) -> None:
    asked: list[Any] = []

    class Watching(Constant):
        def __call__(self, env: gym.Env[Any, Any], rng: np.random.Generator) -> Actor:
            def act(observation: Any, info: dict[str, Any]) -> np.ndarray:
                asked.append(env.unwrapped.options)  # type: ignore[attr-defined]
                return np.zeros(1)

            return Actor(act, {"cell": (1, 2), "goal": 5})

    list(collect(EnvSpec(countdown), Watching(0), episodes=1, seed=0))
    assert asked[-1] == {"cell": (1, 2), "goal": 5}
    list(collect(EnvSpec(countdown, reset_options={"goal": 6}), Watching(0), episodes=1, seed=0))
    assert asked[-1] == {"cell": (1, 2), "goal": 6}


def _same(a: RecordedEpisode, b: RecordedEpisode) -> bool:
    return np.array_equal(a.observation, b.observation) and np.array_equal(a.action, b.action)


def test_an_episode_is_a_function_of_its_seed() -> None:
    spec = EnvSpec("Pendulum-v1", kwargs={"max_episode_steps": 20})
    episodes = list(collect(spec, RandomPolicy(), episodes=4, seed=10))
    again = list(collect(spec, RandomPolicy(), episodes=2, seed=12))
    assert _same(episodes[2], again[0])
    assert _same(episodes[3], again[1])
    assert not _same(episodes[0], episodes[1])
    actions = np.concatenate([episode.action for episode in episodes])
    assert actions.min() < -1.5
    assert actions.max() > 1.5  # Pendulum's bounds are -2 and 2


def test_random_actions_need_bounds_or_a_discrete_space() -> None:
    (episode,) = collect(EnvSpec("CartPole-v1"), RandomPolicy(), episodes=1, seed=0)
    assert set(episode.action.tolist()) == {0, 1}
    with pytest.raises(EnvError, match="neither Discrete nor a bounded Box"):
        Perturbed(Constant(0.0), random_probability=0.5)(_Unbounded(), np.random.default_rng(0))


class _Unbounded(gym.Env[Any, Any]):
    action_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)


def test_noise_has_the_standard_deviation_asked_for() -> None:
    spec = EnvSpec("Pendulum-v1", kwargs={"max_episode_steps": 4000})
    (episode,) = collect(spec, Perturbed(Constant(0.5), noise=0.25), episodes=1, seed=0)
    # Bounds of ±2 are six standard deviations away; four standard errors of the mean and of the deviation.
    assert abs(episode.action.mean() - 0.5) < 4 * 0.25 / np.sqrt(4000)
    assert abs(episode.action.std() - 0.25) < 4 * 0.25 / np.sqrt(2 * 4000)


def test_random_segments_have_their_length() -> None:
    spec = EnvSpec("Pendulum-v1", kwargs={"max_episode_steps": 3000})
    policy = Perturbed(Constant(0.5), random_probability=0.02, random_steps=5)
    (episode,) = collect(spec, policy, episodes=1, seed=1)
    random = episode.action[:, 0] != 0.5
    edges = np.flatnonzero(np.diff(np.concatenate([[0], random.astype(int), [0]])))
    lengths = edges[1::2] - edges[::2]
    # Segments may follow each other at once; the last may be cut off.
    assert (lengths[:-1] % 5 == 0).all()
    assert len(lengths) > 20
    assert 0.05 < random.mean() < 0.14  # 0.1 / 1.1 is expected


def test_a_trained_policy_acts_with_batches_of_one_and_keeps_its_state(countdown: str) -> None:
    seen: list[Any] = []

    def act(observation: Any, state: Any, first: Any) -> tuple[np.ndarray, Any]:
        seen.append((observation.tolist(), state, first.tolist()))
        return np.full((1, 1), 0.25), len(seen)

    episodes = list(collect(EnvSpec(countdown), ActPolicy(act, "run-1 step 10"), episodes=2, seed=0))
    assert [episode.action.tolist() for episode in episodes] == [[[0.25]] * 2, [[0.25]] * 3]
    assert seen == [
        ([[2, 0]], None, [True]),
        ([[1, 0]], 1, [False]),
        ([[3, 1]], None, [True]),
        ([[2, 1]], 3, [False]),
        ([[1, 1]], 4, [False]),
    ]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, r"policy run-1: the policy gave None, expected a pair"),
        ((None, None), r"policy run-1: the policy gave None, expected an array of numbers"),
        ((np.zeros((2, 1)), None), r"policy run-1: the policy gave actions \(2, 1\), expected one row"),
        ((np.zeros((1, 2)), None), r"Countdown-v0: the policy gave actions \(2,\), expected \(1,\)"),
        ((np.full((1, 1), np.inf), None), r"Countdown-v0: the policy gave inf in its actions"),
    ],
)
def test_a_trained_policy_answers_with_an_action(countdown: str, answer: Any, message: str) -> None:
    with pytest.raises(EnvError, match=message):
        next(collect(EnvSpec(countdown), ActPolicy(lambda o, s, f: answer, "run-1"), episodes=1, seed=0))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"seed": -1}, "seed: found -1"),
        ({"episodes": 1.5}, "episodes: found 1.5"),
        ({"max_steps": 0}, "max_steps: found 0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(countdown: str, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(EnvError, match=message):
        collect(EnvSpec(countdown), Constant(0.0), **{"episodes": 1, "seed": 0, **asked})


def test_bad_requests_are_refused_before_anything_is_recorded(countdown: str) -> None:
    with pytest.raises(EnvError, match="episodes: found 0"):
        collect(EnvSpec(countdown), Constant(0.0), episodes=0, seed=0)
    with pytest.raises(EnvError, match="unknown"):
        collect(EnvSpec("Nowhere-v0"), Constant(0.0), episodes=1, seed=0)
    with pytest.raises(EnvError, match="no room for Gaussian noise"):
        collect(EnvSpec("CartPole-v1"), Perturbed(RandomPolicy(), noise=0.5), episodes=1, seed=0)
    with pytest.raises(EnvError, match="expected at least 0, a probability"):
        Perturbed(RandomPolicy(), random_probability=1.5)


def test_provenance_says_who_collected_where_and_with_what(countdown: str) -> None:
    found = provenance(EnvSpec(countdown), Perturbed(Constant(0.0), noise=0.5), episodes=3, seed=7)
    assert json.loads(json.dumps(found)) == found
    assert found["versions"]["gymnasium"] == gym.__version__
    del found["versions"]
    assert found == {
        "collected_by": "scripted",
        "policy": "constant",
        "noise": 0.5,
        "random_probability": 0.0,
        "env": {"id": countdown},
        "episodes": 3,
        "seed": 7,
    }


def test_progress_counts_episodes(countdown: str) -> None:
    calls: list[tuple[int, int]] = []
    episodes = collect(
        EnvSpec(countdown), Constant(0.0), episodes=2, seed=0, progress=lambda done, total: calls.append((done, total))
    )
    next(episodes)
    next(episodes)
    assert calls == [(1, 2)]  # an episode counts once the caller has come back for more
    assert next(episodes, None) is None
    assert calls == [(1, 2), (2, 2)]


def test_an_action_that_is_no_number_does_not_reach_the_environment(countdown: str) -> None:
    with pytest.raises(EnvError, match=r"Countdown-v0: the policy gave nan in its actions, expected finite numbers"):
        next(collect(EnvSpec(countdown), Constant(np.nan), episodes=1, seed=2))
