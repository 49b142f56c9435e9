"""IQL's losses against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

import learners
from learners.errors import LearnerError
from learners.losses import advantage_weight, expectile_loss
from tests.learners.constants import constant_, make_inputs, zero_


def test_expectile_loss_weighs_the_two_signs_differently():
    # .3·(-2)², 0, .7·3²
    torch.testing.assert_close(expectile_loss(torch.tensor([-2.0, 0.0, 3.0]), 0.7), torch.tensor([1.2, 0.0, 6.3]))


def test_the_median_expectile_is_half_the_squared_error():
    torch.testing.assert_close(expectile_loss(torch.tensor([-2.0, 3.0]), 0.5), torch.tensor([2.0, 4.5]))


def test_advantage_weights_grow_with_the_advantage_up_to_the_clip():
    weight = advantage_weight(torch.tensor([-1.0, 0.0, 1.0, 10.0]), temperature=3.0, clip=100.0)
    torch.testing.assert_close(weight, torch.tensor([math.exp(-3), 1.0, math.exp(3), 100.0]))


def test_targets_are_reward_plus_discounted_value(spaces, make_batch):
    iql = learners.create("iql", spaces, hidden=(8,))
    constant_(iql.value, 5.0)
    batch = make_batch()
    torch.testing.assert_close(iql.targets(batch)["q"].numpy(), batch.reward + batch.discount * 5.0)
    assert batch.discount[3] == 0.0  # so that a terminal row is its reward alone


def test_losses_of_constant_networks(spaces):
    iql = learners.create("iql", spaces, hidden=(8,))
    constant_(iql.critic, 1.0, 3.0)
    constant_(iql.target_critic, 2.0, 4.0)
    constant_(iql.value, 1.5)
    zero_(iql.policy)
    action = torch.tensor([[0.6, 0.8]])
    loss, metrics = iql.losses(make_inputs(torch.zeros(1, 3), action, target=torch.tensor([2.5])))
    # The smaller target is 2, so the advantage is .5: .7·.5² for the value.
    assert metrics["advantage"].item() == pytest.approx(0.5)
    assert metrics["value_loss"].item() == pytest.approx(0.175)
    # (1 − 2.5)² + (3 − 2.5)²; the mean distance is (1.5 + .5)/2.
    assert metrics["critic_loss"].item() == pytest.approx(2.5)
    assert metrics["priority"].tolist() == pytest.approx([1.0])
    # −e^{3·.5}·log N(a; 0, 1), where ∣a∣² = 1 and A = 2: the logarithm is −.5 − log 2π.
    policy_loss = math.exp(1.5) * (0.5 + math.log(2 * math.pi))
    assert metrics["policy_loss"].item() == pytest.approx(policy_loss)
    assert loss.item() == pytest.approx(0.175 + 2.5 + policy_loss)


def test_importance_weights_scale_each_row(spaces):
    iql = learners.create("iql", spaces, hidden=(8,))
    constant_(iql.critic, 0.0, 0.0)
    plain = make_inputs(torch.zeros(2, 3), torch.zeros(2, 2), target=torch.tensor([1.0, 3.0]))
    weighted = plain._replace(weight=torch.tensor([2.0, 0.5]))
    # Both members: (1 + 9)/2 each; weighted (2·1 + .5·9)/2 each.
    assert iql.losses(plain)[1]["critic_loss"].item() == pytest.approx(10.0)
    assert iql.losses(weighted)[1]["critic_loss"].item() == pytest.approx(6.5)


def test_the_target_critic_follows_at_the_polyak_rate(spaces, make_batch):
    iql = learners.create("iql", spaces, hidden=(8,), polyak=0.25)
    before = iql.target_vectors["target_critic"].clone()
    iql.update(make_batch())
    after = iql.target_vectors["target_critic"]
    torch.testing.assert_close(after, 0.75 * before + 0.25 * iql.optimiser.segment("critic"))


def test_only_the_policys_learning_rate_falls(spaces, make_batch):
    iql = learners.create("iql", spaces, hidden=(8,), cosine_steps=2)
    iql.update(make_batch())
    iql.update(make_batch(8, 1))
    policy, critic = iql.optimiser.segment("policy").clone(), iql.optimiser.segment("critic").clone()
    iql.update(make_batch(8, 2))  # after two steps its rate is 0
    assert torch.equal(iql.optimiser.segment("policy"), policy)
    assert not torch.equal(iql.optimiser.segment("critic"), critic)


def test_the_expectile_is_checked(spaces):
    with pytest.raises(LearnerError, match=r"expectile: found 1.0"):
        learners.create("iql", spaces, expectile=1.0)
