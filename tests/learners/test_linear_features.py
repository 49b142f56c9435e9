"""Fourier features and the values that are linear in them."""

from __future__ import annotations

import math

import pytest
import torch

from learners.networks.linear_features import ContinuousLinearCritic, DiscreteLinearCritic, FourierFeatures


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def set_(parameter, values):
    with torch.no_grad():
        parameter.copy_(torch.tensor(values))


# --- Features ---


def test_features_are_cosines_and_a_constant():
    features = FourierFeatures(2, 2, bandwidth=1.0)
    set_(features.frequency, [[1.0, 0.0], [0.0, 0.5]])
    set_(features.phase, [0.0, 0.5 * math.pi])
    # √(2/2)·cos(1), √(2/2)·cos(.5·2 + π/2) = −sin(1), 1
    found = features(torch.tensor([[1.0, 2.0]]))
    assert found.dtype == torch.float64
    assert found[0].tolist() == pytest.approx([math.cos(1), -math.sin(1), 1.0])


def test_their_products_are_a_gaussian_kernel():
    torch.manual_seed(0)
    features = FourierFeatures(4, 50_000, bandwidth=0.5)
    x, y = 0.5 * draw(6, 4), 0.5 * draw(6, 4, seed=1)
    found = (features(x)[:, :-1] * features(y)[:, :-1]).sum(-1)
    # exp(−∥x − y∥²/2l²) with l = .5·√4 = 1; the mean of 50,000 has an error of about .004.
    expected = torch.exp(-0.5 * (x - y).square().sum(-1)).double()
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.0)


# --- Continuous actions ---


def test_scores_are_the_values_of_the_candidates():
    critic = ContinuousLinearCritic(3, 2, count=16, bandwidth=0.5, candidates=7)
    set_(critic.weight, draw(17).tolist())
    observation = draw(5, 3)
    each = torch.stack([critic(observation, action.expand(5, 2)) for action in critic.candidates])
    torch.testing.assert_close(critic.scores(observation), each.T)
    torch.testing.assert_close(critic(observation, critic.candidates[:, None].expand(-1, 5, -1)), each)
    assert torch.equal(critic.best(observation), critic.candidates[each.argmax(0)])


def test_candidates_are_in_the_box_and_the_same_in_every_process():
    torch.manual_seed(0)
    one = ContinuousLinearCritic(3, 2, count=4, bandwidth=1.0, candidates=200).candidates
    torch.manual_seed(1)
    assert torch.equal(one, ContinuousLinearCritic(3, 2, count=4, bandwidth=1.0, candidates=200).candidates)
    assert one.abs().max() <= 1.0
    # Of 200 uniform ones, some are near each end.
    assert one.min() < -0.9
    assert one.max() > 0.9


# --- Discrete actions ---


def test_each_action_has_features_of_its_own():
    critic = DiscreteLinearCritic(3, 2, count=4, bandwidth=1.0)
    observation = draw(1, 3)
    state = critic.fourier(observation)[0]
    first, second = critic.features(observation.expand(2, 3), torch.eye(2))
    assert torch.equal(first, torch.cat([state, torch.zeros(5)]))
    assert torch.equal(second, torch.cat([torch.zeros(5), state]))


def test_the_best_action_is_that_of_the_highest_value():
    critic = DiscreteLinearCritic(3, 3, count=4, bandwidth=1.0)
    # Nothing but the constants: values 0, 3 and 1.
    set_(critic.weight, [*[0.0] * 5, *[0.0] * 4, 3.0, *[0.0] * 4, 1.0])
    observation = draw(2, 3)
    torch.testing.assert_close(critic.scores(observation), torch.tensor([[0.0, 3.0, 1.0]] * 2))
    assert critic.best(observation).tolist() == [[0.0, 1.0, 0.0]] * 2
    torch.testing.assert_close(critic(observation, torch.tensor([[0.0, 0.0, 1.0]] * 2)), torch.ones(2))
