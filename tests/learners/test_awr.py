"""AWR's returns and losses against numbers worked out by hand, and its proof on episodes of the small problem."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import learners
from learners.base.inputs import Inputs
from learners.errors import LearnerError
from learners.losses import per_step, td_lambda_returns
from replay.batch import Batch, Request
from replay.spaces import Box, Dict, Image, Spaces
from tests.learners.batches import random_batch
from tests.learners.constants import constant_, zero_
from tests.learners.tabular import BEST, DISCOUNT, STATES, achieved, narrow_log, step, train

ONES = torch.ones(1, 3)


def returns(td_lambda, discount, mask=ONES):
    reward = torch.tensor([[1.0, 2.0, 4.0]]) * mask
    next_value = torch.tensor([[10.0, 20.0, 30.0]])
    return td_lambda_returns(reward, discount, next_value, mask, td_lambda).tolist()[0]


# --- Returns ---


def test_returns_mix_values_and_returns():
    # 4 + .5·30; 2 + .5·(.5·20 + .5·19); 1 + .5·(.5·10 + .5·11.75)
    assert returns(0.5, 0.5 * ONES) == [6.4375, 11.75, 19.0]


def test_lambda_0_looks_one_step_ahead_and_lambda_1_to_the_end():
    assert returns(0.0, 0.5 * ONES) == [1 + 5.0, 2 + 10.0, 4 + 15.0]
    assert returns(1.0, 0.5 * ONES) == [1 + 1.0 + 1.0 + 0.125 * 30, 2 + 2.0 + 0.25 * 30, 4 + 15.0]


def test_nothing_comes_after_a_terminated_step():
    # 19; 2; 1 + .5·(.5·10 + .5·2)
    assert returns(0.5, torch.tensor([[0.5, 0.0, 0.5]])) == [4.0, 2.0, 19.0]


def test_an_episode_that_is_cut_off_ends_in_the_value_behind_it():
    mask = torch.tensor([[1.0, 1.0, 0.0]])
    # Padding is nothing; 2 + .5·20; 1 + .5·(.5·10 + .5·12)
    assert returns(0.5, 0.5 * mask, mask) == [6.5, 12.0, 0.0]


@pytest.mark.parametrize("steps", [1, 2, 7, 37])
def test_they_are_the_recursions(steps):
    random = np.random.default_rng(steps)
    length = random.integers(1, steps + 1, size=5)
    mask = np.arange(steps) < length[:, None]
    reward, next_value = random.normal(size=(2, 5, steps)) * mask
    discount = 0.9 * mask * (random.random((5, steps)) < 0.9)
    expected = np.zeros((5, steps))
    for row, end in enumerate(length):
        after = next_value[row, end - 1]
        for t in reversed(range(end)):
            mixed = 0.3 * next_value[row, t] + 0.7 * after
            expected[row, t] = after = reward[row, t] + discount[row, t] * mixed
    found = td_lambda_returns(*map(torch.tensor, (reward, discount, next_value, mask.astype(float))), td_lambda=0.7)
    torch.testing.assert_close(found.numpy(), expected)


def test_targets_are_the_returns_of_the_values_behind_each_step(spaces):
    awr = learners.create("awr", spaces, hidden=(4,), td_lambda=0.5)
    constant_(awr.value, 8.0)
    observation, action = np.zeros((1, 2, 3), np.float32), np.zeros((1, 2, 2), np.float32)
    batch = Batch(
        observation=observation,
        action=action,
        reward=np.array([[1.0, 2.0]], np.float32),
        discount=np.array([[0.5, 0.0]], np.float32),
        next_observation=observation,
        terminated=np.array([[0, 1]], np.uint8),
        truncated=np.zeros((1, 2), np.uint8),
        index=np.zeros(1, np.int64),
        mask=np.ones((1, 2), np.uint8),
    )
    # 2; 1 + .5·(.5·8 + .5·2)
    assert awr.targets(batch)["returns"].tolist() == [[3.5, 2.0]]


# --- Losses ---


def test_steps_count_the_same_in_short_and_long_episodes():
    # Two episodes of 3 steps and 1: each loss is divided by the mean length, so that their mean is that of 4 steps.
    loss = torch.tensor([[1.0, 8.0], [2.0, 100.0], [3.0, 100.0]])
    mask = torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    assert per_step(loss, mask, torch.tensor(2.0)).tolist() == [3.0, 4.0]
    assert (3.0 + 4.0) / 2 == (1 + 2 + 3 + 8) / 4


def inputs_of(action, label, mask, weight=None):
    """Episodes in which nothing is seen."""
    return Inputs(
        observation=torch.zeros(*mask.shape, 3),
        action=action,
        reward=torch.zeros_like(mask),
        discount=torch.zeros_like(mask),
        next_observation=None,
        weight=weight,
        mask=mask,
        labels={"returns": label},
        noise={},
        extras={},
    )


def make(spaces, **knobs):
    """A value of 1 everywhere, a policy of mean 0 and spread 1, after a step that found episodes of 2 steps whose
    advantages have mean 1 and mean square 5: a spread of 2."""
    awr = learners.create("awr", spaces, **{"hidden": (4,), "policy_std": 1.0, **knobs})
    constant_(awr.value, 1.0)
    zero_(awr.policy)
    awr.averages.value.copy_(torch.tensor([2.0, 2.0, 10.0]))
    return awr


ACTION = torch.tensor([[[0.6, 0.8], [0.0, 0.0], [9.0, 9.0]], [[0.6, 0.8], [9.0, 9.0], [9.0, 9.0]]])
LABEL = torch.tensor([[4.0, 0.0, 99.0], [2.0, 99.0, 99.0]])
MASK = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
LOG_PROB = -math.log(2 * math.pi)  # of the action 0; .5 less at the other one, whose length is 1


def test_losses_of_constant_networks(spaces):
    awr = make(spaces, temperature=0.5)
    loss, metrics = awr.losses(inputs_of(ACTION, LABEL, MASK))
    # Advantages 3 and −1; 1. Squares over 2 steps: (9 + 1)/2 and 1/2, of which the mean.
    assert metrics["value_loss"].item() == pytest.approx((5.0 + 0.5) / 2)
    assert metrics["priority"].tolist() == pytest.approx([2.0, 1.0])
    # Standardised: (3 − 1)/2 = 1, (−1 − 1)/2 = −1, and 0; the weights are e^{1/.5}, e^{−1/.5}, e⁰.
    first = (math.e**2 * (LOG_PROB - 0.5) + math.e**-2 * LOG_PROB) / 2
    second = (LOG_PROB - 0.5) / 2
    assert metrics["policy_loss"].item() == pytest.approx(-(first + second) / 2, rel=1e-4)
    assert loss.item() == pytest.approx((metrics["value_loss"] + metrics["policy_loss"]).item())
    # What the next step reads: 3 steps in 2 episodes, the sum and the sum of squares of their advantages.
    assert metrics["episode_steps"].item() == pytest.approx(3 / 2)
    assert metrics["advantage_sum"].item() == pytest.approx(3 / 2)
    assert metrics["advantage_square_sum"].item() == pytest.approx(11 / 2)
    assert metrics["advantage"].item() == pytest.approx(1.0)
    assert metrics["value"].item() == pytest.approx(1.0)


def test_advantages_as_they_are_and_clipped(spaces):
    awr = make(spaces, normalise_advantage=False, advantage_clip=2.0)
    # min(e³, 2), e⁻¹; min(e, 2).
    _, metrics = awr.losses(inputs_of(ACTION, LABEL, MASK))
    first = (2.0 * (LOG_PROB - 0.5) + math.e**-1 * LOG_PROB) / 2
    second = 2.0 * (LOG_PROB - 0.5) / 2
    assert metrics["policy_loss"].item() == pytest.approx(-(first + second) / 2)


def test_importance_weights_scale_each_episode(spaces):
    awr = make(spaces)
    _, metrics = awr.losses(inputs_of(ACTION, LABEL, MASK, weight=torch.tensor([0.5, 2.0])))
    assert metrics["value_loss"].item() == pytest.approx((0.5 * 5.0 + 2.0 * 0.5) / 2)
    assert metrics["episode_steps"].item() == pytest.approx((0.5 * 2 + 2.0 * 1) / 2)


def test_what_is_behind_the_end_does_not_count(spaces):
    awr = make(spaces)
    loss, _ = awr.losses(inputs_of(ACTION, LABEL, MASK))
    other, _ = awr.losses(inputs_of(ACTION * MASK[..., None], LABEL * MASK, MASK))
    shorter, _ = awr.losses(inputs_of(ACTION[:, :2], LABEL[:, :2], MASK[:, :2]))
    assert loss.item() == pytest.approx(other.item())
    assert loss.item() == pytest.approx(shorter.item())


def test_the_policys_loss_does_not_move_the_value(spaces):
    awr = make(spaces)
    loss, _ = awr.losses(inputs_of(ACTION, torch.ones(2, 3), MASK))
    # The value is right everywhere, so what is left is the policy's loss.
    for gradient in torch.autograd.grad(loss, list(awr.value.parameters())):
        assert gradient.abs().max() == 0.0


# --- Updates ---


def test_padding_that_all_episodes_have_changes_nothing_to_the_last_bit(spaces):
    plain, padded = (learners.create("awr", spaces, hidden=(16,)) for _ in range(2))
    batch = random_batch(spaces, plain.requires, 8)
    longer = batch.map(lambda array: np.repeat(array, 3, axis=1) if array.ndim > 1 else array)
    behind = np.zeros((8, 10), np.uint8)
    longer = replace(longer, mask=np.concatenate([batch.mask, behind], 1))
    for name in ("observation", "next_observation", "action", "reward", "discount"):
        getattr(longer, name)[:, :5] = getattr(batch, name)
    label = padded.targets(longer)["returns"]
    assert torch.equal(label[:, :5], plain.targets(batch)["returns"])
    assert torch.equal(label[:, 5:], torch.zeros(8, 10))  # so that labels of several batches can be put together
    for _ in range(2):
        plain.update(batch)
        padded.update(longer)
    assert torch.equal(plain.optimiser.vector, padded.optimiser.vector)


def test_the_first_step_only_measures(spaces):
    awr = learners.create("awr", spaces, hidden=(4,))
    before = awr.optimiser.vector.clone()
    batch = random_batch(spaces, awr.requires, 5)
    metrics = awr.update(batch)
    assert torch.equal(awr.optimiser.vector, before)
    # Episodes of 1, 2, 3, 4 and 5 steps.
    assert awr.averages["episode_steps"].item() == metrics["episode_steps"].item() == 3.0
    awr.update(batch)
    assert not torch.equal(awr.optimiser.vector, before)


def test_dropout_keeps_one_mask_for_an_episode(spaces):
    # As many episodes as steps, where rows and steps could be taken for each other.
    awr = learners.create("awr", spaces, hidden=(64,), dropout=0.5, value_dropout=0.5)
    batch = random_batch(spaces, awr.requires, 5)
    same = replace(batch, observation=np.repeat(batch.observation[:, :1], 5, axis=1))
    seen = []
    awr.value.net.layers[-1].register_forward_hook(lambda layer, given, output: seen.append(output.detach()[..., 0]))
    awr.update(same, {"returns": torch.zeros(5, 5)})
    value = seen[-1]  # (T, B)
    torch.testing.assert_close(value, value[:1].expand(5, 5))
    assert len(value[0].unique()) == 5


def test_the_pictures_of_an_episode_are_cropped_together():
    spaces = Spaces(Dict.of({"camera": Image((6, 6, 1))}), Box((1,), low=(-1.0,), high=(1.0,)))
    awr = learners.create("awr", spaces, hidden=(4,), encoder="shared", encoder_width=4, random_crop=2)
    batch = random_batch(spaces, awr.requires, 3)
    still = np.repeat(batch.observation["camera"][:, :1], 5, axis=1)
    seen = []
    awr.networks.shared.register_forward_pre_hook(lambda encoder, given: seen.append(given[0]["observation.camera"]))
    awr.update(replace(batch, observation={"camera": still}), {"returns": torch.zeros(3, 5)})
    cropped = seen[-1]
    assert torch.equal(cropped, cropped[:, :1].expand_as(cropped))
    assert not torch.equal(cropped, torch.from_numpy(still))


def test_it_asks_for_whole_episodes(spaces):
    assert learners.create("awr", spaces, discount=0.9).requires == Request(kind="episodes", discount=0.9)


@pytest.mark.parametrize(
    ("knob", "value", "message"),
    [
        ("n_step", 5, "n_step: found 5, expected 1: returns are over whole episodes"),
        ("td_lambda", 1.5, r"td_lambda: found 1\.5, expected a number, 0 to 1"),
        ("temperature", 0.0, r"temperature: found 0\.0"),
        ("advantage_clip", 0.0, r"advantage_clip: found 0\.0"),
        ("policy_std", 0.0, r"policy_std: found 0\.0"),
    ],
)
def test_wrong_knobs_are_refused(spaces, knob, value, message):
    with pytest.raises(LearnerError, match=message):
        learners.create("awr", spaces, **{knob: value})


# --- The small problem ---


def walks(seed, *, episodes=64, most=20):
    """Walks from random states by random actions of the narrow log, cut off after `most` steps."""
    random = np.random.default_rng(seed)
    actions = narrow_log(seed).action.reshape(STATES, -1, 2)
    state = np.zeros((episodes, most + 1), np.int64)
    action, reward = np.zeros((episodes, most, 2), np.float32), np.zeros((episodes, most), np.float32)
    mask, terminated = np.zeros((2, episodes, most), np.uint8)
    for row in range(episodes):
        state[row] = random.integers(STATES)
        for t in range(most):
            now = state[row, t]
            action[row, t] = actions[now, random.integers(len(actions[now]))]
            reward[row, t], after, end = step(now, action[row, t])
            mask[row, t], terminated[row, t] = 1, end
            state[row, t + 1 :] = after
            if end:
                break
    observation = np.eye(STATES + 1, dtype=np.float32)[state]
    return Batch(
        observation=observation[:, :-1],
        action=action,
        reward=reward,
        discount=(DISCOUNT * mask * (1.0 - terminated)).astype(np.float32),
        next_observation=observation[:, 1:],
        terminated=terminated,
        truncated=np.zeros_like(terminated),
        index=np.arange(episodes),
        mask=mask,
    )


@pytest.mark.slow
def test_the_policy_is_the_best_of_the_log_though_the_walks_are_random():
    # The reward of a lucky walk is in every λ-return on its way: a smaller λ tells the actions apart sooner.
    awr = train("awr", walks(seed=0), 1000, learning_rate=1e-3, temperature=0.3, td_lambda=0.5)
    policy, _ = awr.act(np.eye(STATES, STATES + 1, dtype=np.float32))
    assert achieved(policy)[0] == pytest.approx(BEST)


@pytest.mark.slow
def test_the_values_of_lambda_0_solve_the_problem_that_the_walks_show():
    log = walks(seed=0)
    awr = train("awr", log, 1000, learning_rate=1e-3, td_lambda=0.0)
    real = log.mask == 1
    state, after = log.observation[real], log.next_observation[real] * (log.discount[real] > 0)[:, None]
    # V = r̂ + γP̂V, by counting: Σ s sᵀ V = Σ s r + γ·Σ s s'ᵀ V.
    counts, moves = state.T @ state, state.T @ after
    inside = slice(0, STATES)
    exact = np.linalg.solve(
        counts[inside, inside] - DISCOUNT * moves[inside, inside], (state.T @ log.reward[real])[inside]
    )
    with torch.no_grad():
        value = awr.value(torch.eye(STATES, STATES + 1)).numpy()
    np.testing.assert_allclose(value, exact, atol=1e-3)
