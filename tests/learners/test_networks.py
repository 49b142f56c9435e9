"""Networks: ensembles against their members one by one."""

from __future__ import annotations

import pytest
import torch

from learners.networks import critics
from learners.networks.critics import DiscreteCritic, EnsembleCritic, EnsembleMLP, PositiveScalar
from tests.learners.constants import linear_


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
    monkeypatch.setattr(critics, "CPU_ROWS", at_once)
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


def test_a_positive_scalar_starts_where_asked():
    assert PositiveScalar(0.25)().item() == pytest.approx(0.25)


def test_a_discrete_critic_answers_for_the_chosen_actions():
    critic, observation = DiscreteCritic(2, 3, 4, (8,)), torch.randn(5, 3)
    every = critic.every(observation)
    assert every.shape == (2, 5, 4)
    choice = torch.tensor([0, 3, 1, 1, 2])
    one_hot = torch.nn.functional.one_hot(choice, 4).float()
    torch.testing.assert_close(critic(observation, one_hot), every[:, torch.arange(5), choice])
    several = torch.eye(4)[:, None].expand(4, 5, 4)  # every action in every state
    torch.testing.assert_close(critic(observation, several), every.transpose(1, 2))
