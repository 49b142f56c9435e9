"""CQL's regulariser, multiplier and backups against numbers worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import learners
from learners.errors import LearnerError
from learners.losses import conservative_gap, lagrange_loss, soft_policy_loss, temperature_loss
from learners.networks.policies import TanhGaussianPolicy
from replay.spaces import Box, Spaces
from tests.learners.constants import constant_, linear_, make_inputs, zero_

SPACES = Spaces(Box((1,)), Box((1,), low=(-1.0,), high=(1.0,)))
STILL = {
    "policy": torch.zeros(2, 1, 1),
    "next_policy": torch.zeros(1, 1, 1),
    "uniform": torch.full((1, 1, 1), 0.5),  # the action 0
}
LOG_PROB = -0.5 * math.log(2 * math.pi)  # of a = tanh(0) where the policy's mean is 0 and its spread 1


def make(**knobs):
    """CQL on one observed and one commanded number, its policy a squashed standard normal."""
    cql = learners.create("cql", SPACES, **{"hidden": (2,), **knobs})
    zero_(cql.policy)
    return cql


# --- Losses ---


def test_conservative_gap_of_two_samples():
    # log(e²/.5 + e³/.25) − 1 = log(2e² + 4e³) − 1
    gap = conservative_gap(torch.tensor([[1.0]]), torch.tensor([[[2.0], [3.0]]]), torch.tensor([[0.5], [0.25]]).log())
    torch.testing.assert_close(gap, torch.tensor([[math.log(2 * math.e**2 + 4 * math.e**3) - 1.0]]))


def test_conservative_gap_of_a_constant_critic_depends_on_neither_its_height_nor_the_member():
    # Ten uniform samples in [-1, 1]³: log(10·e^q/.5³) − q = log 80
    q = torch.tensor([[-7.0], [100.0]])
    gap = conservative_gap(q, q[:, None].expand(2, 10, 1), torch.full((10, 1), 3 * math.log(0.5)))
    torch.testing.assert_close(gap, torch.full((2, 1), math.log(80.0)))


@pytest.mark.parametrize("sampler", ["uniform", "policy"])
def test_importance_correction_makes_either_sampler_estimate_the_same_integral(sampler):
    # For Q = 2a: log ∫ e^{2a} da over [-1, 1] = log((e² − e⁻²)/2), whoever draws the samples.
    count = 100_001
    if sampler == "uniform":
        action, log_density = torch.linspace(-1, 1, count)[:, None], torch.full((count, 1), math.log(0.5))
    else:
        policy = TanhGaussianPolicy(1, 1, (4,))
        zero_(policy)
        with torch.no_grad():
            policy.net.layers[-1].bias.copy_(torch.tensor([0.3, -0.2]))  # not centred, not of unit spread
        # Quantiles of the normal distribution instead of random draws.
        noise = torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count).float().view(-1, 1, 1)
        with torch.no_grad():
            sample, log_density = policy.sample(torch.zeros(1, 1), noise)
        action = sample[..., 0]
    gap = conservative_gap(torch.zeros(1, 1), 2.0 * action[None], log_density) - math.log(count)
    assert gap.item() == pytest.approx(math.log((math.e**2 - math.e**-2) / 2), abs=0.01)


def test_lagrange_loss_moves_the_multiplier_towards_the_threshold():
    multiplier = torch.tensor(2.0, requires_grad=True)
    weighted_gap = torch.tensor(5.0, requires_grad=True)
    loss = lagrange_loss(multiplier, weighted_gap, threshold=3.0)
    loss.backward()
    assert loss.item() == -2.0 * (5.0 - 3.0)
    assert multiplier.grad.item() == -2.0  # descent raises α', since the gap is above
    assert weighted_gap.grad is None  # and the critic is not pushed up by it


def test_soft_policy_and_temperature_losses():
    log_temperature = torch.tensor(math.log(0.5), requires_grad=True)
    log_prob = torch.tensor([1.0, -4.0], requires_grad=True)
    loss = soft_policy_loss(log_temperature.exp(), log_prob, torch.tensor([2.0, 3.0]))
    assert loss.tolist() == pytest.approx([0.5 - 2.0, -2.0 - 3.0])
    loss.sum().backward()
    assert log_temperature.grad is None
    # Entropies of -1 and 4, wanted 2: log .5·(…) and, where the entropy is too low, a negative gradient.
    losses = temperature_loss(log_temperature, log_prob, target_entropy=2.0)
    assert losses.tolist() == pytest.approx([3.0 * math.log(2), -2.0 * math.log(2)])
    assert torch.autograd.grad(losses[0], log_temperature)[0].item() == pytest.approx(-3.0)


def test_losses_of_constant_networks():
    cql = make(sampled_actions=1, conservative_weight=10.0)
    constant_(cql.critic, 1.0, 3.0)
    loss, metrics = cql.losses(
        make_inputs(torch.zeros(1, 1), torch.zeros(1, 1), target=torch.tensor([2.5]), noise=STILL)
    )
    assert metrics["critic_loss"].item() == pytest.approx(1.5**2 + 0.5**2)
    assert metrics["priority"].tolist() == pytest.approx([1.0])
    assert metrics["policy_loss"].item() == pytest.approx(LOG_PROB - 1.0)  # temperature 1, the smaller Q
    assert metrics["entropy"].item() == pytest.approx(-LOG_PROB)
    # One uniform sample of density .5, two of the policy of density 1/√2π: log(2 + 2√2π), whatever Q.
    gap = math.log(2 + 2 * math.sqrt(2 * math.pi))
    assert metrics["conservative_gap"].item() == pytest.approx(gap)
    # Both members are pushed down; the temperature's loss is 0, as its logarithm is.
    assert loss.item() == pytest.approx(2.5 + LOG_PROB - 1.0 + 2 * 10.0 * gap)


def test_the_policys_loss_does_not_move_the_critic():
    # A critic that is right everywhere, nothing pushing it down: what is left of the loss is the policy's.
    cql = make(sampled_actions=1, conservative_weight=0.0)
    constant_(cql.critic, 1.0, 1.0)
    loss, _ = cql.losses(make_inputs(torch.zeros(1, 1), torch.zeros(1, 1), target=torch.ones(1), noise=STILL))
    for gradient in torch.autograd.grad(loss, list(cql.critic.parameters())):
        assert gradient.abs().max() == 0.0


def test_the_critics_loss_does_not_move_the_policy(spaces, make_batch):
    gradients = []
    for weight in (0.0, 10.0):
        cql = learners.create("cql", spaces, hidden=(8,), conservative_weight=weight, lagrange_threshold=1.0)
        cql.update(make_batch())
        gradients.append({name: cql.optimiser.gradient[part] for name, part in cql.optimiser.groups.items()})
    assert not torch.equal(gradients[0]["critic"], gradients[1]["critic"])
    assert torch.equal(gradients[0]["policy"], gradients[1]["policy"])
    assert torch.equal(gradients[0]["temperature"], gradients[1]["temperature"])


# --- Targets ---


def bootstrap(cql, noise):
    inputs = make_inputs(torch.zeros(1, 1), torch.zeros(1, 1), noise={"policy": torch.tensor(noise)})
    inputs = inputs._replace(reward=torch.tensor([1.0]), discount=torch.tensor([0.5]))
    return cql.bootstrap(inputs)["q"].item()


def test_targets_take_the_smaller_critic():
    cql = make()
    constant_(cql.target_critic, 4.0, 6.0)
    assert bootstrap(cql, [[[0.0]]]) == pytest.approx(1.0 + 0.5 * 4.0)


def test_targets_with_entropy():
    cql = make(backup_entropy=True)
    constant_(cql.target_critic, 4.0, 6.0)
    assert bootstrap(cql, [[[0.0]]]) == pytest.approx(1.0 + 0.5 * (4.0 - LOG_PROB))
    assert "temperature" in cql.target_modules


def test_targets_take_the_best_of_several_actions():
    cql = make(max_target_backup=True, sampled_actions=3)
    linear_(cql.target_critic, [[1.0], [1.0]])  # Q = a
    assert bootstrap(cql, [[[-1.0]], [[2.0]], [[0.0]]]) == pytest.approx(1.0 + 0.5 * math.tanh(2.0))
    linear_(cql.target_critic, [[1.0], [-1.0]])  # the smaller of a and −a is best at 0
    assert bootstrap(cql, [[[-1.0]], [[2.0]], [[0.0]]]) == pytest.approx(1.0)


def test_entropy_is_that_of_the_best_action():
    cql = make(max_target_backup=True, backup_entropy=True, sampled_actions=2)
    linear_(cql.target_critic, [[1.0], [1.0]])
    # log π(tanh 1) = log N(1) − log(1 − tanh² 1)
    log_prob = LOG_PROB - 0.5 - math.log(1 - math.tanh(1.0) ** 2)
    assert bootstrap(cql, [[[0.0]], [[1.0]]]) == pytest.approx(1.0 + 0.5 * (math.tanh(1.0) - log_prob), rel=1e-5)


# --- Updates ---


@pytest.mark.parametrize(("threshold", "direction"), [(-100.0, 1), (1000.0, -1)])
def test_the_multiplier_rises_above_the_threshold_and_falls_below(threshold, direction, spaces, make_batch):
    cql = learners.create("cql", spaces, hidden=(8,), lagrange_threshold=threshold)
    first = cql.update(make_batch())["multiplier"]
    second = cql.update(make_batch(8, 1))["multiplier"]
    assert first == 1.0
    assert (second - first) * direction > 0


def test_values_off_the_data_are_pushed_below_those_of_the_data(spaces, make_batch):
    expert = np.tile(np.array([1.0, 0.25], np.float32), (16, 1))
    gaps = []
    for weight in (0.0, 10.0):
        cql = learners.create("cql", spaces, hidden=(16,), conservative_weight=weight, learning_rate=1e-2)
        for sequence in range(60):
            cql.update(replace(make_batch(16, sequence), action=expert))
        metrics = cql.diagnostics(replace(make_batch(16, 100), action=expert))
        gaps.append(metrics["conservative_gap"].item())
    # Without the regulariser nothing tells one action from another: about log 30 samples + log 4 of area.
    assert gaps[0] == pytest.approx(math.log(120), abs=0.5)
    assert gaps[1] < gaps[0] - 1.0


def test_the_policy_has_its_own_learning_rate(spaces, make_batch):
    cql = learners.create("cql", spaces, hidden=(8,), learning_rate=1e-2, policy_learning_rate=1e-4)
    before = {name: cql.optimiser.segment(name).clone() for name in ("critic", "policy", "temperature")}
    cql.update(make_batch())
    # Adam's first step is the learning rate, where there is a gradient at all.
    moved = {name: (cql.optimiser.segment(name) - old).abs().max().item() for name, old in before.items()}
    assert moved == pytest.approx({"critic": 1e-2, "policy": 1e-4, "temperature": 1e-4}, rel=1e-2)


def test_wrong_knobs_are_refused(spaces):
    with pytest.raises(LearnerError, match="sampled_actions: found 0"):
        learners.create("cql", spaces, sampled_actions=0)
    with pytest.raises(LearnerError, match=r"conservative_weight: found -1\.0"):
        learners.create("cql", spaces, conservative_weight=-1.0)


def test_sampled_actions_are_the_squashed_noise():
    cql = make()
    action = cql.policy_action(torch.zeros(2, 1), torch.tensor([[1.0], [-0.5]])).detach().numpy()
    np.testing.assert_allclose(action, np.tanh([[1.0], [-0.5]]), rtol=1e-6)
