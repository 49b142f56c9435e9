"""TD3+BC's losses, and the scale of its Q, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

import learners
from learners.errors import LearnerError
from learners.losses import cloning_policy_loss, q_magnitude
from tests.learners.constants import constant_, linear_, make_inputs, zero_


def make(spaces, **knobs):
    """A policy that answers 0, on three observed and two commanded numbers."""
    td3bc = learners.create("td3bc", spaces, **{"hidden": (4,), **knobs})
    zero_(td3bc.policy)
    zero_(td3bc.target_policy)
    return td3bc


# --- Losses ---


def test_the_magnitude_counts_rows_by_their_weight():
    q = torch.tensor([3.0, -1.0, 100.0])
    assert q_magnitude(q[:2], None).item() == pytest.approx(2.0)
    # (2·3 + 1·1 + 0·100) / (2 + 1 + 0)
    assert q_magnitude(q, torch.tensor([2.0, 1.0, 0.0])).item() == pytest.approx(7 / 3)


def test_the_policy_is_drawn_up_the_critic_and_to_the_data():
    policy_action, action = torch.tensor([[0.5, 0.0]]), torch.tensor([[0.1, 0.2]])
    loss = cloning_policy_loss(torch.tensor([3.0]), policy_action, action, torch.tensor(0.25))
    # (.4² + .2²)/2 − .25·3
    assert loss.tolist() == pytest.approx([0.1 - 0.75])


def test_losses_of_constant_networks(spaces):
    td3bc = make(spaces, alpha=2.0)
    constant_(td3bc.critic, -3.0, 5.0)
    td3bc.averages.value.fill_(4.0)  # mean |Q| in the step before
    action = torch.tensor([[0.6, 0.8]])
    loss, metrics = td3bc.losses(make_inputs(torch.zeros(1, 3), action, target=torch.tensor([1.0])))
    # (−3 − 1)² + (5 − 1)²
    assert metrics["critic_loss"].item() == pytest.approx(32.0)
    assert metrics["priority"].tolist() == pytest.approx([4.0])
    # The first critic's: (.6² + .8²)/2 + 2/4·3
    assert metrics["cloning_error"].item() == pytest.approx(0.5)
    assert metrics["policy_loss"].item() == pytest.approx(0.5 + 1.5)
    assert metrics["q_magnitude"].item() == pytest.approx(3.0)
    assert loss.item() == pytest.approx(34.0)


def test_importance_weights_scale_each_row(spaces):
    td3bc = make(spaces, alpha=0.0)
    constant_(td3bc.critic, 0.0, 0.0)
    action, weight = torch.tensor([[0.0, 1.0], [1.0, 1.0]]), torch.tensor([2.0, 0.5])
    inputs = make_inputs(torch.zeros(2, 3), action, target=torch.tensor([1.0, 3.0]), weight=weight)
    _, metrics = td3bc.losses(inputs)
    # Both members: (2·1 + .5·9)/2 each; of the policy (2·.5 + .5·1)/2.
    assert metrics["critic_loss"].item() == pytest.approx(6.5)
    assert metrics["policy_loss"].item() == pytest.approx(0.75)


def test_the_policys_loss_does_not_move_the_critic(spaces):
    td3bc = make(spaces)
    linear_(td3bc.critic, [[1.0, 0.0], [0.0, 1.0]])
    td3bc.averages.value.fill_(1.0)
    with torch.no_grad():  # at 0 exactly, the critic's own units have no slope
        td3bc.policy.net.layers[-1].bias.copy_(torch.tensor([0.3, -0.2]))
    action = torch.zeros(1, 2)
    loss, _ = td3bc.losses(make_inputs(torch.zeros(1, 3), action, target=torch.zeros(1)))
    # The critic is right about the action 0, so what is left is the policy's loss.
    for gradient in torch.autograd.grad(loss, list(td3bc.critic.parameters()), retain_graph=True):
        assert gradient.abs().max() == 0.0
    # Of a = tanh(b): (a − 0)/1 of the mean of two squares, less α = 2.5 times the first critic's slope, times 1 − a².
    a = torch.tanh(torch.tensor([0.3, -0.2]))
    expected = (a - 2.5 * torch.tensor([1.0, 0.0])) * (1 - a.square())
    torch.testing.assert_close(torch.autograd.grad(loss, td3bc.policy.net.layers[-1].bias)[0], expected)


# --- Updates ---


def test_the_first_step_clones_and_the_next_divides_by_its_mean_q(spaces, make_batch):
    td3bc = make(spaces, policy_delay=1, alpha=2.5)
    constant_(td3bc.critic, 8.0, 8.0)
    first = td3bc.update(make_batch())
    assert first["policy_loss"] == first["cloning_error"]
    assert first["q_magnitude"].item() == pytest.approx(8.0)
    assert td3bc.averages["q_magnitude"] == first["q_magnitude"]
    second = td3bc.update(make_batch(8, 1))
    # Q is about 8 still, after one step of 3e-4.
    assert (second["cloning_error"] - second["policy_loss"]).item() == pytest.approx(2.5, abs=0.01)


def test_the_mean_q_of_another_learner_counts_as_much(spaces, make_batch):
    td3bc = make(spaces)
    constant_(td3bc.critic, 8.0, 8.0)
    # Behind the gradient travel first what losses read and then all that is logged.
    logged = make(spaces).update(make_batch()).keys() - {"priority"}
    place = -1 - len(logged)

    def average_with_another(gradient: torch.Tensor) -> None:
        gradient[place] = (gradient[place] + 2.0) / 2

    td3bc.distribute(0, 2, average_with_another)
    td3bc.update(make_batch())
    assert td3bc.averages["q_magnitude"].item() == pytest.approx((8.0 + 2.0) / 2)


# --- Refusals ---


def test_wrong_knobs_are_refused(spaces):
    with pytest.raises(LearnerError, match=r"alpha: found -1\.0"):
        learners.create("td3bc", spaces, alpha=-1.0)


def test_a_critic_that_is_nothing_everywhere_divides_nothing(spaces):
    td3bc = make(spaces)
    td3bc.averages.value.zero_()
    assert math.isfinite(td3bc.q_scale().item())
