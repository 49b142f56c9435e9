"""The cross-entropy method against samples worked out by hand and a maximum known in advance."""

from __future__ import annotations

import math

import torch

from learners.planning import cem


def normals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def score_of(centre: torch.Tensor):
    """A score (N, B) that is highest, 0, at one action for each state, (B, A)."""
    return lambda action: -(action - centre).square().sum(-1)


def test_one_iteration_by_hand():
    # A standard normal variable is below .6745 with probability 3/4: that is .5 on the way from -1 to 1.
    quartile = 0.6744897501960817
    noise = torch.tensor([-quartile, 0.0, quartile]).view(1, 3, 1, 1)
    found = cem.maximise(score_of(torch.tensor([[0.3]])), noise, elites=2)
    torch.testing.assert_close(found.action, torch.tensor([[0.5]]))
    torch.testing.assert_close(found.score, torch.tensor([-0.04]))
    # The elites are .5 and 0.
    torch.testing.assert_close(found.mean, torch.tensor([[0.25]]))
    torch.testing.assert_close(found.std, torch.tensor([[0.25]]))


def test_the_next_iteration_samples_around_the_elites_and_within_the_box():
    quartile = 0.6744897501960817
    noise = torch.tensor([[-quartile, 0.0, quartile], [-1.0, 4.0, 0.0]]).view(2, 3, 1, 1)
    tried: list[torch.Tensor] = []

    def score(action: torch.Tensor) -> torch.Tensor:
        tried.append(action)
        return action.squeeze(-1)

    found = cem.maximise(score, noise, elites=2)
    # From mean .25 and standard deviation .25; 1.25 is clamped.
    torch.testing.assert_close(tried[1].flatten(), torch.tensor([0.0, 1.0, 0.25]))
    assert found.action.item() == 1.0


def test_the_best_of_all_iterations_is_kept():
    noise = torch.tensor([[0.0, 3.0], [-1.0, 1.0]]).view(2, 2, 1, 1)
    found = cem.maximise(score_of(torch.zeros(1, 1)), noise, elites=2)
    assert found.action.item() == 0.0  # the first iteration's; the second tried 0 and .9973 around a mean of .4987
    assert found.score.item() == 0.0


def test_the_first_samples_are_spread_evenly_over_the_box():
    tried: list[torch.Tensor] = []

    def score(action: torch.Tensor) -> torch.Tensor:
        tried.append(action)
        return action.sum(-1)

    cem.maximise(score, normals(1, 40_000, 1, 1), elites=1)
    count, _ = torch.histogram(tried[0].flatten(), bins=4, range=(-1.0, 1.0))
    # Five standard deviations of a binomial count.
    assert (count - 10_000).abs().max() < 5 * math.sqrt(40_000 * 0.25 * 0.75)


def test_each_state_finds_its_own_maximum():
    centre = normals(50, 3, seed=1).clamp(-1.0, 1.0)  # some of them in a corner
    coarse = cem.maximise(score_of(centre), normals(2, 64, 50, 3), elites=6)
    fine = cem.maximise(score_of(centre), normals(8, 256, 50, 3), elites=32)
    assert (coarse.action - centre).abs().mean() < 0.2
    assert (fine.action - centre).abs().max() < 0.02
    assert (fine.score >= coarse.score).all()


def test_a_state_does_not_see_the_others():
    centre, noise = normals(5, 2, seed=1), normals(3, 16, 5, 2)
    together = cem.maximise(score_of(centre), noise, elites=4)
    alone = cem.maximise(score_of(centre[3:4]), noise[:, :, 3:4], elites=4)
    for part, whole in zip(alone, together, strict=True):
        assert torch.equal(part, whole[3:4])
