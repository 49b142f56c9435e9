"""Flat parameter vectors: the same steps as PyTorch's own optimiser takes layer by layer."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from learners.base.optimisation import Optimiser, adam, clip_, flatten_, half_cosine, polyak_

CPU = torch.device("cpu")


@pytest.fixture
def modules():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {"critic": nn.Linear(3, 2), "policy": nn.Linear(2, 1)}


def loss_of(modules):
    x = torch.arange(12.0).view(4, 3) / 12
    return modules["policy"](torch.tanh(modules["critic"](x))).square().mean()


def test_flattened_parameters_are_views_in_order(modules):
    weight = modules["critic"].weight.detach().clone()
    vector = flatten_(modules.values())
    assert vector.shape == (3 * 2 + 2 + 2 + 1,)
    torch.testing.assert_close(vector[:6].view(2, 3), weight)
    vector[:] = torch.arange(11.0)
    assert modules["critic"].bias.tolist() == [6.0, 7.0]
    assert modules["policy"].weight.tolist() == [[8.0, 9.0]]
    assert modules["policy"].bias.tolist() == [10.0]


def test_polyak_is_a_weighted_mean():
    target = torch.tensor([1.0, 0.0])
    polyak_(target, torch.tensor([3.0, 10.0]), 0.1)
    torch.testing.assert_close(target, torch.tensor([1.2, 1.0]))


def test_steps_are_those_of_adam_layer_by_layer(modules):
    twins = copy.deepcopy(modules)
    ours = Optimiser(modules, adam(0.1, device=CPU), options={"policy": {"lr": 0.01}})
    theirs = torch.optim.Adam(
        [
            {"params": list(twins["critic"].parameters())},
            {"params": list(twins["policy"].parameters()), "lr": 0.01},
        ],
        lr=0.1,
    )
    for _ in range(5):
        ours.step(loss_of(modules))
        theirs.zero_grad()
        loss_of(twins).backward()
        theirs.step()
    for name, module in modules.items():
        for parameter, twin in zip(module.parameters(), twins[name].parameters(), strict=True):
            torch.testing.assert_close(parameter, twin)


def test_weight_decay_pulls_towards_zero(modules):
    options = {name: {"weight_decay": 1.0} for name in modules}
    optimiser = Optimiser(modules, adam(0.1, device=CPU), options=options)
    optimiser.vector[:] = 2.0
    optimiser.step(0.0 * loss_of(modules))
    torch.testing.assert_close(optimiser.vector, torch.full((11,), 1.9))  # Adam's first step is the learning rate


def test_segments_are_the_named_parameters(modules):
    optimiser = Optimiser(modules, adam(0.1, device=CPU))
    assert optimiser.groups == {"critic": slice(0, 8), "policy": slice(8, 11)}
    optimiser.segment("policy").zero_()
    assert modules["policy"].weight.tolist() == [[0.0, 0.0]]
    assert modules["critic"].weight.abs().sum() > 0


def test_the_gradient_is_reduced_once_before_the_step(modules):
    twins, seen = copy.deepcopy(modules), []
    optimiser, other = Optimiser(modules, adam(0.1, device=CPU)), Optimiser(twins, adam(0.1, device=CPU))

    def reduce(gradient: torch.Tensor) -> None:
        seen.append(gradient.clone())
        gradient.neg_()

    optimiser.reduce = reduce
    optimiser.step(loss_of(modules))
    other.step(-loss_of(twins))
    assert len(seen) == 1
    assert seen[0].shape == (11,)
    torch.testing.assert_close(optimiser.vector, other.vector)


def test_a_loss_that_forgets_a_parameter_is_an_error(modules):
    optimiser = Optimiser(modules, adam(0.1, device=CPU))
    with pytest.raises(RuntimeError, match="appears to not have been used"):
        optimiser.step(modules["critic"](torch.ones(1, 3)).sum())


def test_state_restores_the_moments_bit_for_bit(modules):
    twins = copy.deepcopy(modules)
    a, b = Optimiser(modules, adam(0.1, device=CPU)), Optimiser(twins, adam(0.1, device=CPU))
    for _ in range(3):
        a.step(loss_of(modules))
    state = {name: value.clone() for name, value in a.state_dict().items()}
    assert set(state) == {f"{group}.{key}" for group in modules for key in ("step", "exp_avg", "exp_avg_sq")}
    kept = {name: value.clone() for name, value in state.items()}
    b.vector.copy_(a.vector)
    b.load_state_dict(state)
    for _ in range(3):
        a.step(loss_of(modules))
        b.step(loss_of(twins))
    assert torch.equal(a.vector, b.vector)
    for name, value in state.items():
        assert torch.equal(value, kept[name]), name  # what was passed in is not moved


# --- Options ---


def test_a_long_gradient_is_shortened_and_a_short_one_left():
    long, short = torch.tensor([3.0, 4.0]), torch.tensor([0.3, 0.4])
    clip_(long, 1.0)
    clip_(short, 1.0)
    torch.testing.assert_close(long, torch.tensor([0.6, 0.8]))
    assert short.tolist() == pytest.approx([0.3, 0.4])


def test_each_group_is_clipped_by_itself(modules):
    for clip in (None, 0.01):
        twins = copy.deepcopy(modules)
        optimiser = Optimiser(twins, adam(0.1, device=CPU), clip=clip)
        optimiser.step(loss_of(twins))
        norms = [optimiser.gradient[part].norm().item() for part in optimiser.groups.values()]
        assert norms == pytest.approx([0.01, 0.01], rel=1e-4) if clip else min(norms) > 0.02


def test_a_group_may_move_at_every_third_step_only(modules):
    optimiser = Optimiser(modules, adam(0.1, device=CPU), every={"policy": 3})
    moved = []
    for number in range(6):
        before = optimiser.segment("policy").clone()
        critic = optimiser.segment("critic").clone()
        optimiser.step(loss_of(modules), number)
        moved.append(not torch.equal(before, optimiser.segment("policy")))
        assert not torch.equal(critic, optimiser.segment("critic"))
    assert moved == [False, False, True, False, False, True]
    assert optimiser.state_dict()["policy.step"] == 2


def test_learning_rates_scale_by_group(modules):
    optimiser = Optimiser(modules, adam(0.1, device=CPU), options={"policy": {"lr": 0.01}})
    before = {name: optimiser.segment(name).clone() for name in optimiser.groups}
    optimiser.scale_learning_rates({"policy": 0.5})
    optimiser.step(loss_of(modules))
    # Adam's first step is the learning rate.
    moved = {name: (optimiser.segment(name) - old).abs().max().item() for name, old in before.items()}
    assert moved == pytest.approx({"critic": 0.1, "policy": 0.005}, rel=1e-3)


def test_a_half_cosine_falls_from_one_to_nothing():
    assert [half_cosine(step, 4) for step in range(6)] == pytest.approx(
        [1.0, 0.5 + 0.5 * 2**-0.5, 0.5, 0.5 - 0.5 * 2**-0.5, 0.0, 0.0]
    )


def test_averages_travel_behind_the_gradient_and_are_not_clipped(modules):
    optimiser = Optimiser(modules, adam(0.1, device=CPU), clip=1e-3)
    other = torch.zeros(len(optimiser.vector) + 2)
    other[-2:] = torch.tensor([6.0, 0.0])
    optimiser.reduce = lambda gradient: gradient.add_(other).div_(2)
    optimiser.step(loss_of(modules), averages=torch.tensor([2.0, 100.0]))
    assert optimiser.averages.tolist() == [(2 + 6) / 2, 100 / 2]


def test_a_group_that_rests_has_no_gradient(modules):
    optimiser = Optimiser(modules, adam(0.1, device=CPU), every={"policy": 2})
    for number, moves in enumerate([False, True, False]):
        optimiser.step(loss_of(modules), number)
        assert bool(optimiser.gradient[optimiser.groups["policy"]].any()) == moves
        assert optimiser.gradient[optimiser.groups["critic"]].any()
