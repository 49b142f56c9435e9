"""Chunks of actions by hand: losses over the steps that there are, and chunks played out one action after the other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import learners
from learners.errors import LearnerError
from replay.batch import Batch
from replay.spaces import Box, Discrete, Spaces
from tests.learners.batches import random_batch

SPACES = Spaces(Box((1,)), Box((1,), low=(-1.0,), high=(1.0,)))
PAIRS = Spaces(Box((3,)), Box((2,), low=(-2.0, 0.0), high=(2.0, 1.0)))
DISCOUNT = 0.5
PLAIN: dict[str, Any] = {"hidden": (), "policy_std": 1.0, "normalise_observation": False}

# Chunks of three actions. An episode of many steps; one that is truncated after the first action of the chunk; one that
# terminates with the second. What stands in the place of actions that do not exist must never count.
ACTIONS = np.array([[0.5, -0.5, 1.0], [0.4, 9.0, 9.0], [-0.2, 0.6, 9.0]], np.float32)[..., None]
MASK = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0]], np.uint8)
REWARDS = [[1.0, 2.0, 4.0], [3.0], [1.0, 6.0]]
SUMS = np.array([1 + 2 * DISCOUNT + 4 * DISCOUNT**2, 3, 1 + 6 * DISCOUNT], np.float32)
FACTORS = np.array([DISCOUNT**3, DISCOUNT, 0.0], np.float32)


def batch() -> Batch[Any]:
    return Batch(
        observation=np.zeros((3, 1), np.float32),
        action=ACTIONS,
        reward=SUMS,
        discount=FACTORS,
        next_observation=np.ones((3, 1), np.float32),
        terminated=np.array([0, 0, 1], np.uint8),
        truncated=np.array([0, 1, 0], np.uint8),
        index=np.arange(3),
        mask=MASK,
    )


@torch.no_grad()
def fill(module: torch.nn.Module, weight: list[float], bias: float) -> None:
    """A linear function, of every member and every output."""
    named = dict(module.named_parameters())
    for name, parameter in named.items():
        if name.startswith("net.weights") or name.endswith("weight"):
            values = torch.tensor(weight)
            parameter.copy_(values[:, None] if parameter.dim() == 3 else values)
        elif name.startswith("net.biases") or name.endswith("bias"):
            parameter.fill_(bias)


# --- Behaviour cloning ---


def test_cloning_sums_the_log_likelihood_of_the_actions_that_there_are() -> None:
    bc = learners.create("bc", SPACES, action_chunk=3, **PLAIN)
    fill(bc.policy, [0.0], 0.0)
    _, metrics = bc.losses(bc._loss_inputs(batch(), {}))
    half = 0.5 * math.log(2 * math.pi)
    expected = [0.5 * (0.25 + 0.25 + 1) + 3 * half, 0.5 * 0.16 + half, 0.5 * (0.04 + 0.36) + 2 * half]
    assert metrics["policy_loss"].item() == pytest.approx(np.mean(expected))


def test_cloning_with_squared_errors_counts_each_action_the_same() -> None:
    bc = learners.create("bc", SPACES, action_chunk=3, loss="mse", hidden=(), normalise_observation=False)
    fill(bc.policy, [0.0], 0.0)
    _, metrics = bc.losses(bc._loss_inputs(batch(), {}))
    assert metrics["policy_loss"].item() == pytest.approx((1.5 + 0.16 + 0.4) / 9)


def test_what_stands_in_the_place_of_missing_actions_never_counts() -> None:
    for name in ("bc", "iql"):
        ours, theirs = (learners.create(name, SPACES, action_chunk=3, hidden=(8,), seed=1) for _ in range(2))
        other = batch()
        other.action[MASK == 0] = -0.7
        ours.update(batch())
        theirs.update(other)
        for key, value in ours.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[key]), key


# --- IQL ---


def test_the_critic_judges_the_whole_chunk_and_bootstraps_behind_it() -> None:
    iql = learners.create("iql", SPACES, action_chunk=3, expectile=0.9, temperature=0.5, discount=DISCOUNT, **PLAIN)
    # V(s) = 2 + 8 s, and Q the sum of the chunk's actions, of which those that do not exist are 0.
    fill(iql.value, [8.0], 2.0)
    for critic in (iql.critic, iql.target_critic):
        fill(critic, [0.0, 1.0, 1.0, 1.0], 0.0)
    fill(iql.policy, [0.0], 0.0)
    # The sum of rewards, and V(s' = 1) = 10 after three steps, after one, and after a terminal one not at all.
    labels = iql.targets(batch())
    expected = np.array([3.0 + 10 / 8, 3 + 10 / 2, 4.0])
    np.testing.assert_allclose(labels["q"], expected, rtol=1e-6)

    _, metrics = iql.losses(iql._loss_inputs(batch(), labels))
    q = np.array([1.0, 0.4, 0.4])
    advantage = q - 2.0
    assert metrics["critic_loss"].item() == pytest.approx((2 * (q - expected) ** 2).mean(), rel=1e-5)
    assert metrics["value_loss"].item() == pytest.approx((0.1 * advantage**2).mean(), rel=1e-5)
    half = 0.5 * math.log(2 * math.pi)
    log_prob = -np.array([0.75 + 3 * half, 0.08 + half, 0.2 + 2 * half])
    assert metrics["policy_loss"].item() == pytest.approx(-(np.exp(0.5 * advantage) * log_prob).mean(), rel=1e-5)


@pytest.mark.parametrize("name", ["bc", "iql"])
def test_chunks_of_one_action_are_no_chunks(name: str) -> None:
    single, chunked = (learners.create(name, PAIRS, action_chunk=chunk, hidden=(8, 8)) for chunk in (0, 1))
    for sequence in range(3):
        found = random_batch(PAIRS, single.requires, 8, sequence)
        single.update(found)
        columns = dict(found.columns())
        columns |= {"action": columns["action"][:, None], "mask": np.ones((8, 1), np.uint8)}
        chunked.update(Batch.of(columns, found.key))
    for key, value in single.state_dict().items():
        assert torch.equal(value, chunked.state_dict()[key]), key


# --- Acting ---


def decided(algorithm: Any, observation: np.ndarray) -> np.ndarray:
    """The chunk (B, 3, 2) that the policy decides there, in the environment's units."""
    with torch.no_grad():
        found = algorithm.policy_action(algorithm.normaliser.observation(torch.from_numpy(observation)), None)
    return algorithm.normaliser.environment_action(found.view(-1, 3, 2)).numpy()


@pytest.mark.parametrize("name", ["bc", "iql"])
def test_a_chunk_is_played_out_whatever_is_observed_in_its_course(name: str) -> None:
    algorithm = learners.create(name, PAIRS, action_chunk=3, hidden=(8,))
    seen = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
    state, played = None, []
    for step, observation in enumerate(seen):
        action, state = algorithm.act(observation, state, np.array([step == 0, step in (0, 2)]))
        played.append(action)
    first, begun_anew, second = (decided(algorithm, seen[step]) for step in (0, 2, 3))
    expected = [
        first[:, 0],
        first[:, 1],
        [first[0, 2], begun_anew[1, 0]],
        [second[0, 0], begun_anew[1, 1]],
        [second[0, 1], begun_anew[1, 2]],
    ]
    np.testing.assert_allclose(played, expected, atol=1e-6)


def test_one_observation_without_a_batch_is_played_out_too() -> None:
    algorithm = learners.create("bc", PAIRS, action_chunk=3, hidden=(8,))
    observation = np.ones(3, np.float32)
    state, played = None, []
    for step in range(4):
        action, state = algorithm.act(observation * step, state, step == 0)
        assert action.shape == (2,)
        played.append(action)
    expected = [*decided(algorithm, np.zeros((1, 3), np.float32))[0], decided(algorithm, 3 * observation[None])[0, 0]]
    np.testing.assert_allclose(played, expected, atol=1e-6)


def test_a_drawn_chunk_has_the_noise_of_the_call_that_decided_it() -> None:
    algorithm = learners.create("bc", PAIRS, action_chunk=3, hidden=(8,), policy_std=0.5)
    observation, state, played = np.zeros((4, 3), np.float32), None, []
    for step in range(6):
        action, state = algorithm.act(observation, state, key=(0, step), deterministic=False)
        played.append(action)
    again, state = algorithm.act(observation, None, key=(0, 0), deterministic=False)
    np.testing.assert_array_equal(again, played[0])
    for step in (1, 2):
        again, state = algorithm.act(observation, state, key=(9, 9), deterministic=False)
        np.testing.assert_array_equal(again, played[step])
    # Each action of a chunk, each row and the next chunk have noise of their own.
    assert len({tuple(row) for action in played for row in action.tolist()}) == 24
    with pytest.raises(LearnerError, match="needs key"):
        algorithm.act(observation, state, deterministic=False)


def test_policies_that_remember_nothing_hand_the_state_back() -> None:
    algorithm = learners.create("bc", PAIRS, hidden=(8,))
    observation = np.zeros((2, 3), np.float32)
    action, state = algorithm.act(observation, None, np.array([True, True]))
    assert state is None
    np.testing.assert_array_equal(algorithm.act(observation)[0], action)


# --- Refusals ---


@pytest.mark.parametrize("name", ["bc", "iql"])
def test_what_chunks_are_not_for_is_refused(name: str) -> None:
    with pytest.raises(LearnerError, match=r"action_chunk: found 3 with Discrete\(n=4.*expected continuous"):
        learners.create(name, Spaces(Box((3,)), Discrete(4)), action_chunk=3)
    algorithm = learners.create(name, SPACES, action_chunk=3)
    whole = dict(batch().columns())
    with pytest.raises(LearnerError, match=r"batch.action: found shape \(3, 1\), expected shape \(3, 3, 1\)"):
        algorithm.update(Batch.of(whole | {"action": whole["action"][:, 0]}))
    with pytest.raises(LearnerError, match=r"batch.mask: found .*, expected shape \(3, 3\)"):
        algorithm.update(Batch.of({name: array for name, array in whole.items() if name != "mask"}))


def test_rewards_are_summed_over_the_steps_of_a_chunk_and_no_others() -> None:
    with pytest.raises(LearnerError, match="n_step: found 2 with action_chunk 3"):
        learners.create("iql", PAIRS, action_chunk=3, n_step=2)
    learners.create("iql", PAIRS, action_chunk=3, n_step=3, hidden=())


def test_only_those_that_plan_chunks_offer_the_knob() -> None:
    with pytest.raises(LearnerError, match="unknown knob 'action_chunk'"):
        learners.create("cql", PAIRS, action_chunk=3)
