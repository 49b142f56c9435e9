"""REDQ: whom its targets and its policy believe, by critics of known values."""

from __future__ import annotations

import math

import pytest
import torch

import learners
from learners.errors import LearnerError
from replay.spaces import Box, Spaces
from tests.learners.constants import constant_, linear_, make_inputs, zero_
from tests.learners.tabular import BEST, believed_and_achieved, narrow_log, train

SPACES = Spaces(Box((1,)), Box((2,), low=(-1.0,), high=(1.0,)))
LOG_PROB = -math.log(2 * math.pi)  # of a = tanh(0) in two dimensions, where the policy's mean is 0 and its spread 1
STILL = {"policy": torch.zeros(1, 2)}


def make(**knobs):
    """REDQ on one observed and two commanded numbers, its policy a squashed standard normal."""
    redq = learners.create("redq", SPACES, **{"hidden": (4,), "members": 4, **knobs})
    zero_(redq.policy)
    return redq


def make_transition(*, target=None, noise=None):
    target = None if target is None else torch.tensor([target])
    reward, discount = torch.tensor([1.0]), torch.tensor([0.5])
    zero = torch.zeros(1, 1), torch.zeros(1, 2)
    return make_inputs(*zero, target=target, reward=reward, discount=discount, noise={**STILL, **(noise or {})})


# --- Targets ---


@pytest.mark.parametrize(
    ("subset", "smallest"),
    [
        ([0.1, 0.9, 0.8, 0.2], 5.0),  # the first and the last: min(5, 7)
        ([0.9, 0.8, 0.1, 0.2], 4.0),  # the last two: min(4, 7)
        ([0.5, 0.1, 0.6, 0.7], 3.0),  # the second and the first: min(3, 5)
    ],
)
def test_targets_trust_the_smallest_of_a_random_subset(subset, smallest):
    redq = make()
    constant_(redq.target_critic, 5.0, 3.0, 4.0, 7.0)
    target = redq.bootstrap(make_transition(noise={"subset": torch.tensor(subset)}))["q"]
    # r + γ(min − α·log π), with temperature 1
    assert target.item() == pytest.approx(1.0 + 0.5 * (smallest - LOG_PROB))


def test_every_pair_is_drawn_about_equally_often(make_batch):
    redq = make(members=3)
    constant_(redq.target_critic, 1.0, 2.0, 3.0)
    found = []
    for sequence in range(300):
        noise = {"subset": redq.target_noise(make_batch(1, sequence))["subset"]}
        found.append(round((redq.bootstrap(make_transition(noise=noise))["q"].item() - 1.0) / 0.5 + LOG_PROB))
    # (1,2) and (1,3) have 1, (2,3) has 2: one in three. The standard error is 8.
    assert set(found) == {1, 2}
    assert found.count(2) == pytest.approx(100, abs=25)


def test_all_rows_and_learners_share_the_subset(make_batch):
    redq = make()
    whole = redq.target_noise(make_batch(8))["subset"]
    redq.distribute(1, 2, lambda gradient: None)
    assert torch.equal(redq.target_noise(make_batch(8).rows(4, 8))["subset"], whole)


# --- Losses ---


def test_losses_of_linear_critics():
    redq = make(members=3)
    linear_(redq.critic, [[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    inputs = make_inputs(torch.zeros(1, 1), torch.tensor([[0.5, 0.25]]), target=torch.tensor([1.0]), noise=STILL)
    loss, metrics = redq.losses(inputs)
    # Q is .5, .5 and 2.25 on the data, 0 at the policy's action.
    assert metrics["critic_loss"].item() == pytest.approx(0.25 + 0.25 + 1.5625)
    assert metrics["q_data"].item() == pytest.approx(3.25 / 3)
    assert metrics["priority"].tolist() == pytest.approx([(0.5 + 0.5 + 1.25) / 3])
    assert loss.item() == pytest.approx(2.0625 + LOG_PROB)


def test_the_policy_maximises_the_mean_of_all_members():
    redq = make()
    constant_(redq.critic, 5.0, -1.0, 2.0, 7.0)
    _, metrics = redq.losses(make_transition(target=0.0))
    assert metrics["policy_loss"].item() == pytest.approx(LOG_PROB - 13.0 / 4)


def test_the_policys_loss_does_not_move_the_critics():
    redq = make()
    constant_(redq.critic, 1.0, 1.0, 1.0, 1.0)
    loss, _ = redq.losses(make_transition(target=1.0))  # no error
    for gradient in torch.autograd.grad(loss, list(redq.critic.parameters())):
        assert gradient.abs().max() == 0.0


def test_wrong_knobs_are_refused():
    with pytest.raises(LearnerError, match=r"subset: found 5 of 4 members, expected 1 to 4"):
        make(subset=5)
    with pytest.raises(LearnerError, match=r"subset: found 0"):
        make(subset=0)
    with pytest.raises(LearnerError, match=r"members: found 0"):
        make(members=0)


# --- On a fixed log ---


@pytest.mark.slow
def test_it_is_not_careful_enough_for_a_narrow_log() -> None:
    """It is a method for fresh data: two members agree too often for their minimum to find what the log lacks."""
    log = narrow_log(seed=0)
    knobs = {"learning_rate": 3e-3, "polyak": 0.01, "members": 4}
    believed, true = believed_and_achieved(train("redq", log, 2000, **knobs), log)

    assert believed > BEST + 0.1
    assert true < BEST
