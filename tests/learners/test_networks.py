"""Networks: ensembles against their members one by one, densities against the rules of probability."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from learners import networks
from learners.networks import (
    EnsembleCritic,
    EnsembleMLP,
    GaussianPolicy,
    PositiveScalar,
    TanhGaussianPolicy,
    normal_log_prob,
    tanh_log_jacobian,
)
from tests.learners.constants import linear_, zero_


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


# --- Ensembles ---


@pytest.mark.parametrize("layer_norm", [False, True])
def test_an_ensemble_is_its_members_one_by_one(layer_norm):
    net = EnsembleMLP(3, 4, (8, 8), 2, layer_norm=layer_norm)
    with torch.no_grad():
        for parameter in [*net.gains, *net.shifts]:
            parameter.normal_()
    x = torch.randn(5, 4)
    outputs = net(x)
    assert outputs.shape == (3, 5, 2)
    for member in range(3):
        hidden = x
        for layer in range(2):
            hidden = hidden @ net.weights[layer][member] + net.biases[layer][member]
            if layer_norm:
                centred = hidden - hidden.mean(-1, keepdim=True)
                hidden = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
                hidden = hidden * net.gains[layer][member] + net.shifts[layer][member]
            hidden = hidden.clamp(min=0.0)
        torch.testing.assert_close(outputs[member], hidden @ net.weights[2][member] + net.biases[2][member])


def test_each_member_may_have_its_own_inputs():
    net, x = EnsembleMLP(3, 4, (8,), 2), torch.randn(3, 5, 4)
    outputs = net(x)
    for member in range(3):
        torch.testing.assert_close(outputs[member], net(x[member])[member])


def test_members_start_apart():
    q = EnsembleCritic(3, 4, 2, (8,))(torch.randn(5, 4), torch.randn(5, 2))
    assert q.shape == (3, 5)
    assert len(q[:, 0].unique()) == 3


def test_frozen_parameters_take_no_gradient_but_actions_do():
    critic = EnsembleCritic(2, 3, 2, (8,), layer_norm=True)
    observation, action = torch.randn(5, 3), torch.randn(5, 2, requires_grad=True)
    critic(observation, action, frozen=True).sum().backward()
    frozen, action.grad = action.grad, None
    assert all(parameter.grad is None for parameter in critic.parameters())
    critic(observation, action).sum().backward()
    torch.testing.assert_close(frozen, action.grad)
    assert all(parameter.grad is not None for parameter in critic.parameters())


@pytest.mark.parametrize("at_once", [2048, 10, 1])  # rows in one product: all, two actions at a time, one
def test_several_actions_at_each_observation_are_as_many_calls(at_once, monkeypatch):
    monkeypatch.setattr(networks, "CPU_ROWS", at_once)
    critic, observation, action = EnsembleCritic(2, 3, 2, (8, 8)), torch.randn(5, 3), torch.randn(7, 5, 2)
    q = critic(observation, action)
    assert q.shape == (2, 7, 5)
    torch.testing.assert_close(q, torch.stack([critic(observation, one) for one in action], 1))


def test_action_gradients_of_linear_critics_are_their_slopes():
    critic = EnsembleCritic(2, 3, 2, (4,))
    linear_(critic, [[1.0, -2.0], [0.5, 3.0]])
    q, gradient = critic.with_action_gradient(torch.randn(5, 3), torch.tensor([[0.25, -0.5]]).expand(5, 2))
    torch.testing.assert_close(q, torch.tensor([[1.25], [-1.375]]).expand(2, 5))
    torch.testing.assert_close(gradient, torch.tensor([[[1.0, -2.0]], [[0.5, 3.0]]]).expand(2, 5, 2))


def test_action_gradients_can_be_descended():
    # The derivative of Σ(∂Q/∂a)² in a random direction of the middle layer, against a difference, in double precision.
    critic = EnsembleCritic(2, 3, 2, (8, 8)).double()
    observation, action = torch.randn(5, 3).double(), torch.randn(5, 2).double()
    weight = critic.net.weights[1]
    direction = torch.randn_like(weight)

    def total() -> torch.Tensor:
        return critic.with_action_gradient(observation, action)[1].square().sum()

    (analytic,) = torch.autograd.grad(total(), weight)
    with torch.no_grad():
        weight.add_(direction, alpha=1e-6)
        above = total()
        weight.add_(direction, alpha=-2e-6)
        below = total()
    assert (analytic * direction).sum().item() == pytest.approx(((above - below) / 2e-6).item(), rel=1e-6)


# --- Distributions ---


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


def test_a_positive_scalar_starts_where_asked():
    assert PositiveScalar(0.25)().item() == pytest.approx(0.25)
