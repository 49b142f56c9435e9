"""Noise with an address."""

from __future__ import annotations

import math
from hashlib import blake2b

import numpy as np
import pytest
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


# --- By row ---


@pytest.mark.parametrize("draw", [randomness.normal_of_rows, randomness.uniform_of_rows])
def test_the_noise_of_a_row_is_the_same_whoever_draws_it(draw):
    whole = draw((3, 7), "policy", range(12), (5,), 3, CPU)
    assert whole.shape == (5, 12, 3)
    for world in (2, 3, 4):
        count = 12 // world
        parts = [draw((3, 7), "policy", range(rank * count, (rank + 1) * count), (5,), 3, CPU) for rank in range(world)]
        assert torch.equal(torch.cat(parts, dim=1), whole)
    for key, purpose in (((4, 7), "policy"), ((3, 8), "policy"), ((3, 7), "targets")):
        assert not torch.equal(draw(key, purpose, range(12), (5,), 3, CPU), whole)


def test_noise_by_row_has_its_moments_and_no_two_numbers_are_the_same():
    normal = randomness.normal_of_rows((0, 0), "moments", range(25_000), (2,), 2, CPU)
    uniform = randomness.uniform_of_rows((0, 0), "moments", range(25_000), (2,), 2, CPU)
    # Five standard errors: 1/√n, and √(1/12n).
    assert abs(normal.mean()) < 0.016
    assert abs(normal.var() - 1.0) < 0.023
    assert abs((normal**4).mean() - 3.0) < 5 * (96 / 100_000) ** 0.5
    assert abs(uniform.mean() - 0.5) < 0.005
    assert 0.0 <= uniform.min() < uniform.max() < 1.0
    assert len(normal.unique()) > 99_000
    assert abs(float(torch.corrcoef(normal.movedim(0, -1).reshape(-1, 4).T).fill_diagonal_(0).abs().max())) < 0.04


def test_noise_by_row_is_philox_words_and_box_and_muller():
    digest = blake2b(b"3/policy/7/rows", digest_size=16).digest()
    words = np.random.Philox(key=int.from_bytes(digest, "little"), counter=2).random_raw(4)  # of row 2
    u, v = (int(words[0] >> 11) + 1) * 2.0**-53, int(words[1] >> 11) * 2.0**-53
    expected = [math.sqrt(-2 * math.log(u)) * turn(2 * math.pi * v) for turn in (math.cos, math.sin)]
    found = randomness.normal_of_rows((3, 7), "policy", range(2, 3), (), 2, CPU)
    assert found[0].tolist() == pytest.approx(expected, rel=1e-6)
