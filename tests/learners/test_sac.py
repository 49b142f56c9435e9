"""SAC: what its policy, its temperature and its targets are told by critics of known values."""

from __future__ import annotations

import math

import pytest
import torch

import learners
from replay.spaces import Box, Spaces
from tests.learners.constants import constant_, linear_, make_inputs, zero_

SPACES = Spaces(Box((1,)), Box((2,), low=(-1.0,), high=(1.0,)))
STILL = {"policy": torch.zeros(1, 2)}
LOG_PROB = -math.log(2 * math.pi)  # of a = tanh(0) in two dimensions, where the policy's mean is 0 and its spread 1


def make(**knobs):
    """SAC on one observed and two commanded numbers, its policy a squashed standard normal."""
    sac = learners.create("sac", SPACES, **{"hidden": (4,), **knobs})
    zero_(sac.policy)
    return sac


def make_transition(**changes):
    return make_inputs(torch.zeros(1, 1), torch.zeros(1, 2), noise=STILL, **changes)


def test_there_are_two_critics_of_which_all_trust_the_smaller():
    sac = make()
    constant_(sac.critic, 5.0, -1.0)
    constant_(sac.target_critic, 7.0, 3.0)
    _, metrics = sac.losses(make_transition(target=torch.tensor([1.0])))
    assert metrics["policy_loss"].item() == pytest.approx(LOG_PROB + 1.0)
    assert metrics["critic_loss"].item() == pytest.approx(4.0**2 + 2.0**2)
    inputs = make_transition(reward=torch.tensor([1.0]), discount=torch.tensor([0.5]))
    # r + γ(min − α·log π), with temperature 1
    assert sac.bootstrap(inputs)["q"].item() == pytest.approx(1.0 + 0.5 * (3.0 - LOG_PROB))


@pytest.mark.parametrize(
    ("target_entropy", "slope"),
    [
        (3.0, LOG_PROB + 3.0),  # the entropy is about 1.84: too little
        (1.0, LOG_PROB + 1.0),  # too much
        (None, LOG_PROB - 2.0),  # minus the number of action elements
    ],
)
def test_the_temperature_rises_where_the_entropy_is_below_its_target(target_entropy, slope):
    sac = make(target_entropy=target_entropy)
    constant_(sac.critic, 0.0, 0.0)
    loss, metrics = sac.losses(make_transition(target=torch.zeros(1)))
    assert metrics["entropy"].item() == pytest.approx(-LOG_PROB)
    gradient = torch.autograd.grad(loss, sac.temperature.log)[0]
    assert -gradient.item() == pytest.approx(slope)


def test_the_policy_climbs_the_smaller_critic_and_spreads():
    sac = make()
    linear_(sac.critic, [[1.0, 0.0], [3.0, 0.0]])
    with torch.no_grad():  # at 0 exactly, the critic's own units have no slope
        sac.policy.net.layers[-1].bias.copy_(torch.tensor([0.3, 0.0, 0.0, 0.0]))
    # The critics are 0 at the data's action, as they should be: what is left is the policy's loss.
    loss, _ = sac.losses(make_transition(target=torch.zeros(1)))
    for gradient in torch.autograd.grad(loss, list(sac.critic.parameters()), retain_graph=True):
        assert gradient.abs().max() == 0.0
    a = math.tanh(0.3)
    # Of the mean u: α·log π has −log(1 − tanh² u), whose slope is 2·tanh(u), and Q₁ has 1·(1 − tanh² u).
    # Of the log of the spread, without noise: −1 for each element.
    expected = torch.tensor([2 * a - (1 - a**2), 0.0, -1.0, -1.0])
    torch.testing.assert_close(torch.autograd.grad(loss, sac.policy.net.layers[-1].bias)[0], expected)


def test_the_spread_of_the_policy_is_bounded_as_the_authors_do():
    sac = make()
    with torch.no_grad():
        sac.policy.net.layers[-1].bias.copy_(torch.tensor([0.0, 0.0, -50.0, 50.0]))
    assert sac.policy(torch.zeros(1, 1))[1].tolist() == [[-20.0, 2.0]]
