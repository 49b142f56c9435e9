"""Discrete BCQ: its filter, losses and targets by hand, and the proof that it learns without unsupported actions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import learners
from learners.losses import imitation_loss, supported
from replay.spaces import Box, Discrete, Spaces
from tests.learners.constants import make_inputs, zero_
from tests.learners.discrete_tabular import BEST, BROKEN, achieved, believed, chosen, partial_log, solution, train

SPACES = Spaces(Box((1,)), Discrete(3))


def make(*, behaviour, q, target_q=(0.0, 0.0, 0.0), **knobs):
    """The same in every state: probabilities of the data's three actions, Q of each, and Q of the target network."""
    bcq = learners.create("bcq", SPACES, hidden=(2,), **knobs)
    for network, bias, values in (
        (bcq.behaviour, bcq.behaviour.net.layers[-1].bias, torch.tensor(behaviour).log()),
        (bcq.critic, bcq.critic.net.biases[-1], torch.tensor(q)),
        (bcq.target_critic, bcq.target_critic.net.biases[-1], torch.tensor(target_q)),
    ):
        zero_(network)
        with torch.no_grad():
            bias.copy_(values.view_as(bias))
    return bcq


# --- Losses ---


def test_an_action_needs_a_share_of_the_likeliest_ones_probability():
    # Shares of .6: 1, .5 and 1/6.
    log_probs = torch.tensor([[0.6, 0.3, 0.1]]).log()
    assert supported(log_probs, 0.3).tolist() == [[True, True, False]]
    assert supported(log_probs, 0.6).tolist() == [[True, False, False]]
    assert supported(log_probs, 0.0).tolist() == [[True, True, True]]


def test_imitation_loss_is_the_cross_entropy_and_a_penalty():
    # Outputs of 0 and log 3 mean probabilities of 1/4 and 3/4.
    logits, action = torch.tensor([[0.0, math.log(3.0)]]), torch.tensor([[1.0, 0.0]])
    loss = imitation_loss(logits, action, penalty=0.01)
    assert loss.tolist() == pytest.approx([math.log(4.0) + 0.01 * math.log(3.0) ** 2 / 2])


def test_losses_of_constant_networks():
    bcq = make(behaviour=[0.6, 0.3, 0.1], q=[1.0, 2.0, 3.0], logit_penalty=0.0)
    action = torch.eye(3)[:2]  # The first action in one row, the second in the other.
    inputs = make_inputs(torch.zeros(2, 1), action, target=torch.tensor([1.5, 5.0]))
    loss, metrics = bcq.losses(inputs)
    # Huber: .5²/2 below an error of 1, 3 − 1/2 above.
    assert metrics["critic_loss"].item() == pytest.approx((0.125 + 2.5) / 2)
    assert metrics["behaviour_loss"].item() == pytest.approx(-math.log(0.6 * 0.3) / 2)
    assert metrics["priority"].tolist() == pytest.approx([0.5, 3.0])
    assert metrics["supported"].item() == 2.0
    assert loss.item() == pytest.approx((0.125 + 2.5 - math.log(0.6 * 0.3)) / 2)
    weighted, _ = bcq.losses(inputs._replace(weight=torch.tensor([2.0, 0.0])))
    assert weighted.item() == pytest.approx(0.125 - math.log(0.6))


# --- Targets and policy ---


def test_targets_are_chosen_by_the_critic_among_supported_actions_and_evaluated_by_its_target():
    # The third action has the largest Q, but too small a share; the second is best by Q, the first by the target.
    bcq = make(behaviour=[0.6, 0.3, 0.1], q=[1.0, 2.0, 3.0], target_q=[9.0, 4.0, 7.0])
    inputs = make_inputs(torch.zeros(1, 1), torch.eye(3)[:1], reward=torch.tensor([1.0]), discount=torch.tensor([0.5]))
    assert bcq.bootstrap(inputs)["q"].tolist() == pytest.approx([1.0 + 0.5 * 4.0])


def test_the_policy_never_takes_an_unsupported_action():
    bcq = make(behaviour=[0.6, 0.3, 0.1], q=[1.0, 1.0, 50.0])
    observation = np.zeros((500, 1), np.float32)
    drawn, _ = bcq.act(observation, key=(0, 0), deterministic=False)
    assert set(drawn.tolist()) == {0, 1}
    bcq = make(behaviour=[0.6, 0.3, 0.1], q=[1.0, 2.0, 50.0])
    assert bcq.act(observation[:1])[0].tolist() == [1]


# --- Learning ---


@pytest.mark.slow
def test_it_finds_the_best_supported_policy_and_its_exact_values():
    log = partial_log()
    bcq = train("bcq", log, 1500, polyak=0.01)
    policy = chosen(bcq)
    assert achieved(policy)[0] == pytest.approx(BEST)
    assert not any(policy == np.array(BROKEN))
    assert np.abs(believed(bcq, log, "q_data") - solution(log)).max() < 0.01


@pytest.mark.slow
def test_without_the_threshold_it_is_deceived():
    log = partial_log()
    policy = chosen(train("bcq", log, 1500, polyak=0.01, threshold=0.0))
    assert any(policy == np.array(BROKEN))
