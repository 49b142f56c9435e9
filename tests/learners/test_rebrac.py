"""ReBRAC's two penalties against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

import learners
from learners.errors import LearnerError
from learners.losses import squared_distance
from tests.learners.constants import constant_, linear_, make_inputs, zero_


def make(spaces, **knobs):
    """A policy that answers 0, on three observed and two commanded numbers in [-2, 2] and [0, 1]."""
    rebrac = learners.create("rebrac", spaces, **{"hidden": (4,), "layer_norm": False, **knobs})
    zero_(rebrac.policy)
    zero_(rebrac.target_policy)
    return rebrac


def test_the_distance_is_a_sum_over_the_actions_elements():
    distance = squared_distance(torch.tensor([[0.5, 0.0], [1.0, 1.0]]), torch.tensor([[0.1, 0.2], [0.0, -1.0]]))
    torch.testing.assert_close(distance, torch.tensor([0.2, 5.0]))


def test_it_asks_for_the_next_action(spaces):
    assert make(spaces, n_step=3).requires.columns == ("next_action", "has_next_action")


def bootstrap(rebrac, has_next_action):
    inputs = make_inputs(
        torch.zeros(1, 3),
        torch.zeros(1, 2),
        reward=torch.tensor([1.0]),
        discount=torch.tensor([0.9]),
        noise={"target_policy": torch.tensor([[1.0, 9.0]])},
        extras={
            "next_action": torch.tensor([[2.0, 0.75]]),  # in the robot's units: (1, .5) in [-1, 1]
            "has_next_action": torch.tensor([has_next_action], dtype=torch.uint8),
        },
    )
    return rebrac.bootstrap(inputs)["q"].item()


def test_targets_pay_for_the_distance_from_the_next_action(spaces):
    rebrac = make(spaces, critic_penalty=0.1, target_noise=0.2, target_noise_clip=0.5)
    linear_(rebrac.target_critic, [[1.0, 0.0], [0.0, 1.0]])
    # The smoothed action is (.2, .5), the smaller critic .2; the data's next action is .8 and 0 away: .1·.64.
    assert bootstrap(rebrac, 1) == pytest.approx(1.0 + 0.9 * (0.2 - 0.064))


def test_targets_pay_nothing_where_the_data_has_no_next_action(spaces):
    rebrac = make(spaces, critic_penalty=0.1)
    linear_(rebrac.target_critic, [[1.0, 0.0], [0.0, 1.0]])
    assert bootstrap(rebrac, 0) == pytest.approx(1.0 + 0.9 * 0.2)


def test_losses_of_constant_networks(spaces):
    rebrac = make(spaces, policy_penalty=0.5)
    constant_(rebrac.critic, 5.0, -3.0)
    rebrac.averages.value.fill_(4.0)  # mean |Q| in the step before
    action = torch.tensor([[0.6, 0.8]])
    loss, metrics = rebrac.losses(make_inputs(torch.zeros(1, 3), action, target=torch.tensor([1.0])))
    # (5 − 1)² + (−3 − 1)²
    assert metrics["critic_loss"].item() == pytest.approx(32.0)
    assert metrics["priority"].tolist() == pytest.approx([4.0])
    # The smaller critic's: .5·(.6² + .8²) + 3/4
    assert metrics["distance"].item() == pytest.approx(1.0)
    assert metrics["policy_loss"].item() == pytest.approx(0.5 + 0.75)
    assert metrics["q_magnitude"].item() == pytest.approx(3.0)
    assert loss.item() == pytest.approx(33.25)


def test_importance_weights_scale_each_row(spaces):
    rebrac = make(spaces, policy_penalty=1.0)
    constant_(rebrac.critic, 0.0, 0.0)
    action, weight = torch.tensor([[0.0, 1.0], [1.0, 1.0]]), torch.tensor([2.0, 0.5])
    inputs = make_inputs(torch.zeros(2, 3), action, target=torch.tensor([1.0, 3.0]), weight=weight)
    _, metrics = rebrac.losses(inputs)
    # Both members: (2·1 + .5·9)/2 each; of the policy (2·1 + .5·2)/2.
    assert metrics["critic_loss"].item() == pytest.approx(6.5)
    assert metrics["policy_loss"].item() == pytest.approx(1.5)


def test_the_policys_loss_does_not_move_the_critic(spaces):
    rebrac = make(spaces, policy_penalty=0.5)
    linear_(rebrac.critic, [[1.0, 0.0], [1.0, 0.0]])
    rebrac.averages.value.fill_(2.0)
    bias = torch.tensor([0.3, -0.2])  # at 0 exactly, the critic's own units have no slope
    with torch.no_grad():
        rebrac.policy.net.layers[-1].bias.copy_(bias)
    loss, _ = rebrac.losses(make_inputs(torch.zeros(1, 3), torch.zeros(1, 2), target=torch.zeros(1)))
    # The critic is right about the action 0, so what is left is the policy's loss.
    for gradient in torch.autograd.grad(loss, list(rebrac.critic.parameters()), retain_graph=True):
        assert gradient.abs().max() == 0.0
    # Of a = tanh(b): 2·.5·(a − 0), less the critic's slope over 2, times 1 − a².
    a = torch.tanh(bias)
    expected = (a - torch.tensor([0.5, 0.0])) * (1 - a.square())
    torch.testing.assert_close(torch.autograd.grad(loss, rebrac.policy.net.layers[-1].bias)[0], expected)


@pytest.mark.parametrize("knob", ["policy_penalty", "critic_penalty", "target_noise"])
def test_wrong_knobs_are_refused(spaces, knob):
    with pytest.raises(LearnerError, match=rf"{knob}: found -1\.0, expected a number, 0 to"):
        learners.create("rebrac", spaces, **{knob: -1.0})
