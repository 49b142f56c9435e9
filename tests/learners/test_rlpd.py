"""RLPD: what it changes of REDQ, by critics of known values."""

from __future__ import annotations

import math

import pytest
import torch

import learners
from learners.errors import LearnerError
from replay.spaces import Box, Spaces
from tests.learners.constants import constant_, make_inputs, zero_

SPACES = Spaces(Box((1,)), Box((2,), low=(-1.0,), high=(1.0,)))
LOG_PROB = -math.log(2 * math.pi)  # of a = tanh(0) in two dimensions, where the policy's mean is 0 and its spread 1


def make(**knobs):
    """RLPD on one observed and two commanded numbers, its policy a squashed standard normal."""
    rlpd = learners.create("rlpd", SPACES, **{"hidden": (4,), "members": 4, **knobs})
    zero_(rlpd.policy)
    return rlpd


def make_transition(subset=(0.9, 0.8, 0.1, 0.2), **changes):
    """By default the last two members are drawn."""
    noise = {"policy": torch.zeros(1, 2), "subset": torch.tensor(subset)}
    reward, discount = torch.tensor([1.0]), torch.tensor([0.5])
    return make_inputs(torch.zeros(1, 1), torch.zeros(1, 2), reward=reward, discount=discount, noise=noise, **changes)


def test_ten_critics_with_layer_norm_are_the_default():
    critic = learners.create("rlpd", SPACES).critic
    assert {value.shape[0] for value in critic.net.weights} == {10}
    with torch.no_grad():
        values = critic(torch.zeros(2, 1), torch.tensor([[1.0, 0.0], [1e6, 0.0]]))
    # However far the action, what the last layer reads is of unit spread.
    bound = critic.net.weights[-1].flatten(1).norm(dim=1) * math.sqrt(256) + critic.net.biases[-1].flatten().abs()
    assert (values.abs() <= bound[:, None]).all()


@pytest.mark.parametrize(
    ("knobs", "target"),
    [
        ({}, 1.0 + 0.5 * (4.0 - LOG_PROB)),  # r + γ(min(4, 7) − α·log π), with temperature 1
        ({"backup_entropy": False}, 1.0 + 0.5 * 4.0),
        ({"backup_entropy": False, "subset": 1}, 1.0 + 0.5 * 4.0),  # the third has the smallest number
        ({"backup_entropy": False, "subset": 4}, 1.0 + 0.5 * 3.0),
    ],
)
def test_targets_trust_the_smallest_of_a_random_subset_with_entropy_or_without(knobs, target):
    rlpd = make(**knobs)
    constant_(rlpd.target_critic, 5.0, 3.0, 4.0, 7.0)
    assert rlpd.bootstrap(make_transition())["q"].item() == pytest.approx(target)


def test_without_entropy_targets_need_no_temperature():
    assert make().target_modules == ("policy", "temperature", "target_critic")
    assert make(backup_entropy=False).target_modules == ("policy", "target_critic")


def test_the_policy_maximises_the_mean_of_all_members():
    rlpd = make()
    constant_(rlpd.critic, 5.0, -1.0, 2.0, 7.0)
    _, metrics = rlpd.losses(make_transition(target=torch.zeros(1)))
    assert metrics["policy_loss"].item() == pytest.approx(LOG_PROB - 13.0 / 4)


def test_the_target_entropy_is_minus_half_the_action():
    assert make().target_entropy == -1.0
    assert make(target_entropy=-6.0).target_entropy == -6.0


def test_the_policy_and_the_temperature_wait_while_the_target_critics_follow(spaces, make_batch):
    rlpd = learners.create("rlpd", spaces, hidden=(8,), members=3, policy_every=3, polyak=0.25)
    waiting = ("policy", "temperature")
    before = {name: rlpd.optimiser.segment(name).clone() for name in waiting}
    for sequence in range(2):
        target = rlpd.target_vectors["target_critic"].clone()
        rlpd.update(make_batch(8, sequence))
        for name in waiting:
            assert torch.equal(rlpd.optimiser.segment(name), before[name])
        moved = 0.75 * target + 0.25 * rlpd.optimiser.segment("critic")
        torch.testing.assert_close(rlpd.target_vectors["target_critic"], moved)
    rlpd.update(make_batch(8, 2))
    for name in waiting:
        assert not torch.equal(rlpd.optimiser.segment(name), before[name])


def test_wrong_knobs_are_refused():
    with pytest.raises(LearnerError, match=r"policy_every: found 0, expected a whole number, 1 to"):
        make(policy_every=0)
    with pytest.raises(LearnerError, match=r"subset: found 5 of 4 members"):
        make(subset=5)
