"""MSG: independent targets, the lower confidence bound and the regulariser against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

import learners
from learners.errors import LearnerError
from learners.losses import lower_confidence_bound
from replay.spaces import Box, Spaces
from tests.learners.constants import constant_, linear_, make_inputs, zero_

SPACES = Spaces(Box((1,)), Box((1,), low=(-1.0,), high=(1.0,)))
ROOT = math.sqrt(2 * math.pi)  # one over the density of a = tanh(0) where the policy's mean is 0 and its spread 1
LOG_PROB = -math.log(ROOT)
STILL = {
    "policy": torch.zeros(1, 1),
    "sampled": torch.zeros(1, 1, 1),
    "uniform": torch.full((1, 1, 1), 0.5),  # the action 0
}


def make(**knobs):
    """MSG on one observed and one commanded number, its policy a squashed standard normal."""
    msg = learners.create("msg", SPACES, **{"hidden": (2,), "members": 2, **knobs})
    zero_(msg.policy)
    return msg


def make_transition(*labels, action=0.0):
    return make_inputs(torch.zeros(1, 1), torch.tensor([[action]]), target=torch.tensor([labels]), noise=STILL)


# --- Losses ---


def test_the_lower_confidence_bound():
    # Of 1, 3, 5: mean 3, standard deviation √(8/3). Of 2, 2, 2: 2.
    q = torch.tensor([[1.0, 2.0], [3.0, 2.0], [5.0, 2.0]])
    torch.testing.assert_close(lower_confidence_bound(q, -2.0), torch.tensor([3.0 - 2.0 * math.sqrt(8.0 / 3.0), 2.0]))


def test_the_gradient_of_the_bound_is_finite_where_members_agree():
    q = torch.full((3, 1), 2.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(lower_confidence_bound(q, -8.0).sum(), q)
    torch.testing.assert_close(gradient, torch.full((3, 1), 1.0 / 3.0))


def test_losses_of_constant_critics():
    msg = make(beta=-4.0, conservative_weight=0.1)
    constant_(msg.critic, 1.0, 3.0)
    loss, metrics = msg.losses(make_transition(0.5, 5.0))
    # Each member by its own label: (1 − .5)² + (3 − 5)².
    assert metrics["critic_loss"].item() == pytest.approx(0.25 + 4.0)
    assert metrics["priority"].tolist() == pytest.approx([(0.5 + 2.0) / 2])
    # Mean 2 and standard deviation 1, with temperature 1.
    assert metrics["policy_loss"].item() == pytest.approx(LOG_PROB - (2.0 - 4.0), rel=1e-5)
    # One uniform action of density ½ and one of the policy of density 1/√2π: log(2 + √2π), whatever Q.
    gap = math.log(2 + ROOT)
    assert metrics["conservative_gap"].item() == pytest.approx(gap)
    # α counts twice, since the errors are not halved, for each of two members.
    assert loss.item() == pytest.approx(4.25 + LOG_PROB + 2.0 + 2 * 0.1 * 2 * gap, rel=1e-5)


def test_the_regulariser_pushes_down_what_was_sampled_and_up_what_was_logged():
    msg = make(conservative_weight=0.1, hidden=(2,))
    linear_(msg.critic, [[1.0], [2.0]])
    _, metrics = msg.losses(make_transition(0.5, 1.0, action=0.5))
    # Q is .5 and 1 on the data, 0 at both sampled actions.
    assert metrics["critic_loss"].item() == 0.0
    assert metrics["conservative_gap"].item() == pytest.approx(math.log(2 + ROOT) - 0.75)


def test_without_the_regulariser_only_the_ensemble_is_careful():
    msg = make(conservative_weight=0.0, beta=-4.0)
    constant_(msg.critic, 1.0, 3.0)
    loss, metrics = msg.losses(make_transition(0.5, 5.0))
    assert "conservative_gap" not in metrics
    assert loss.item() == pytest.approx(4.25 + LOG_PROB + 2.0, rel=1e-5)


def test_the_policys_loss_does_not_move_the_critics_nor_theirs_the_policy():
    msg = make(conservative_weight=0.0)
    constant_(msg.critic, 1.0, 3.0)
    loss, _ = msg.losses(make_transition(1.0, 3.0))  # no error
    for gradient in torch.autograd.grad(loss, list(msg.critic.parameters())):
        assert gradient.abs().max() == 0.0
    gradients = []
    for weight in (0.0, 10.0):
        msg = make(conservative_weight=weight)
        loss, _ = msg.losses(make_transition(1.0, 3.0, action=0.5))
        gradients.append(torch.autograd.grad(loss, list(msg.policy.parameters())))
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


# --- Targets ---


def test_every_member_has_its_own_target():
    msg = make(members=3)
    constant_(msg.target_critic, 5.0, -3.0, 4.0)
    inputs = make_inputs(
        torch.zeros(2, 1),
        torch.zeros(2, 1),
        reward=torch.tensor([1.0, 2.0]),
        discount=torch.tensor([0.5, 0.0]),
        noise={"policy": torch.zeros(2, 1)},
    )
    # r + γQ̄_i, without entropy: 1 + .5·(5, −3, 4), and 2 where the episode ends.
    assert msg.bootstrap(inputs)["q"].tolist() == [[3.5, -0.5, 3.0], [2.0, 2.0, 2.0]]


def test_members_do_not_learn_from_each_other():
    msg = make()
    gradients = []
    for other in (1.0, 100.0):  # the second member's label
        loss, _ = msg.losses(make_transition(0.0, other, action=0.5))
        gradients.append(torch.autograd.grad(loss, list(msg.critic.net.weights)))
    for one, two in zip(*gradients, strict=True):
        assert torch.equal(one[0], two[0])
        assert not torch.equal(one[1], two[1])


def test_wrong_knobs_are_refused():
    with pytest.raises(LearnerError, match=r"beta: found 1\.0, expected a number, -1e9 to 0"):
        make(beta=1.0)
    with pytest.raises(LearnerError, match=r"conservative_weight: found -1"):
        make(conservative_weight=-1.0)
    with pytest.raises(LearnerError, match=r"sampled_actions: found 0"):
        make(sampled_actions=0)
    with pytest.raises(LearnerError, match=r"members: found 0"):
        make(members=0)
