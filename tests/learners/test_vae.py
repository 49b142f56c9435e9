"""The generative model of actions: its loss by hand, and what it draws."""

from __future__ import annotations

import math

import pytest
import torch

from learners.networks.vae import ConditionalVAE, paired, vae_loss
from tests.learners.constants import zero_


def test_loss_is_the_squared_error_and_the_divergence_from_the_prior():
    # Errors of .5 and 0: a mean square of .125. Latents N(1, 1) and N(0, 2²) against N(0, 1):
    # (1 + 1 − 1 − 0)/2 = .5 and (0 + 4 − 1 − 2 log 2)/2 = 1.5 − log 2, on average 1 − log(2)/2.
    loss = vae_loss(
        torch.tensor([[0.5, 0.0]]),
        torch.tensor([[1.0, 0.0]]),
        torch.tensor([[1.0, 0.0]]),
        torch.tensor([[0.0, math.log(2.0)]]),
        kl_weight=0.5,
    )
    assert loss.tolist() == pytest.approx([0.125 + 0.5 * (1.0 - 0.5 * math.log(2.0))])


def test_a_perfect_copy_from_the_prior_costs_nothing():
    action, zero = torch.tensor([[0.3]]), torch.zeros(1, 2)
    assert vae_loss(action, action, zero, zero, kl_weight=0.5).tolist() == [0.0]


def test_two_noises_of_the_actions_size_make_one_of_the_latents():
    noise = torch.arange(12.0).view(2, 3, 1, 2)
    assert paired(noise).tolist() == [[[0, 1, 6, 7]], [[2, 3, 8, 9]], [[4, 5, 10, 11]]]


def test_reconstruction_goes_through_the_latent_and_its_noise():
    vae = ConditionalVAE(1, 1, ())  # No hidden layers: everything is linear.
    zero_(vae)
    with torch.no_grad():
        vae.recognition.layers[0].weight[0, 1] = 2.0  # The first latent has mean 2a, both a spread of 1.
        vae.decoder.layers[0].weight[0, 1] = 1.0  # The raw action is the first latent.
    noise = torch.tensor([[0.1, 5.0]])
    reconstruction, mean, log_std = vae(torch.zeros(1, 1), torch.tensor([[0.3]]), noise)
    assert reconstruction.item() == pytest.approx(math.tanh(0.6 + 0.1))
    assert mean.tolist() == [pytest.approx([0.6, 0.0])]
    assert log_std.tolist() == [[0.0, 0.0]]


def test_samples_clip_their_latents_and_depend_on_the_observation():
    vae = ConditionalVAE(1, 1, ())
    zero_(vae)
    with torch.no_grad():
        vae.decoder.layers[0].weight.copy_(torch.tensor([[10.0, 1.0, 0.0]]))
    noise = torch.tensor([[[3.0, 0.0], [-3.0, 0.0]], [[0.25, 0.0], [0.25, 0.0]]])
    raw = vae.sample(torch.tensor([[0.0], [1.0]]), noise)
    assert raw.squeeze(-1).tolist() == [[0.5, 10.0 - 0.5], [0.25, 10.0 + 0.25]]
