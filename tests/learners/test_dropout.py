"""Dropout: which units, when, and the same again."""

from __future__ import annotations

import pytest
import torch

import learners
from learners.errors import LearnerError
from learners.networks.critics import MLP, EnsembleCritic
from learners.networks.dropout import Dropout
from tests.learners.constants import constant_


def test_units_below_the_rate_are_dropped_and_the_others_grow():
    dropout = Dropout(0.25, 4)
    dropout.refill(lambda width: torch.tensor([[0.1, 0.25, 0.9, 0.2]]))
    dropout.active = True
    torch.testing.assert_close(dropout(torch.ones(1, 4)), torch.tensor([[0.0, 4 / 3, 4 / 3, 0.0]]))
    dropout.active = False
    assert dropout(torch.ones(1, 4)).tolist() == [[1.0] * 4]


def test_every_row_has_its_mask_also_where_several_actions_are_tried():
    dropout = Dropout(0.5, 2)
    dropout.refill(lambda width: torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    dropout.active = True
    repeated = dropout(torch.ones(6, 2))  # three actions in each of two states, the states side by side
    assert repeated.tolist() == [[0.0, 2.0], [2.0, 0.0]] * 3


def test_every_member_has_its_mask():
    torch.manual_seed(0)
    critic = EnsembleCritic(2, 1, 1, (3,), dropout=0.5)
    constant_(critic, 1.0, 1.0)
    with torch.no_grad():
        critic.net.biases[0].fill_(1.0)
        critic.net.weights[1].fill_(1.0)
    (layer,) = critic.net.dropouts
    layer.refill(lambda width: torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0, 0.0]]))
    layer.active = True
    assert critic(torch.zeros(1, 1), torch.zeros(1, 1)).tolist() == [[1.0], [5.0]]  # 1 + 2 · (units kept)
    assert critic(torch.zeros(1, 1), torch.zeros(4, 1, 1))[1].tolist() == [[5.0]] * 4


def test_it_is_off_outside_of_updates(spaces, make_batch):
    wet, dry = (learners.create("iql", spaces, hidden=(16,), dropout=rate, value_dropout=rate) for rate in (0.5, 0.0))
    batch = make_batch()
    assert torch.equal(wet.targets(batch)["q"], dry.targets(batch)["q"])
    for name, metric in dry.diagnostics(batch).items():
        assert torch.equal(metric, wet.diagnostics(batch)[name])
    assert wet.update(batch)["policy_loss"] != dry.update(batch)["policy_loss"]
    assert (wet.act(batch.observation)[0] == wet.act(batch.observation)[0]).all()


def test_target_networks_do_not_drop(spaces, make_batch):
    # The value's loss at the first step: an expectile of the target critic, whose every unit counts.
    iql = learners.create("iql", spaces, hidden=(16,), value_dropout=0.5, expectile=0.5)
    constant_(iql.value, 0.0)
    batch = make_batch()
    expected = iql.diagnostics(batch)["advantage"]
    assert iql.update(batch)["advantage"] == expected


def test_a_perceptron_without_it_has_no_such_layer():
    assert not any(isinstance(layer, Dropout) for layer in MLP(2, (4,), 1).modules())


def test_the_rate_is_checked(spaces):
    with pytest.raises(LearnerError, match=r"dropout: found 1.0, expected a number, at least 0, below 1"):
        learners.create("bc", spaces, dropout=1.0)
