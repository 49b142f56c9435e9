"""TD3's losses, targets and delays against numbers worked out by hand; its descendants share most of them."""

from __future__ import annotations

import pytest
import torch

import learners
from learners.errors import LearnerError
from learners.losses import smoothed
from tests.learners.constants import constant_, linear_, make_inputs, zero_


def make(spaces, **knobs):
    """A policy that answers 0, on three observed and two commanded numbers."""
    td3 = learners.create("td3", spaces, **{"hidden": (4,), **knobs})
    zero_(td3.policy)
    zero_(td3.target_policy)
    return td3


# --- Targets ---


def test_the_noise_is_clipped_and_so_is_the_action():
    noise = torch.tensor([[1.0, -10.0], [4.0, 0.0]])
    # .2·(1, −10) is (.2, −2), clipped to (.2, −.5); .2·4 is clipped to .5, and .9 + .5 to 1.
    action = smoothed(torch.tensor([[0.1, 0.0], [0.9, -0.3]]), noise, std=0.2, clip=0.5)
    torch.testing.assert_close(action, torch.tensor([[0.3, -0.5], [1.0, -0.3]]))


def test_targets_take_the_smaller_critic_at_the_smoothed_action(spaces):
    td3 = make(spaces, target_noise=0.2, target_noise_clip=0.5)
    linear_(td3.target_critic, [[1.0, 0.0], [0.0, 1.0]])
    inputs = make_inputs(
        torch.zeros(1, 3),
        torch.zeros(1, 2),
        reward=torch.tensor([1.0]),
        discount=torch.tensor([0.9]),
        noise={"target_policy": torch.tensor([[1.0, 9.0]])},
    )
    # The target policy answers 0: noise (.2, .5), of which the first critic sees the first, the other the second.
    assert td3.bootstrap(inputs)["q"].item() == pytest.approx(1.0 + 0.9 * 0.2)


# --- Losses ---


def test_losses_of_constant_networks(spaces):
    td3 = make(spaces)
    constant_(td3.critic, -3.0, 5.0)
    action, weight = torch.tensor([[0.6, 0.8], [0.0, 0.0]]), torch.tensor([1.0, 0.5])
    inputs = make_inputs(torch.zeros(2, 3), action, target=torch.tensor([1.0, 5.0]), weight=weight)
    loss, metrics = td3.losses(inputs)
    # The first row errs by −4 and 4, the other by −8 and 0: (32 + .5·64)/2.
    assert metrics["critic_loss"].item() == pytest.approx(32.0)
    assert metrics["priority"].tolist() == pytest.approx([4.0, 4.0])
    # The first critic's −(−3), of both rows by their weight: (3 + .5·3)/2.
    assert metrics["policy_loss"].item() == pytest.approx(2.25)
    assert metrics["q_data"].item() == pytest.approx(1.0)
    assert loss.item() == pytest.approx(34.25)


def test_the_policy_climbs_the_first_critic_which_it_does_not_move(spaces):
    td3 = make(spaces)
    linear_(td3.critic, [[3.0, 0.0], [0.0, 1.0]])
    with torch.no_grad():  # at 0 exactly, the critic's own units have no slope
        td3.policy.net.layers[-1].bias.copy_(torch.tensor([0.3, -0.2]))
    loss, _ = td3.losses(make_inputs(torch.zeros(1, 3), torch.zeros(1, 2), target=torch.zeros(1)))
    # The critic is right about the action 0, so what is left is the policy's loss.
    for gradient in torch.autograd.grad(loss, list(td3.critic.parameters()), retain_graph=True):
        assert gradient.abs().max() == 0.0
    # Of a = tanh(b): less the slope (3, 0), times 1 − a².
    expected = -torch.tensor([3.0, 0.0]) * (1 - torch.tanh(torch.tensor([0.3, -0.2])).square())
    torch.testing.assert_close(torch.autograd.grad(loss, td3.policy.net.layers[-1].bias)[0], expected)


def test_nothing_is_averaged_that_nothing_reads(spaces, make_batch):
    td3, td3bc = (learners.create(name, spaces, hidden=(4,)) for name in ("td3", "td3bc"))
    assert "averages" not in td3.modules
    for algorithm in (td3, td3bc):
        algorithm.update(make_batch())
    assert len(td3.optimiser.gradient) == len(td3bc.optimiser.gradient) - 1


# --- Updates ---


def test_the_policy_and_the_targets_wait(spaces, make_batch):
    td3 = learners.create("td3", spaces, hidden=(8,), policy_delay=3, polyak=0.25)
    names = ("critic", "policy")
    before = {name: td3.optimiser.segment(name).clone() for name in names}
    targets = {name: td3.target_vectors[f"target_{name}"].clone() for name in names}
    for sequence in range(2):
        td3.update(make_batch(8, sequence))
    assert not torch.equal(td3.optimiser.segment("critic"), before["critic"])
    assert torch.equal(td3.optimiser.segment("policy"), before["policy"])
    for name in names:
        assert torch.equal(td3.target_vectors[f"target_{name}"], targets[name])
    td3.update(make_batch(8, 2))
    assert not torch.equal(td3.optimiser.segment("policy"), before["policy"])
    for name in names:
        moved = 0.75 * targets[name] + 0.25 * td3.optimiser.segment(name)
        torch.testing.assert_close(td3.target_vectors[f"target_{name}"], moved)


# --- Acting ---


def test_sampled_actions_are_the_policys_with_noise(spaces):
    td3 = make(spaces, exploration_noise=0.1)
    observation, noise = torch.zeros(2, 3), torch.tensor([[1.0, -2.0], [20.0, 0.0]])
    torch.testing.assert_close(td3.policy_action(observation, noise), torch.tensor([[0.1, -0.2], [1.0, 0.0]]))
    assert torch.equal(td3.policy_action(observation, None), torch.zeros(2, 2))


# --- Refusals ---


@pytest.mark.parametrize(
    ("knob", "value", "message"),
    [
        ("target_noise", -0.1, r"target_noise: found -0\.1"),
        ("target_noise_clip", -0.1, "target_noise_clip: found"),
        ("exploration_noise", -0.1, "exploration_noise: found"),
        ("policy_delay", 0, "policy_delay: found 0, expected a whole number, 1 to"),
    ],
)
def test_wrong_knobs_are_refused(spaces, knob, value, message):
    with pytest.raises(LearnerError, match=message):
        learners.create("td3", spaces, **{knob: value})
