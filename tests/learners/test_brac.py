"""BRAC's divergence, targets and losses against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

import learners
from learners.errors import LearnerError
from learners.losses import kl_estimate
from learners.networks.policies import TanhGaussianPolicy
from replay.spaces import Box, Spaces
from tests.learners.constants import constant_, linear_, make_inputs, zero_

SPACES = Spaces(Box((1,)), Box((1,), low=(-1.0,), high=(1.0,)))
LOG_NORMAL = -0.5 * math.log(2.0 * math.pi)  # log N(0; 0, 1), and log π(0∣s) of a squashed standard normal policy.


def make(**knobs):
    """BRAC of one observed and one commanded number. Both policies are squashed standard normal distributions, that of
    the data with its mean at 1, before tanh."""
    brac = learners.create("brac", SPACES, **{"hidden": (2,), "warm_up_steps": 0, **knobs})
    for module in (brac.policy, brac.behaviour):
        zero_(module)
    with torch.no_grad():
        brac.behaviour.net.layers[-1].bias[0] = 1.0
    return brac


def samples(*values):
    """(N, 1, 1)."""
    return torch.tensor(values).view(-1, 1, 1)


# --- Divergence ---


def test_divergence_of_two_samples():
    # π = N(0, 1) and β = N(1, 1) at x: −x²/2 + (x − 1)²/2 = 1/2 − x. For .2 and .6 it is .3 and −.1.
    zero, one = torch.zeros(1, 1), torch.ones(1, 1)
    assert kl_estimate(samples(0.2, 0.6), zero, zero, one, zero).tolist() == pytest.approx([0.1])


def test_divergence_sums_over_the_elements_of_an_action():
    # A narrow π, N(1, .5²), and β = N(0, 1) at x = 1 + .5ε: −ε²/2 − log .5 + x²/2 in each element.
    noise = torch.tensor([[[0.0, 2.0]]])
    narrow = torch.full((1, 2), math.log(0.5))
    divergence = kl_estimate(noise, torch.ones(1, 2), narrow, torch.zeros(1, 2), torch.zeros(1, 2))
    assert divergence.tolist() == pytest.approx([2 * math.log(2.0) + 0.5 + (-2.0 + 2.0)])


def test_the_estimate_converges_to_the_exact_divergence_of_squashed_policies():
    # KL(N(μ, s²) ∥ N(0, 1)) = (s² + μ² − 1)/2 − log s, and squashing both changes nothing.
    mean, std = 0.5, 0.3
    exact = (std**2 + mean**2 - 1) / 2 - math.log(std)
    policy = TanhGaussianPolicy(1, 1, ())
    behaviour = TanhGaussianPolicy(1, 1, ())
    zero_(policy)
    zero_(behaviour)
    with torch.no_grad():
        policy.net.layers[-1].bias.copy_(torch.tensor([mean, math.log(std)]))
    state = torch.zeros(1, 1)
    # Quantiles of the normal distribution instead of random draws.
    count = 10_001
    noise = torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count).float().view(-1, 1, 1)
    with torch.no_grad():
        estimate = kl_estimate(noise, *policy(state), *behaviour(state)).item()
        action, log_prob = policy.sample(state, noise)
        squashed = (log_prob - behaviour.log_prob(state, action)).mean().item()
    assert estimate == pytest.approx(exact, abs=1e-3)
    assert squashed == pytest.approx(exact, abs=1e-3)


def test_the_divergence_is_differentiable_where_actions_are_at_their_bounds():
    # KL = (μ − 1)²/2, whose slope at μ = 20 is 19; a squashed action there is 1 in single precision.
    mean = torch.full((1, 1), 20.0, requires_grad=True)
    zero = torch.zeros(1, 1)
    divergence = kl_estimate(samples(-1.0, 1.0), mean, zero, zero + 1.0, zero)
    assert divergence.item() == pytest.approx(0.5 * 19.0**2)
    assert torch.autograd.grad(divergence.sum(), mean)[0].item() == pytest.approx(19.0)


# --- Targets ---


def targets(brac, *noise):
    inputs = make_inputs(
        torch.zeros(1, 1),
        torch.zeros(1, 1),
        reward=torch.tensor([1.0]),
        discount=torch.tensor([0.5]),
        noise={"policy": samples(*noise)},
    )
    return brac.bootstrap(inputs)["q"].item()


def test_the_value_penalty_lowers_the_smaller_critic_at_the_first_action():
    brac = make(penalty_weight=2.0)
    linear_(brac.target_critic, [[1.0], [3.0]])  # The action is tanh .2; the divergence by both is .1.
    assert targets(brac, 0.2, 0.6) == pytest.approx(1.0 + 0.5 * (math.tanh(0.2) - 2.0 * 0.1))
    assert brac.target_modules == ("policy", "target_critic", "behaviour")


def test_policy_regularisation_leaves_the_targets_alone(spaces, make_batch):
    brac = make(penalty="policy", penalty_weight=2.0)
    linear_(brac.target_critic, [[1.0], [3.0]])
    assert targets(brac, 0.2) == pytest.approx(1.0 + 0.5 * math.tanh(0.2))
    assert brac.target_modules == ("policy", "target_critic")
    noise = learners.create("brac", spaces, hidden=(8,), penalty="policy").target_noise(make_batch(8))
    assert noise["policy"].shape == (1, 8, 2)


# --- Losses ---


def losses(brac, *, target, action=0.0, heed=1.0):
    noise = {"policy": samples(0.2, 0.6), "heed": torch.tensor(heed)}
    inputs = make_inputs(torch.zeros(1, 1), torch.tensor([[action]]), target=torch.tensor([target]), noise=noise)
    return brac.losses(inputs)


@pytest.mark.parametrize("penalty", ["value", "policy"])
def test_losses_of_constant_networks(penalty):
    brac = make(penalty=penalty, penalty_weight=2.0)
    constant_(brac.critic, 1.0, 3.0)
    loss, metrics = losses(brac, target=2.5)
    assert metrics["divergence"].item() == pytest.approx(0.1)
    assert metrics["policy_loss"].item() == pytest.approx(2.0 * 0.1 - 1.0)
    assert metrics["behaviour_loss"].item() == pytest.approx(-(LOG_NORMAL - 0.5))  # At 0, with the mean at 1.
    assert metrics["critic_loss"].item() == pytest.approx(1.5**2 + 0.5**2)
    assert metrics["priority"].tolist() == pytest.approx([1.0])
    assert loss.item() == pytest.approx(0.2 - 1.0 - LOG_NORMAL + 0.5 + 2.5)


def test_the_warm_up_only_approaches_the_behaviour_policy(spaces, make_batch):
    brac = make(penalty_weight=2.0)
    constant_(brac.critic, 1.0, 3.0)
    assert losses(brac, target=2.5, heed=0.0)[1]["policy_loss"].item() == pytest.approx(0.2)
    # It ends when as many steps have been made.
    brac = learners.create("brac", spaces, hidden=(8,), warm_up_steps=2)
    heeded = []
    for sequence in range(4):
        heeded.append(brac.loss_noise(make_batch(8, sequence))["heed"].item())
        brac.update(make_batch(8, sequence))
    assert heeded == [0.0, 0.0, 1.0, 1.0]


def test_each_loss_moves_its_own_network_only():
    brac = make()
    linear_(brac.critic, [[1.0], [1.0]])
    _, metrics = losses(brac, target=1.0, action=0.4)
    owners = {"policy_loss": "policy", "behaviour_loss": "behaviour", "critic_loss": "critic"}
    for name, owner in owners.items():
        for module in owners.values():
            parameters = list(brac.modules[module].parameters())
            gradients = torch.autograd.grad(metrics[name], parameters, retain_graph=True, allow_unused=True)
            moved = any(gradient is not None and bool(gradient.abs().max() > 0) for gradient in gradients)
            assert moved == (module == owner), (name, module)


def test_the_policy_has_its_own_learning_rate(spaces, make_batch):
    brac = learners.create("brac", spaces, hidden=(8,), learning_rate=1e-2, policy_learning_rate=1e-4)
    before = {name: brac.optimiser.segment(name).clone() for name in ("critic", "policy", "behaviour")}
    brac.update(make_batch())
    # Adam's first step is the learning rate, where there is a gradient at all.
    moved = {name: (brac.optimiser.segment(name) - old).abs().max().item() for name, old in before.items()}
    assert moved == pytest.approx({"critic": 1e-2, "policy": 1e-4, "behaviour": 1e-2}, rel=1e-2)


@pytest.mark.parametrize(
    ("knob", "value"),
    [("penalty", "q"), ("penalty_weight", -0.1), ("sampled_actions", 0), ("warm_up_steps", -1)],
)
def test_wrong_knobs_are_refused(knob, value):
    with pytest.raises(LearnerError, match=f"{knob}: found {value!r}"):
        make(**{knob: value})
