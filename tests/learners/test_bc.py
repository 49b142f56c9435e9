"""Behaviour cloning: its two losses by hand, and that it clones."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import learners
from learners.errors import LearnerError
from learners.losses import squared_error
from tests.learners.constants import make_inputs, zero_


def test_squared_error_is_a_mean_over_the_actions_elements():
    prediction, action = torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([[1.0, 3.0], [1.0, 0.0]])
    torch.testing.assert_close(squared_error(prediction, action), torch.tensor([5.0, 0.5]))


def test_log_likelihood_of_a_standard_normal(spaces):
    bc = learners.create("bc", spaces, hidden=(8,))
    zero_(bc.policy)
    loss, metrics = bc.losses(make_inputs(torch.zeros(1, 3), torch.tensor([[0.6, -0.8]])))
    assert loss.item() == pytest.approx(0.5 + math.log(2 * math.pi))  # ∣a∣² = 1 and A = 2
    assert metrics["priority"].tolist() == pytest.approx([math.log1p(math.exp(loss.item()))])


def test_squared_loss_of_a_policy_that_answers_zero(spaces):
    bc = learners.create("bc", spaces, hidden=(8,), loss="mse")
    zero_(bc.policy)
    action, weight = torch.tensor([[0.6, -0.8], [1.0, 1.0]]), torch.tensor([1.0, 3.0])
    loss, _ = bc.losses(make_inputs(torch.zeros(2, 3), action, weight=weight))
    assert loss.item() == pytest.approx((0.5 + 3 * 1.0) / 2)


def test_there_is_nothing_to_bootstrap(spaces, make_batch):
    bc = learners.create("bc", spaces)
    assert not bc.has_targets
    assert bc.targets(make_batch()) == {}
    assert bc.target_weights().size == 0
    assert set(bc.diagnostics(make_batch())) == {"policy_loss"}


@pytest.mark.parametrize("loss", ["log_likelihood", "mse"])
def test_a_constant_action_is_cloned_in_the_environments_units(loss, spaces, make_batch):
    bc = learners.create("bc", spaces, hidden=(16,), loss=loss, learning_rate=1e-2)
    expert = np.array([-1.5, 0.9], np.float32)
    for sequence in range(300):
        batch = make_batch(16, sequence)
        bc.update(replace(batch, action=np.tile(expert, (16, 1))))
    np.testing.assert_allclose(bc.act(np.zeros(3, np.float32))[0], expert, atol=0.1)


def test_the_loss_is_checked(spaces):
    with pytest.raises(LearnerError, match=r"loss: found 'mae', expected 'log_likelihood' or 'mse'"):
        learners.create("bc", spaces, loss="mae")
