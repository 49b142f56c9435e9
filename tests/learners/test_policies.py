"""Policies: densities against the rules of probability."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from learners.networks.policies import (
    CategoricalPolicy,
    GaussianPolicy,
    TanhGaussianPolicy,
    normal_log_prob,
    one_hot_choice,
    tanh_log_jacobian,
)
from tests.learners.constants import zero_


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


# --- Continuous actions ---


def test_normal_log_prob_by_hand():
    # x is one standard deviation off in the first element, on the mean in the second.
    log_prob = normal_log_prob(torch.tensor([[3.0, 5.0]]), torch.tensor([[1.0, 5.0]]), torch.tensor([2.0, 0.5]).log())
    assert log_prob.tolist() == pytest.approx([-0.5 - math.log(2.0) - math.log(0.5) - math.log(2 * math.pi)])


def test_gaussian_policy_is_centred_in_the_box():
    policy = GaussianPolicy(3, 2, (8,))
    zero_(policy)
    mean, log_std = policy(torch.randn(4, 3))
    assert mean.abs().max() == 0.0
    assert log_std.tolist() == [0.0, 0.0]
    log_prob = policy.log_prob(torch.randn(1, 3), torch.tensor([[0.6, 0.8]]))
    assert log_prob.tolist() == pytest.approx([-0.5 - math.log(2 * math.pi)])


def squashed(mean: float, std: float) -> TanhGaussianPolicy:
    """The tanh of one normal variable."""
    policy = TanhGaussianPolicy(1, 1, (4,))
    zero_(policy)
    with torch.no_grad():
        policy.net.layers[-1].bias.copy_(torch.tensor([mean, math.log(std)]))
    return policy


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.7, 0.4), (-1.2, 0.8)])
def test_tanh_gaussian_density_is_the_slope_of_its_distribution_function(mean, std):
    # P(tanh X ≤ a) = Φ((atanh a − mean)/std)
    def below(a: float) -> float:
        return 0.5 * (1.0 + math.erf((math.atanh(a) - mean) / std / math.sqrt(2.0)))

    action = [-0.9, -0.3, 0.0, 0.5, 0.95]
    with torch.no_grad():
        log_prob = squashed(mean, std).log_prob(torch.zeros(5, 1), torch.tensor(action)[:, None])
    slopes = [(below(a + 1e-6) - below(a - 1e-6)) / 2e-6 for a in action]
    np.testing.assert_allclose(log_prob.exp().numpy(), slopes, rtol=1e-4, atol=1e-6)


def test_tanh_gaussian_density_in_closed_form():
    # log N(1; 0, 1) − log(1 − tanh² 1)
    expected = -0.5 - 0.5 * math.log(2 * math.pi) - math.log(1 - math.tanh(1.0) ** 2)
    action, log_prob = squashed(0.0, 1.0).sample(torch.zeros(1, 1), torch.ones(1, 1))
    assert action.item() == pytest.approx(math.tanh(1.0))
    assert log_prob.item() == pytest.approx(expected, rel=1e-5)


def test_samples_come_with_the_log_prob_of_their_actions():
    policy, observation = TanhGaussianPolicy(3, 2, (8,)), torch.randn(5, 3)
    action, log_prob = policy.sample(observation, torch.randn(7, 5, 2))
    assert action.shape == (7, 5, 2)
    assert log_prob.shape == (7, 5)
    for one, expected in zip(action, log_prob, strict=True):
        torch.testing.assert_close(policy.log_prob(observation, one), expected, atol=1e-4, rtol=1e-4)


def test_saturated_actions_have_finite_densities():
    # log(1 − tanh²(±20)) = log 4 − 40 up to e⁻⁴⁰, where 1 − tanh² itself is 0 in single precision.
    jacobian = tanh_log_jacobian(torch.tensor([[20.0], [-20.0]]))
    assert jacobian.tolist() == pytest.approx([math.log(4.0) - 40.0] * 2)
    policy = TanhGaussianPolicy(3, 2, (8,))
    assert torch.isfinite(policy.log_prob(torch.zeros(1, 3), torch.tensor([[1.0, -1.0]]))).all()
    assert torch.isfinite(policy.sample(torch.zeros(1, 3), torch.full((1, 2), 50.0))[1]).all()


def test_a_fixed_spread_makes_the_likelihood_a_squared_error():
    policy = GaussianPolicy(3, 2, (8,), std=1.0)
    zero_(policy)
    assert "log_std" not in dict(policy.named_parameters())
    action = torch.tensor([[0.6, 0.8], [0.0, 0.0]])
    log_prob = policy.log_prob(torch.zeros(2, 3), action)
    assert (log_prob[1] - log_prob[0]).item() == pytest.approx(0.5 * (0.36 + 0.64))


# --- Discrete actions ---


def categorical(*probabilities: float) -> CategoricalPolicy:
    policy = CategoricalPolicy(1, len(probabilities), (4,))
    zero_(policy)
    with torch.no_grad():
        policy.net.layers[-1].bias.copy_(torch.tensor(probabilities).log())
    return policy


def test_log_prob_of_a_one_hot_action():
    policy = categorical(0.2, 0.5, 0.3)
    actions = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    assert policy.log_prob(torch.zeros(2, 1), actions).exp().tolist() == pytest.approx([0.3, 0.2])
    assert policy.act(torch.zeros(1, 1), None).tolist() == [[0.0, 1.0, 0.0]]


def test_normal_noise_draws_actions_as_often_as_they_are_likely():
    policy, noise = categorical(0.2, 0.5, 0.3), torch.randn(20_000, 3)
    drawn = policy.act(torch.zeros(20_000, 1), noise)
    assert drawn.sum(-1).unique().tolist() == [1.0]
    # Four standard errors of a share in 20,000 draws are below .015.
    torch.testing.assert_close(drawn.mean(0), torch.tensor([0.2, 0.5, 0.3]), atol=0.015, rtol=0.0)


def test_a_choice_without_noise_is_the_best():
    assert one_hot_choice(torch.tensor([[1.0, 3.0, 2.0]]), None).tolist() == [[0.0, 1.0, 0.0]]
