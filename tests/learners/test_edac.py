"""SAC-N and EDAC: the diversity of known gradients, the pessimism of known critics."""

from __future__ import annotations

import math

import pytest
import torch

import learners
from learners.errors import LearnerError
from learners.losses import gradient_similarity
from replay.spaces import Box, Spaces
from tests.learners.constants import constant_, linear_, make_inputs, zero_

SPACES = Spaces(Box((1,)), Box((2,), low=(-1.0,), high=(1.0,)))
STILL = {"policy": torch.zeros(1, 2)}
LOG_PROB = -math.log(2 * math.pi)  # of a = tanh(0) in two dimensions, where the policy's mean is 0 and its spread 1


def make(**knobs):
    """EDAC on one observed and two commanded numbers, its policy a squashed standard normal."""
    edac = learners.create("edac", SPACES, **{"hidden": (4,), **knobs})
    zero_(edac.policy)
    return edac


@pytest.mark.parametrize(
    ("gradients", "similarity"),
    [
        ([[1.0, 0.0], [5.0, 0.0]], 2.0),  # the same direction: both pairs count 1, over N − 1 = 1
        ([[1.0, 0.0], [0.0, 3.0]], 0.0),  # orthogonal
        ([[1.0, 1.0], [-2.0, -2.0]], -2.0),  # opposite
        # Pairs (1,2): 0, (1,3) and (2,3): 1/√2; each counted twice, over N − 1 = 2.
        ([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]], math.sqrt(2.0)),
        ([[0.0, 0.0], [0.0, 3.0]], 0.0),  # no gradient, no direction
    ],
)
def test_similarity_of_known_gradients(gradients, similarity):
    gradient = torch.tensor(gradients)[:, None].expand(-1, 4, -1)  # (N, B, A)
    torch.testing.assert_close(gradient_similarity(gradient), torch.full((4,), similarity), atol=1e-6, rtol=1e-6)


def test_losses_of_linear_critics():
    edac = make(members=3, diversity=0.5)
    linear_(edac.critic, [[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])  # whose gradients are their slopes
    observation, action = torch.zeros(1, 1), torch.tensor([[0.5, 0.25]])
    loss, metrics = edac.losses(make_inputs(observation, action, target=torch.tensor([1.0]), noise=STILL))
    # Q is .5, .5 and 2.25 on the data, 0 at the policy's action.
    assert metrics["critic_loss"].item() == pytest.approx(0.25 + 0.25 + 1.5625)
    assert metrics["diversity_loss"].item() == pytest.approx(0.5 * math.sqrt(2.0))
    assert metrics["policy_loss"].item() == pytest.approx(LOG_PROB)
    assert metrics["priority"].tolist() == pytest.approx([(0.5 + 0.5 + 1.25) / 3])
    assert loss.item() == pytest.approx(2.0625 + 0.5 * math.sqrt(2.0) + LOG_PROB)


def test_sac_n_is_edac_without_diversity():
    edac = make(members=3, diversity=0.0)
    linear_(edac.critic, [[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    action = torch.tensor([[0.5, 0.25]])
    loss, metrics = edac.losses(make_inputs(torch.zeros(1, 1), action, target=torch.tensor([1.0]), noise=STILL))
    assert metrics["diversity_loss"].item() == 0.0
    assert loss.item() == pytest.approx(2.0625 + LOG_PROB)


def test_policy_and_targets_trust_the_smallest_member():
    edac = make(members=4)
    constant_(edac.critic, 5.0, -1.0, 2.0, 7.0)
    constant_(edac.target_critic, 5.0, 3.0, 4.0, 7.0)
    inputs = make_inputs(torch.zeros(1, 1), torch.zeros(1, 2), target=torch.zeros(1), noise=STILL)
    _, metrics = edac.losses(inputs)
    assert metrics["policy_loss"].item() == pytest.approx(LOG_PROB + 1.0)
    # r + γ(min − α·log π), with temperature 1
    target = edac.bootstrap(inputs._replace(reward=torch.tensor([1.0]), discount=torch.tensor([0.5])))["q"]
    assert target.item() == pytest.approx(1.0 + 0.5 * (3.0 - LOG_PROB))


def test_the_policys_loss_does_not_move_the_critics():
    edac = make(members=2, diversity=0.0)
    constant_(edac.critic, 1.0, 1.0)
    loss, _ = edac.losses(make_inputs(torch.zeros(1, 1), torch.zeros(1, 2), target=torch.ones(1), noise=STILL))
    for gradient in torch.autograd.grad(loss, list(edac.critic.parameters())):
        assert gradient.abs().max() == 0.0


def test_the_temperature_enters_the_target():
    edac = make(members=2)
    constant_(edac.target_critic, 0.0, 0.0)
    with torch.no_grad():
        edac.temperature.log.fill_(math.log(0.25))
    target = edac.bootstrap(make_inputs(torch.zeros(1, 1), torch.zeros(1, 2), noise=STILL))["q"]
    assert target.item() == pytest.approx(-0.25 * LOG_PROB)


def test_diversity_turns_the_gradients_apart(spaces, make_batch):
    # Two members with two-dimensional actions can point opposite ways: −2.
    edac = learners.create("edac", spaces, hidden=(16, 16), members=2, diversity=1000.0, learning_rate=3e-3)
    first = edac.update(make_batch(32, 0))["diversity_loss"] / 1000
    for sequence in range(1, 150):
        last = edac.update(make_batch(32, sequence))["diversity_loss"] / 1000
    assert last < -1.5 < first


def test_the_spread_of_the_policy_is_bounded_as_the_authors_do():
    edac = make()
    with torch.no_grad():
        edac.policy.net.layers[-1].bias.copy_(torch.tensor([0.0, 0.0, -50.0, 50.0]))
    assert edac.policy(torch.zeros(1, 1))[1].tolist() == [[-5.0, 2.0]]


def test_wrong_knobs_are_refused(spaces):
    with pytest.raises(LearnerError, match=r"members: found 1 with diversity=1.0, expected at least 2"):
        learners.create("edac", spaces, members=1)
    with pytest.raises(LearnerError, match=r"diversity: found -1"):
        learners.create("edac", spaces, diversity=-1.0)
    with pytest.raises(LearnerError, match=r"members: found 0"):
        learners.create("edac", spaces, members=0, diversity=0.0)
