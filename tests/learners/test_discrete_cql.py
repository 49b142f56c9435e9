"""Discrete CQL's regulariser, targets and losses against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

import learners
from learners.discrete_cql import DiscreteCQL
from learners.losses import exact_gap
from replay.spaces import Box, Discrete, Spaces
from tests.learners.constants import make_inputs, zero_

LOG_3 = math.log(3.0)
NOTHING = torch.zeros(1, 1)


def make(actions=2, **knobs):
    return learners.create("cql", Spaces(Box((1,)), Discrete(actions)), **{"hidden": (2,), **knobs})


@torch.no_grad()
def outputs_(critic, *values):
    """The same Qs everywhere: one number for each member and action."""
    zero_(critic)
    critic.net.biases[-1].copy_(torch.tensor(values)[:, None])


# --- Losses ---


def test_the_exact_gap_is_a_negative_log_likelihood():
    # log(e⁰ + e^{log 3}) = log 4, less 0 for the first action and log 3 for the second: −log ¼ and −log ¾.
    q = torch.tensor([[[0.0, LOG_3], [0.0, LOG_3]]])
    gap = exact_gap(q, torch.eye(2))
    torch.testing.assert_close(gap, torch.tensor([[math.log(4.0), math.log(4.0 / 3.0)]]))


def test_losses_of_known_critics():
    cql = make(conservative_weight=5.0)
    outputs_(cql.critic, [0.0, LOG_3], [LOG_3, 0.0])
    loss, metrics = cql.losses(make_inputs(NOTHING, torch.tensor([[1.0, 0.0]]), target=torch.tensor([1.0])))
    # Q(s, a) is 0 and log 3, the label 1.
    critic_loss = 1.0 + (LOG_3 - 1.0) ** 2
    assert metrics["critic_loss"].item() == pytest.approx(critic_loss)
    assert metrics["q_data"].item() == pytest.approx(LOG_3 / 2)
    assert metrics["priority"].tolist() == pytest.approx([(1.0 + LOG_3 - 1.0) / 2])
    # The mean of log 4 − 0 and log 4 − log 3. Both members are pushed down.
    gap = math.log(4.0) - LOG_3 / 2
    assert metrics["conservative_gap"].item() == pytest.approx(gap)
    assert loss.item() == pytest.approx(critic_loss + 2 * 5.0 * gap)


def test_importance_weights_scale_each_row():
    cql = make(conservative_weight=1.0)
    outputs_(cql.critic, [0.0, LOG_3], [0.0, LOG_3])
    inputs = make_inputs(
        torch.zeros(2, 1), torch.eye(2), target=torch.tensor([1.0, LOG_3]), weight=torch.tensor([2.0, 0.5])
    )
    _, metrics = cql.losses(inputs)
    # Errors of 1 and 0, for each of two members; gaps of log 4 and log 4/3.
    assert metrics["critic_loss"].item() == pytest.approx(2 * (2.0 * 1.0 + 0.0) / 2)
    gap = (2.0 * math.log(4.0) + 0.5 * math.log(4.0 / 3.0)) / 2
    assert metrics["conservative_gap"].item() == pytest.approx(gap)


@pytest.mark.parametrize(("threshold", "direction"), [(1.0, 1), (100.0, -1)])
def test_the_multiplier_rises_above_the_threshold_and_falls_below(threshold, direction):
    cql = make(conservative_weight=5.0, lagrange_threshold=threshold)
    outputs_(cql.critic, [0.0, LOG_3], [0.0, LOG_3])
    inputs = make_inputs(NOTHING, torch.tensor([[1.0, 0.0]]), target=torch.zeros(1))
    loss, metrics = cql.losses(inputs)
    weighted_gap = 5.0 * math.log(4.0)  # 6.9
    assert metrics["multiplier"].item() == 1.0
    assert loss.item() == pytest.approx(2 * weighted_gap - (weighted_gap - threshold))
    # d/dα' of −α'(α·gap − τ), at the logarithm of α' = 1; only this loss moves α', and descent raises it.
    (gradient,) = torch.autograd.grad(loss, cql.multiplier.log)
    assert gradient.item() == pytest.approx(threshold - weighted_gap)
    assert gradient.item() * direction < 0


# --- Targets and policy ---


def test_the_critic_chooses_and_its_target_evaluates():
    cql = make(actions=3)
    outputs_(cql.critic, [1.0, 5.0, 2.0], [4.0, 2.0, 1.5])  # the smaller ones are 1, 2 and 1.5: the second is best
    outputs_(cql.target_critic, [9.0, 3.0, 9.0], [9.0, 4.0, 9.0])
    inputs = make_inputs(NOTHING, torch.zeros(1, 3), reward=torch.tensor([1.0]), discount=torch.tensor([0.5]))
    assert cql.bootstrap(inputs)["q"].tolist() == [1.0 + 0.5 * 3.0]


def test_it_acts_by_the_smaller_critic_and_draws_from_its_softmax():
    cql = make()
    outputs_(cql.critic, [5.0, LOG_3], [0.0, 9.0])
    assert cql.policy_action(NOTHING, None).tolist() == [[0.0, 1.0]]
    noise = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0))
    # e^{log 3} : e⁰ = 3 : 1. The standard error is .003.
    assert cql.policy_action(torch.zeros(20_000, 1), noise)[:, 1].mean().item() == pytest.approx(0.75, abs=0.01)


def test_it_is_what_cql_means_for_discrete_actions():
    cql = make(lagrange_threshold=1.0)
    assert isinstance(cql, DiscreteCQL)
    assert set(cql.modules) == {"critic", "multiplier", "target_critic"}
