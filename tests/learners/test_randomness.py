"""Noise with an address."""

from __future__ import annotations

import torch

from learners.base import randomness

CPU = torch.device("cpu")


def test_noise_is_a_function_of_its_address():
    noise = randomness.normal((3, 7), "targets", (4, 2), CPU)
    assert torch.equal(noise, randomness.normal((3, 7), "targets", (4, 2), CPU))
    for key, purpose in (((4, 7), "targets"), ((3, 8), "targets"), ((3, 7), "policy")):
        assert not torch.equal(noise, randomness.normal(key, purpose, (4, 2), CPU))


def test_addresses_do_not_run_into_each_other():
    # Written together without a separator these two would be the same.
    assert not torch.equal(randomness.normal((1, 23), "a", (4,), CPU), randomness.normal((12, 3), "a", (4,), CPU))


def test_distributions_have_their_moments():
    normal = randomness.normal((0, 0), "moments", (100_000,), CPU)
    uniform = randomness.uniform((0, 0), "moments", (100_000,), CPU)
    # Five standard errors: 1/√n, and √(1/12n).
    assert abs(normal.mean()) < 0.016
    assert abs(normal.var() - 1.0) < 0.023
    assert abs(uniform.mean() - 0.5) < 0.005
    assert uniform.min() >= 0.0
    assert uniform.max() < 1.0


def test_initialisation_depends_on_the_seed_and_leaves_the_process_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with randomness.initialisation(1, torch.device("cpu")):
        first = torch.randn(3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    with randomness.initialisation(1, torch.device("cpu")):
        assert torch.equal(torch.randn(3), first)
