"""BCQ's targets, losses and choice of actions against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

import learners
from learners.bcq import Perturbation
from learners.errors import LearnerError
from learners.losses import soft_clipped_q
from replay.spaces import Box, Spaces
from tests.learners.constants import constant_, linear_, make_inputs, zero_

SPACES = Spaces(Box((1,)), Box((1,), low=(-1.0,), high=(1.0,)))


def make(**knobs):
    """BCQ of one observed and one commanded number. It proposes the first latent, before tanh, and perturbs nothing."""
    bcq = learners.create("bcq", SPACES, **{"hidden": (2,), "generative_hidden": (), **knobs})
    for module in (bcq.vae, bcq.perturbation, bcq.target_perturbation):
        zero_(module)
    with torch.no_grad():
        bcq.vae.decoder.layers[0].weight[0, 1] = 1.0
    return bcq


def push_(perturbation, sign):
    """As far up or down as it may."""
    with torch.no_grad():
        perturbation.net.layers[-1].bias.fill_(sign * 100.0)


def proposals(*latents):
    """Noise (N, 1, 2) whose first latents are these."""
    return torch.tensor([[[latent, 0.0]] for latent in latents])


# --- Targets ---


def test_soft_clipped_q_leans_to_the_smaller_critic():
    # .75·1 + .25·3 and .75·(−2) + .25·4
    q = torch.tensor([[1.0, 4.0], [3.0, -2.0]])
    assert soft_clipped_q(q, 0.75).tolist() == [1.5, -0.5]


def test_targets_take_the_best_proposal():
    bcq = make()
    linear_(bcq.target_critic, [[1.0], [2.0]])  # For a > 0: .75·a + .25·2a = 1.25a
    inputs = make_inputs(
        torch.zeros(1, 1),
        torch.zeros(1, 1),
        reward=torch.tensor([1.0]),
        discount=torch.tensor([0.5]),
        noise={"vae": proposals(-0.4, 0.3, 0.1)},
    )
    assert bcq.bootstrap(inputs)["q"].item() == pytest.approx(1.0 + 0.5 * 1.25 * math.tanh(0.3))


def test_targets_perturb_the_proposals_by_the_target_network_and_clip_their_latents():
    bcq = make(perturbation=0.05)
    linear_(bcq.target_critic, [[1.0], [1.0]])
    push_(bcq.target_perturbation, 1.0)
    push_(bcq.perturbation, -1.0)
    inputs = make_inputs(torch.zeros(1, 1), torch.zeros(1, 1), noise={"vae": proposals(2.0)})
    assert bcq.bootstrap(inputs)["q"].item() == pytest.approx(math.tanh(0.5) + 0.05)


# --- Losses ---


def losses(bcq, *, target, weight=None):
    noise = {"posterior": torch.zeros(1, 2), "vae": proposals(0.2)[0]}
    return bcq.losses(
        make_inputs(torch.zeros(1, 1), torch.tensor([[0.4]]), target=torch.tensor([target]), weight=weight, noise=noise)
    )


def test_losses_of_constant_networks():
    bcq = make()
    constant_(bcq.critic, 1.0, 3.0)
    loss, metrics = losses(bcq, target=2.5)
    assert metrics["critic_loss"].item() == pytest.approx(1.5**2 + 0.5**2)
    assert metrics["priority"].tolist() == pytest.approx([1.0])
    # The first critic alone; the copy of .4 is 0, from a latent that is the prior.
    assert metrics["perturbation_loss"].item() == pytest.approx(-1.0)
    assert metrics["generative_loss"].item() == pytest.approx(0.16)
    assert loss.item() == pytest.approx(2.5 - 1.0 + 0.16)
    assert losses(bcq, target=2.5, weight=torch.tensor([2.0]))[0].item() == pytest.approx(2 * (2.5 - 1.0 + 0.16))


def test_the_perturbations_loss_is_the_first_critic_at_the_perturbed_proposal():
    bcq = make(perturbation=0.1)
    linear_(bcq.critic, [[2.0], [-7.0]])
    push_(bcq.perturbation, -1.0)
    assert losses(bcq, target=0.0)[1]["perturbation_loss"].item() == pytest.approx(-2.0 * (math.tanh(0.2) - 0.1))


def test_each_loss_moves_its_own_network_only():
    bcq = make()
    linear_(bcq.critic, [[1.0], [1.0]])
    _, metrics = losses(bcq, target=1.0)
    owners = {"perturbation_loss": "perturbation", "generative_loss": "vae", "critic_loss": "critic"}
    for name, owner in owners.items():
        for module in owners.values():
            parameters = list(bcq.modules[module].parameters())
            gradients = torch.autograd.grad(metrics[name], parameters, retain_graph=True, allow_unused=True)
            moved = any(gradient is not None and bool(gradient.abs().max() > 0) for gradient in gradients)
            assert moved == (module == owner), (name, module)


# --- Policy ---


def test_a_perturbation_stays_within_its_radius_and_the_box():
    network = Perturbation(3, 2, (8,), radius=0.05)
    push_(network, 1.0)
    action = torch.tensor([[0.2, -0.9], [0.99, 0.0]])
    moved = network(torch.randn(2, 3, generator=torch.Generator().manual_seed(0)), action)
    torch.testing.assert_close(moved, torch.tensor([[0.25, -0.85], [1.0, 0.05]]))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_policy_takes_the_best_proposal_by_the_first_critic(sign):
    # Of a hundred standard normal latents some are clipped at either end, where a linear critic is best.
    bcq = make()
    linear_(bcq.critic, [[sign], [-3.0 * sign]])
    action, _ = bcq.act(torch.zeros(2, 1).numpy())
    assert action.ravel().tolist() == pytest.approx(2 * [sign * math.tanh(0.5)])


def test_one_proposal_is_taken_whatever_the_critic_says():
    observation = torch.zeros(1, 1).numpy()
    actions = set()
    for slope in (1.0, -1.0):
        bcq = make(acting_samples=1)
        linear_(bcq.critic, [[slope], [slope]])
        actions.add(bcq.act(observation)[0].item())
    assert len(actions) == 1


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("sampled_actions", 0),
        ("acting_samples", 0),
        ("perturbation", -0.1),
        ("kl_weight", -1.0),
        ("minimum_weight", 1.5),
        ("threshold", 1.0),
        ("logit_penalty", -0.1),
    ],
)
def test_wrong_knobs_are_refused(knob, value):
    with pytest.raises(LearnerError, match=f"{knob}: found {value}"):
        make(**{knob: value})
