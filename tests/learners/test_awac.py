"""AWAC's losses and targets against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

import learners
from learners.errors import LearnerError
from replay.spaces import Box, Discrete, Spaces
from tests.learners.constants import constant_, linear_, make_inputs, zero_


def make(spaces, **knobs):
    """A policy of mean 0 and spread 1 on three observed numbers."""
    awac = learners.create("awac", spaces, **{"hidden": (4,), **knobs})
    zero_(awac.policy)
    return awac


def noise(*action):
    return {"policy": torch.tensor(action)}


# --- Losses ---


def test_losses_of_linear_critics(spaces):
    awac = make(spaces, temperature=0.5, sampled_actions=2)
    linear_(awac.critic, [[1.0, 0.0], [1.0, 1.0]])
    # Two actions of the policy: (.5, −.5), and (2, .4) clipped to (1, .4). The critics say .5 and 0, then 1 and 1.4.
    sampled = noise([[0.5, -0.5]], [[2.0, 0.4]])
    inputs = make_inputs(torch.zeros(1, 3), torch.tensor([[0.6, 0.8]]), target=torch.tensor([1.0]), noise=sampled)
    loss, metrics = awac.losses(inputs)
    # At the data's action .6 and 1.4: (.6 − 1)² + (1.4 − 1)².
    assert metrics["critic_loss"].item() == pytest.approx(0.32)
    assert metrics["priority"].tolist() == pytest.approx([0.4])
    # The mean of the smaller ones is (0 + 1)/2; the advantage .6 − .5.
    assert metrics["value"].item() == pytest.approx(0.5)
    assert metrics["advantage"].item() == pytest.approx(0.1)
    # −e^{.1/.5}·log N(a; 0, 1), where ∣a∣² = 1 and A = 2: the logarithm is −.5 − log 2π.
    policy_loss = math.exp(0.2) * (0.5 + math.log(2 * math.pi))
    assert metrics["policy_loss"].item() == pytest.approx(policy_loss)
    assert loss.item() == pytest.approx(0.32 + policy_loss)


def test_the_weight_of_an_advantage_is_clipped(spaces):
    awac = make(spaces, temperature=0.01, advantage_clip=5.0)
    linear_(awac.critic, [[1.0, 0.0], [1.0, 0.0]])
    inputs = make_inputs(
        torch.zeros(1, 3), torch.tensor([[1.0, 0.0]]), target=torch.zeros(1), noise=noise([[0.0, 0.0]])
    )
    # e^{1/.01} is clipped to 5, times .5 + log 2π.
    assert awac.losses(inputs)[1]["policy_loss"].item() == pytest.approx(5 * (0.5 + math.log(2 * math.pi)))


def test_importance_weights_scale_each_row(spaces):
    awac = make(spaces)
    constant_(awac.critic, 0.0, 0.0)
    inputs = make_inputs(
        torch.zeros(2, 3),
        torch.zeros(2, 2),
        target=torch.tensor([1.0, 3.0]),
        noise={"policy": torch.zeros(1, 2, 2)},
        weight=torch.tensor([2.0, 0.5]),
    )
    _, metrics = awac.losses(inputs)
    # Both members: (2·1 + .5·9)/2 each; the policy's log-likelihood is −log 2π in both rows.
    assert metrics["critic_loss"].item() == pytest.approx(6.5)
    assert metrics["policy_loss"].item() == pytest.approx(1.25 * math.log(2 * math.pi))


def test_the_policys_loss_does_not_move_the_critic(spaces):
    awac = make(spaces)
    linear_(awac.critic, [[1.0, 0.0], [0.0, 1.0]])
    inputs = make_inputs(torch.zeros(1, 3), torch.zeros(1, 2), target=torch.zeros(1), noise=noise([[0.3, -0.2]]))
    loss, _ = awac.losses(inputs)
    # The critic is right about the action 0, so what is left is the policy's loss.
    for gradient in torch.autograd.grad(loss, list(awac.critic.parameters())):
        assert gradient.abs().max() == 0.0


# --- Targets ---


def test_targets_take_the_smaller_critic_at_the_policys_action(spaces):
    awac = make(spaces)
    linear_(awac.target_critic, [[1.0, 0.0], [0.0, 1.0]])
    inputs = make_inputs(
        torch.zeros(1, 3),
        torch.zeros(1, 2),
        reward=torch.tensor([1.0]),
        discount=torch.tensor([0.9]),
        noise=noise([0.4, 0.7]),
    )
    assert awac.bootstrap(inputs)["q"].item() == pytest.approx(1.0 + 0.9 * 0.4)


def test_discrete_actions_are_drawn_one_hot():
    awac = make(Spaces(Box((3,)), Discrete(3)))
    zero_(awac.target_critic)
    with torch.no_grad():  # Q = 1, 2, 3 of the three actions, by both members
        awac.target_critic.net.biases[-1].copy_(torch.tensor([1.0, 2.0, 3.0]).expand(2, 1, 3))
    draws = torch.tensor([[0.0, 9.0, 0.0], [9.0, 0.0, 0.0]])  # the policy is uniform, so the largest number chooses
    inputs = make_inputs(torch.zeros(2, 3), torch.zeros(2, 3), noise={"policy": draws})
    assert awac.bootstrap(inputs)["q"].tolist() == pytest.approx([2.0, 1.0])


# --- Updates ---


def test_only_the_policy_decays(spaces, make_batch):
    decayed, plain = (learners.create("awac", spaces, hidden=(8,), policy_weight_decay=decay) for decay in (10.0, 0.0))
    for awac in (decayed, plain):
        awac.update(make_batch())
    assert torch.equal(decayed.optimiser.segment("critic"), plain.optimiser.segment("critic"))
    assert not torch.equal(decayed.optimiser.segment("policy"), plain.optimiser.segment("policy"))


@pytest.mark.parametrize(
    ("knob", "value", "message"),
    [
        ("temperature", 0.0, r"temperature: found 0\.0, expected a number, 1e-09 to"),
        ("advantage_clip", -1.0, "advantage_clip: found"),
        ("sampled_actions", 0, "sampled_actions: found 0"),
        ("policy_weight_decay", -0.1, "policy_weight_decay: found"),
    ],
)
def test_wrong_knobs_are_refused(spaces, knob, value, message):
    with pytest.raises(LearnerError, match=message):
        learners.create("awac", spaces, **{knob: value})
