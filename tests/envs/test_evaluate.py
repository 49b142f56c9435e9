from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from envs import EnvError, EnvSpec, Evaluator, evaluate
from envs.guard import told_success


def still(observation: Any, state: Any, first: Any) -> tuple[np.ndarray, Any]:
    return np.zeros((len(observation), 1)), None


def countdown_policy(observation: Any, state: Any, first: Any) -> tuple[np.ndarray, Any]:
    """Action: steps left / 10, so that an episode of n steps returns n + (n + … + 1)."""
    return observation[:, :1] / 10.0, None


def test_returns_and_lengths_by_hand(countdown: str) -> None:
    result = evaluate(EnvSpec(countdown), countdown_policy, episodes=4, seed=3, num_envs=2)
    # Seeds 3, 4, 5, 6 last 2 + seed % 3 steps.
    assert result.lengths == (2, 3, 4, 2)
    np.testing.assert_allclose(result.returns, [2 + 3, 3 + 6, 4 + 10, 2 + 3], rtol=1e-6)
    assert result.return_mean == pytest.approx((5 + 9 + 14 + 5) / 4, rel=1e-6)
    assert result.return_std == pytest.approx(np.std([5, 9, 14, 5]), rel=1e-6)
    assert (result.success_rate, result.successes, result.normalized_score) == (None, None, None)
    assert result.discounted_return_mean == result.return_mean  # undiscounted, unless asked
    told = {"episodes", "return_mean", "return_std", "discounted_return_mean", "returns", "lengths"}
    assert set(result.to_json()) == told


def test_discounted_returns_by_hand(countdown: str) -> None:
    spec = EnvSpec(countdown)
    halved = evaluate(spec, countdown_policy, episodes=4, seed=3, num_envs=3, discount=0.5)
    # Rewards 3, 2 for seeds 3 and 6; 4, 3, 2 for seed 4; 5, 4, 3, 2 for seed 5.
    episodes = [3 + 1, 4 + 1.5 + 0.5, 5 + 2 + 0.75 + 0.25, 3 + 1]
    assert halved.discounted_return_mean == pytest.approx(sum(episodes) / 4, rel=1e-6)
    np.testing.assert_allclose(halved.returns, [5, 9, 14, 5], rtol=1e-6)
    first = evaluate(spec, countdown_policy, episodes=4, seed=3, discount=0.0)
    assert first.discounted_return_mean == pytest.approx((3 + 4 + 5 + 3) / 4, rel=1e-6)


def test_any_number_of_environments_gives_the_same() -> None:
    spec = EnvSpec("Pendulum-v1", kwargs={"max_episode_steps": 30})

    def swing(observation: Any, state: Any, first: Any) -> tuple[np.ndarray, Any]:
        return 2.0 * observation[:, 2:] * np.sign(observation[:, :1]), None

    one = evaluate(spec, swing, episodes=7, seed=11, num_envs=1)
    assert len(set(one.returns)) == 7
    for num_envs in (2, 3, 7, 10):
        assert evaluate(spec, swing, episodes=7, seed=11, num_envs=num_envs) == one
    # Episode i is that of seed + i, whatever else is evaluated.
    assert evaluate(spec, swing, episodes=2, seed=14, num_envs=5).returns == one.returns[3:5]


def test_the_policy_always_sees_num_envs_rows_and_a_new_state_per_wave(countdown: str) -> None:
    seen: list[tuple[tuple[int, ...], int]] = []

    def counting(observation: Any, state: Any, first: Any) -> tuple[np.ndarray, Any]:
        state = 0 if state is None else state
        seen.append((observation.shape, state))
        return np.zeros((len(observation), 1)), state + 1

    evaluate(EnvSpec(countdown), counting, episodes=3, seed=0, num_envs=2)
    # Seeds 0 and 1 last 2 and 3 steps; then seed 2, of 4 steps, alone.
    assert seen == [((2, 2), t) for t in (0, 1, 2, 0, 1, 2, 3)]


@pytest.mark.parametrize("value", ["no", "False", 0.5, float("nan"), None, [True, False], 2])
def test_success_is_a_flag_or_refused(value: object) -> None:
    with pytest.raises(EnvError, match=r"env X: info\['is_success'\] is .*, expected one boolean, 0 or 1"):
        told_success({"is_success": value}, "env X")


@pytest.mark.parametrize("value", [True, np.True_, 1, 1.0, np.array([1.0]), np.float32(1)])
def test_success_as_environments_tell_it(value: object) -> None:
    assert told_success({"success": value}, "env X") is True
    assert told_success({}, "env X") is None


def test_success_at_any_step_counts(countdown: str) -> None:
    for name in ("success", "is_success"):
        result = evaluate(EnvSpec(countdown, kwargs={"tells": name}), still, episodes=3, seed=0, num_envs=2)
        assert result.success_rate == 1.0
        assert result.successes == (True, True, True)
    some = evaluate(EnvSpec(countdown, kwargs={"tells": "success", "odd_only": True}), still, episodes=5, seed=0)
    assert some.successes == (False, True, False, True, False)
    assert some.success_rate == 0.4
    assert some.to_json()["success_rate"] == 0.4


def test_normalized_score(countdown: str) -> None:
    # Doing nothing returns the length: 2, 3 and 4 for seeds 0, 1 and 2.
    spec = EnvSpec(countdown)
    result = evaluate(spec, still, episodes=3, seed=0, reference_scores=(1.0, 5.0))
    assert result.normalized_score == 50.0
    with pytest.raises(EnvError, match="reference scores"):
        evaluate(spec, still, episodes=3, seed=0, reference_scores=(1.0, 1.0))


def test_the_time_limit_truncates(countdown: str) -> None:
    spec = EnvSpec(countdown, kwargs={"endless": True, "max_episode_steps": 5})
    assert evaluate(spec, still, episodes=2, seed=0).lengths == (5, 5)


def test_an_environment_without_end_is_refused(countdown: str) -> None:
    with pytest.raises(EnvError, match=r"seed 8: no end after 50 steps.*max_episode_steps"):
        evaluate(EnvSpec(countdown, kwargs={"endless": True}), still, episodes=1, seed=8, max_steps=50)


def test_actions_are_clipped_and_their_shape_is_checked(countdown: str) -> None:
    def large(observation: Any, state: Any, first: Any) -> tuple[np.ndarray, Any]:
        return np.full((len(observation), 1), 9.0), None

    def wrong(observation: Any, state: Any, first: Any) -> tuple[np.ndarray, Any]:
        return np.zeros((len(observation), 3)), None

    assert evaluate(EnvSpec(countdown), large, episodes=1, seed=0).returns == (2 * 11.0,)
    with pytest.raises(EnvError, match=r"gave actions \(10, 3\), expected \(10, 1\)"):
        evaluate(EnvSpec(countdown), wrong, episodes=1, seed=0)


def test_discrete_actions() -> None:
    def left(observation: Any, state: Any, first: Any) -> tuple[np.ndarray, Any]:
        return np.zeros(len(observation)), None

    result = evaluate(EnvSpec("CartPole-v1"), left, episodes=3, seed=0, num_envs=2)
    assert result.returns == result.lengths
    assert all(7 < length < 12 for length in result.lengths)  # pushed one way, the pole falls at once


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.full((10, 1), np.nan), r"gave nan in its actions, expected finite numbers; the environment was not given"),
        (np.full((10, 1), np.inf), r"gave inf in its actions"),
        (None, r"the policy gave None, expected an array of numbers"),
        ("left", r"the policy gave 'left', expected an array of numbers"),
        ([[0.0], [0.0, 1.0]], r"the policy gave \[\[0\.0\], \[0\.0, 1\.0\]\], expected an array of numbers"),
        (np.zeros((10, 1), complex), r"the policy gave an array \(10, 1\) of complex128, expected an array of numbers"),
    ],
)
def test_what_is_no_action_does_not_reach_the_environment(countdown: str, actions: Any, message: str) -> None:
    with pytest.raises(EnvError, match=f"environment {countdown}: .*{message}"):
        evaluate(EnvSpec(countdown), lambda observation, state, first: (actions, None), episodes=2, seed=3)


@pytest.mark.parametrize("action", [2, -1, 0.5])
def test_a_discrete_action_is_one_of_those_that_there_are(action: float) -> None:
    with pytest.raises(EnvError, match=rf"gave the action {action}.*, expected a whole number from 0 to 1"):
        evaluate(EnvSpec("CartPole-v1"), lambda o, s, f: (np.full(10, action), None), episodes=1, seed=0)


def test_a_policy_answers_with_actions_and_its_state(countdown: str) -> None:
    with pytest.raises(EnvError, match=r"the policy gave an array \(10, 1\) of float64, expected a pair"):
        evaluate(EnvSpec(countdown), lambda o, s, f: np.zeros((10, 1)), episodes=1, seed=0)  # type: ignore[arg-type,return-value]


def test_dictionary_observations_arrive_part_by_part(countdown: str) -> None:
    def act(observation: Any, state: Any, first: Any) -> tuple[np.ndarray, Any]:
        assert observation["joints"].shape == observation["goal"].shape == (4, 2)
        return (observation["joints"] + observation["goal"])[:, :1] + 0.5, None

    result = evaluate(EnvSpec(countdown, kwargs={"dictionary": True}), act, episodes=1, seed=0, num_envs=4)
    assert result.returns == (12.0,)


def test_an_evaluator_forgets_what_it_evaluated_before() -> None:
    spec = EnvSpec("pointmaze-medium-singletask-task1-v0", kwargs={"max_episode_steps": 40})
    rng = np.random.default_rng(0)

    def act(observation: Any, state: Any, first: Any) -> tuple[np.ndarray, Any]:
        return np.cos(observation + np.arange(2)), None

    positions: list[np.ndarray] = []

    def watched(observation: Any, state: Any, first: Any) -> tuple[np.ndarray, Any]:
        positions.append(observation[:2].copy())
        return act(observation, state, first)

    def trace(evaluator: Evaluator) -> np.ndarray:
        positions.clear()
        evaluator.run(watched, episodes=2, seed=5)
        return np.stack(positions)

    with Evaluator(spec, num_envs=2) as evaluator, Evaluator(spec, num_envs=3) as other:
        first = trace(evaluator)
        evaluator.run(lambda o, s, f: (rng.uniform(-1, 1, (2, 2)), None), episodes=3, seed=90)
        np.testing.assert_array_equal(trace(evaluator), first)
        np.testing.assert_array_equal(trace(other), first)


@pytest.mark.slow
def test_an_arm_is_scored_the_same_by_any_number_of_environments() -> None:
    """Its reset takes unseeded random actions, unless `make` sees to it."""
    spec = EnvSpec("cube-single-play-singletask-task2-v0", kwargs={"max_episode_steps": 60})
    seen: dict[int, list[np.ndarray]] = {1: [], 3: []}

    for num_envs, rows in seen.items():

        def down(observation: Any, state: Any, first: Any, rows: list[np.ndarray] = rows) -> tuple[np.ndarray, Any]:
            rows.extend(observation.copy())
            return np.tile([0.3, 0.1, -0.6, 0.2, 0.4], (len(observation), 1)) * np.cos(observation[:, :5]), None

        evaluate(spec, down, episodes=3, seed=2, num_envs=num_envs)
    one = np.array(seen[1]).reshape(3, 60, -1)
    three = np.array(seen[3]).reshape(60, 3, -1).swapaxes(0, 1)
    np.testing.assert_array_equal(one, three)


def test_progress_counts_episodes(countdown: str) -> None:
    calls: list[tuple[int, int]] = []
    evaluate(
        EnvSpec(countdown),
        still,
        episodes=3,
        seed=0,
        num_envs=2,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"episodes": 0}, r"episodes: found 0, expected a whole number, 1 to 1,000,000,000"),
        ({"episodes": -3}, "episodes: found -3"),
        ({"episodes": 10**400}, "episodes: found .* expected a whole number"),
        ({"episodes": True}, "episodes: found True"),
        ({"episodes": 2.0}, r"episodes: found 2\.0"),
        ({"episodes": np.nan}, "episodes: found nan"),
        ({"seed": -1}, r"seed: found -1, expected a whole number, 0 to 4,294,967,295"),
        ({"seed": 2**32 - 1, "episodes": 2}, r"seed: found 4294967295, expected a whole number, 0 to 4,294,967,294"),
        ({"seed": None}, "seed: found None"),
        ({"discount": -0.1}, r"discount: found -0\.1, expected a number in \[0, 1\]"),
        ({"discount": 1.1}, r"discount: found 1\.1"),
        ({"discount": np.nan}, "discount: found nan"),
        ({"discount": "0.9"}, r"discount: found '0\.9'"),
        ({"num_envs": 0}, "num_envs: found 0, expected a whole number, 1 to 65,536"),
        ({"num_envs": 10**6}, "num_envs: found 1000000"),
        ({"max_steps": 0}, "max_steps: found 0"),
        ({"reference_scores": (1.0, 1.0)}, r"reference scores: found \(1\.0, 1\.0\), expected \(lowest, highest\)"),
        ({"reference_scores": (0.0, np.inf)}, "reference scores: found"),
        ({"reference_scores": (0.0,)}, "reference scores: found"),
    ],
)
def test_nonsense_is_refused(countdown: str, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(EnvError, match=message):
        evaluate(EnvSpec(countdown), still, **{"episodes": 1, "seed": 0, **asked})
