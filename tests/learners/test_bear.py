"""BEAR's discrepancy, targets, losses and multiplier against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

import learners
from learners.errors import LearnerError
from learners.losses import maximum_mean_discrepancy, multiplier_loss
from replay.spaces import Box, Spaces
from tests.learners.constants import constant_, linear_, make_inputs, zero_

SPACES = Spaces(Box((1,)), Box((1,), low=(-1.0,), high=(1.0,)))


def make(**knobs):
    """BEAR of one observed and one commanded number. Its policies are squashed standard normal distributions, and the
    model of the data draws the first latent, before tanh."""
    bear = learners.create("bear", SPACES, **{"hidden": (2,), "generative_hidden": (), "warm_up_steps": 0, **knobs})
    for module in (bear.vae, bear.policy, bear.target_policy):
        zero_(module)
    with torch.no_grad():
        bear.vae.decoder.layers[0].weight[0, 1] = 1.0
    return bear


def samples(*values):
    """(N, 1, 1)."""
    return torch.tensor(values).view(-1, 1, 1)


# --- Discrepancy ---


def test_discrepancy_of_two_points():
    # 1 − 2·e^{−d/2σ} + 1 for d = 3 and σ = .5; the square of d with the Gaussian kernel.
    x, y = samples(1.0), samples(4.0)
    laplacian = maximum_mean_discrepancy(x, y, "laplacian", 0.5)
    assert laplacian.tolist() == pytest.approx([math.sqrt(2 - 2 * math.exp(-3) + 1e-6)])
    gaussian = maximum_mean_discrepancy(x, y, "gaussian", 4.5)
    assert gaussian.tolist() == pytest.approx([math.sqrt(2 - 2 * math.exp(-1) + 1e-6)])


def test_discrepancy_of_a_point_and_a_pair_around_it():
    # x = 0 and y = ±1, σ = .5: 1 − 2·e⁻¹ + (1 + 1 + 2·e⁻²)/4.
    squared = 1 - 2 * math.exp(-1) + (1 + math.exp(-2)) / 2
    discrepancy = maximum_mean_discrepancy(samples(0.0), samples(-1.0, 1.0), "laplacian", 0.5)
    assert discrepancy.tolist() == pytest.approx([math.sqrt(squared + 1e-6)])


def test_distances_are_summed_over_the_elements_of_an_action_and_rows_are_apart():
    # Two rows of actions with two elements: ∣d∣₁ = 1 + 2 in the first, 0 in the second.
    x = torch.tensor([[[0.0, 0.0], [5.0, 5.0]]])
    y = torch.tensor([[[1.0, 2.0], [5.0, 5.0]]])
    discrepancy = maximum_mean_discrepancy(x, y, "laplacian", 1.5)
    assert discrepancy.tolist() == pytest.approx([math.sqrt(2 - 2 * math.exp(-1) + 1e-6), 1e-3])


def test_equal_samples_have_no_discrepancy_and_a_finite_slope():
    x = samples(0.3, -0.7).requires_grad_()
    discrepancy = maximum_mean_discrepancy(x, x.detach().flip(0), "gaussian", 1.0)
    assert discrepancy.tolist() == pytest.approx([1e-3])
    assert torch.isfinite(torch.autograd.grad(discrepancy.sum(), x)[0]).all()


# --- Targets ---


def test_targets_take_the_best_action_of_the_target_policy():
    bear = make()
    linear_(bear.target_critic, [[1.0], [2.0]])  # For a > 0: .75·a + .25·2a = 1.25a
    with torch.no_grad():
        bear.policy.net.layers[-1].bias.fill_(-3.0)  # Not the one that counts.
    inputs = make_inputs(
        torch.zeros(1, 1),
        torch.zeros(1, 1),
        reward=torch.tensor([1.0]),
        discount=torch.tensor([0.5]),
        noise={"policy": samples(-0.4, 1.3, 0.2)},  # Not clipped here.
    )
    assert bear.bootstrap(inputs)["q"].item() == pytest.approx(1.0 + 0.5 * 1.25 * math.tanh(1.3))


# --- Losses ---


def losses(bear, *, target=0.0, policy=(0.2, -0.4), data=(0.1, 0.1), heed=1.0):
    noise = {
        "posterior": torch.zeros(1, 2),
        "vae": torch.cat([samples(*data), torch.zeros(len(data), 1, 1)], -1),
        "policy": samples(*policy),
        "heed": torch.tensor(heed),
    }
    return bear.losses(
        make_inputs(torch.zeros(1, 1), torch.tensor([[0.4]]), target=torch.tensor([target]), noise=noise)
    )


def test_losses_of_constant_networks():
    bear = make(divergence_threshold=0.05)
    constant_(bear.critic, 1.0, 3.0)
    loss, metrics = losses(bear, target=2.5)
    mmd = maximum_mean_discrepancy(samples(0.2, -0.4), samples(0.1, 0.1), "laplacian", 20.0).item()
    assert metrics["divergence"].item() == pytest.approx(mmd)
    assert metrics["policy_loss"].item() == pytest.approx(mmd - 1.0)  # The smaller critic; the multiplier is 1.
    assert metrics["critic_loss"].item() == pytest.approx(1.5**2 + 0.5**2)
    assert metrics["priority"].tolist() == pytest.approx([1.0])
    assert metrics["generative_loss"].item() == pytest.approx(0.16)  # The copy of .4 is 0.
    assert loss.item() == pytest.approx(mmd - 1.0 - (mmd - 0.05) + 2.5 + 0.16)


def test_the_policys_value_is_the_smaller_of_the_critics_means_over_the_samples():
    # Means of 4·tanh and −4·tanh over .2 and −.4: the first is negative, so it is the smaller.
    bear = make()
    linear_(bear.critic, [[4.0], [-4.0]])
    _, metrics = losses(bear)
    mean = 4 * (math.tanh(0.2) - math.tanh(0.4)) / 2
    assert metrics["policy_loss"].item() == pytest.approx(metrics["divergence"].item() - mean, rel=1e-5)


def test_noise_is_clipped_on_both_sides_of_the_comparison():
    metrics = losses(make(), policy=(5.0, -5.0), data=(0.5, -0.5))[1]
    assert metrics["divergence"].item() == pytest.approx(1e-3, rel=1e-2)


def test_the_warm_up_only_approaches_the_data(spaces, make_batch):
    bear = make()
    linear_(bear.critic, [[1.0], [1.0]])
    _, metrics = losses(bear, heed=0.0)
    assert metrics["policy_loss"].item() == metrics["divergence"].item()
    # It ends when as many steps have been made.
    bear = learners.create("bear", spaces, hidden=(8,), generative_hidden=(8,), warm_up_steps=2)
    heeded = []
    for sequence in range(4):
        heeded.append(bear.loss_noise(make_batch(8, sequence))["heed"].item())
        bear.update(make_batch(8, sequence))
    assert heeded == [0.0, 0.0, 1.0, 1.0]


def test_each_loss_moves_its_own_network_only():
    bear = make()
    linear_(bear.critic, [[1.0], [1.0]])
    _, metrics = losses(bear, target=1.0)
    owners = {"policy_loss": "policy", "generative_loss": "vae", "critic_loss": "critic"}
    for name, owner in owners.items():
        for module in (*owners.values(), "multiplier"):
            parameters = list(bear.modules[module].parameters())
            gradients = torch.autograd.grad(metrics[name], parameters, retain_graph=True, allow_unused=True)
            moved = any(gradient is not None and bool(gradient.abs().max() > 0) for gradient in gradients)
            assert moved == (module == owner), (name, module)


# --- Multiplier ---


def test_multiplier_loss_is_the_violation_and_leaves_the_policy_alone():
    multiplier = torch.tensor(2.0, requires_grad=True)
    divergence = torch.tensor([0.25, 0.0], requires_grad=True)
    loss = multiplier_loss(multiplier, divergence, threshold=0.05)
    assert loss.tolist() == pytest.approx([-0.4, 0.1])
    loss.sum().backward()
    assert multiplier.grad.item() == pytest.approx(-0.2 + 0.05)
    assert divergence.grad is None


@pytest.mark.parametrize(("threshold", "direction"), [(0.0, 1), (2.0, -1)])
def test_the_multiplier_rises_above_the_threshold_and_falls_below(threshold, direction, spaces, make_batch):
    bear = learners.create("bear", spaces, hidden=(8,), generative_hidden=(8,), divergence_threshold=threshold)
    first = bear.update(make_batch())["multiplier"]
    second = bear.update(make_batch(8, 1))["multiplier"]
    assert first == 1.0
    assert (second - first) * direction > 0


@pytest.mark.parametrize(("threshold", "bound"), [(0.0, 10.0), (2.0, -5.0)])
def test_the_multiplier_is_bounded(threshold, bound, spaces, make_batch):
    bear = learners.create(
        "bear",
        spaces,
        hidden=(8,),
        generative_hidden=(8,),
        divergence_threshold=threshold,
        multiplier_learning_rate=20.0,
    )
    bear.update(make_batch())
    assert bear.multiplier.log.item() == bound
    assert bear.optimiser.segment("multiplier").item() == bound


# --- Policy ---


def test_the_policy_takes_the_best_of_its_actions_by_the_first_critic():
    best = {}
    for slope in (1.0, -1.0):
        bear = make(acting_samples=10)
        linear_(bear.critic, [[slope], [-3.0 * slope]])
        best[slope] = bear.act(torch.zeros(1).numpy())[0].item()
    alone = make(acting_samples=1).act(torch.zeros(1).numpy())[0].item()
    assert best[-1.0] < 0.0 < best[1.0]
    assert best[-1.0] <= alone <= best[1.0]


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("sampled_actions", 0),
        ("target_samples", 0),
        ("acting_samples", 0),
        ("kl_weight", -1.0),
        ("divergence_threshold", -0.1),
        ("warm_up_steps", -1),
        ("kernel", "linear"),
        ("bandwidth", 0.0),
        ("minimum_weight", -0.5),
    ],
)
def test_wrong_knobs_are_refused(knob, value):
    with pytest.raises(LearnerError, match=f"{knob}: found {value!r}"):
        make(**{knob: value})
