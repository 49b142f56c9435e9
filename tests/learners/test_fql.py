"""FQL's flow, losses and targets against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

import learners
from learners.errors import LearnerError
from learners.losses import between, distilled_policy_loss, flow_action
from tests.learners.constants import constant_, linear_, make_inputs, zero_


def make(spaces, **knobs):
    """A flow that stands still and a policy that answers 0, on three observed and two commanded numbers."""
    fql = learners.create("fql", spaces, **{"hidden": (4,), "layer_norm": False, **knobs})
    zero_(fql.flow)
    zero_(fql.policy)
    return fql


def answer_(network, *values):
    """The same output everywhere."""
    zero_(network)
    with torch.no_grad():
        network.net.layers[-1].bias.copy_(torch.tensor(values))


NOISE = {"start": torch.tensor([[1.0, 0.0]]), "latent": torch.tensor([[0.3, -0.5]]), "time": torch.tensor([[0.25]])}


# --- The flow ---


def test_the_way_from_noise_to_an_action_is_straight():
    x, velocity = between(torch.tensor([[2.0, -1.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([[0.25]]))
    # .75·2 + .25·0, .75·(−1) + .25·1
    assert x.tolist() == [[1.5, -0.5]]
    assert velocity.tolist() == [[-2.0, 2.0]]


def test_the_flow_takes_euler_steps_from_time_0():
    # dx/dt = x in four steps multiplies by 1.25⁴; the end is clipped.
    x = flow_action(lambda x, time: x, torch.tensor([[0.1, 0.9]]), 4)
    torch.testing.assert_close(x, torch.tensor([[0.1 * 1.25**4, 1.0]]))
    # dx/dt = t adds (0 + 1/4 + 2/4 + 3/4)/4 = .375.
    x = flow_action(lambda x, time: time.expand_as(x), torch.tensor([[0.1, -0.9]]), 4)
    torch.testing.assert_close(x, torch.tensor([[0.475, -0.525]]))


# --- Losses ---


def test_the_policy_is_drawn_up_the_critic_and_to_the_flow():
    action, behaviour = torch.tensor([[0.5, 0.0]]), torch.tensor([[0.1, 0.2]])
    # 10·(.4² + .2²)/2 − .5·3
    assert distilled_policy_loss(torch.tensor([3.0]), action, behaviour, 0.5, 10.0).tolist() == pytest.approx(
        [1.0 - 1.5]
    )


def test_losses_of_constant_networks(spaces):
    fql = make(spaces, distillation_weight=10.0)
    answer_(fql.policy, 0.4, -2.0)
    constant_(fql.critic, 1.0, 3.0)
    action = torch.tensor([[0.6, 0.8]])
    loss, metrics = fql.losses(make_inputs(torch.zeros(1, 3), action, target=torch.tensor([2.5]), noise=NOISE))
    # The flow answers 0 where the velocity is (.6 − 1, .8 − 0): (.4² + .8²)/2.
    assert metrics["flow_loss"].item() == pytest.approx(0.4)
    # It leaves the latent (.3, −.5) where it is. The policy's action is not clipped: (.1² + 1.5²)/2.
    assert metrics["distillation_error"].item() == pytest.approx(1.13)
    # The policy climbs the mean of 1 and 3.
    assert metrics["policy_loss"].item() == pytest.approx(10.0 * 1.13 - 2.0)
    # (1 − 2.5)² + (3 − 2.5)²; the mean distance is (1.5 + .5)/2.
    assert metrics["critic_loss"].item() == pytest.approx(2.5)
    assert metrics["priority"].tolist() == pytest.approx([1.0])
    assert metrics["q_data"].item() == pytest.approx(2.0)
    assert loss.item() == pytest.approx(0.4 + 9.3 + 2.5)


def test_importance_weights_scale_each_row(spaces):
    fql = make(spaces, distillation_weight=1.0)
    constant_(fql.critic, 0.0, 0.0)
    noise = {"start": torch.zeros(2, 2), "latent": torch.tensor([[0.0, 1.0], [1.0, 1.0]]), "time": torch.ones(2, 1)}
    action, weight = torch.tensor([[0.0, 1.0], [0.0, 0.0]]), torch.tensor([2.0, 0.5])
    _, metrics = fql.losses(
        make_inputs(torch.zeros(2, 3), action, target=torch.tensor([1.0, 3.0]), weight=weight, noise=noise)
    )
    # Of the flow (2·.5 + .5·0)/2, of the policy (2·.5 + .5·1)/2, of both critics (2·1 + .5·9)/2 each.
    assert metrics["flow_loss"].item() == pytest.approx(0.5)
    assert metrics["policy_loss"].item() == pytest.approx(0.75)
    assert metrics["critic_loss"].item() == pytest.approx(6.5)


def test_the_policys_loss_moves_the_policy_alone(spaces):
    fql = make(spaces, distillation_weight=10.0)
    linear_(fql.critic, [[1.0, 0.0], [0.0, 3.0]])
    answer_(fql.policy, 0.4, -0.2)
    # The flow is right already (x₀ = a, so it should stand still), and so is the critic about the action 0.
    noise = {**NOISE, "start": torch.zeros(1, 2)}
    loss, _ = fql.losses(make_inputs(torch.zeros(1, 3), torch.zeros(1, 2), target=torch.zeros(1), noise=noise))
    for gradient in torch.autograd.grad(loss, [*fql.critic.parameters(), *fql.flow.parameters()], retain_graph=True):
        assert gradient.abs().max() == 0.0
    # 10·(μ − z) for the mean of two squares, less half of each critic's slope.
    gradient = torch.autograd.grad(loss, fql.policy.net.layers[-1].bias)[0]
    torch.testing.assert_close(gradient, torch.tensor([10.0 * 0.1 - 0.5, 10.0 * 0.3 - 1.5]))


def test_outside_the_box_only_the_flow_pulls(spaces):
    fql = make(spaces, distillation_weight=10.0)
    linear_(fql.critic, [[1.0, 0.0], [1.0, 0.0]])
    answer_(fql.policy, 1.3, -0.5)
    noise = {**NOISE, "start": torch.zeros(1, 2)}
    loss, _ = fql.losses(make_inputs(torch.zeros(1, 3), torch.zeros(1, 2), target=torch.zeros(1), noise=noise))
    # The robot does 1 for any first element above it: no slope of the critic is left, but 10·(1.3 − .3).
    gradient = torch.autograd.grad(loss, fql.policy.net.layers[-1].bias)[0]
    torch.testing.assert_close(gradient, torch.tensor([10.0, 0.0]))


def test_the_normalised_policy_divides_by_the_mean_q_of_the_step_before(spaces, make_batch):
    fql = make(spaces, normalise_q=True, distillation_weight=0.0)
    constant_(fql.critic, -4.0, -12.0)
    first = fql.update(make_batch())
    assert first["policy_loss"].item() == 0.0
    assert first["q_magnitude"].item() == pytest.approx(8.0)
    # Q is about −8 still, after one step of 3e-4: −(−8)/8.
    assert fql.update(make_batch(8, 1))["policy_loss"].item() == pytest.approx(1.0, abs=0.01)


# --- Targets ---


@pytest.mark.parametrize(("aggregation", "value"), [("mean", (0.5 - 1.0) / 2), ("min", -1.0)])
def test_targets_are_of_the_clipped_one_step_action(spaces, aggregation, value):
    fql = make(spaces, aggregation=aggregation)
    linear_(fql.target_critic, [[1.0, 0.0], [0.0, 1.0]])
    answer_(fql.policy, 0.5, -3.0)
    inputs = make_inputs(
        torch.zeros(1, 3),
        torch.zeros(1, 2),
        reward=torch.tensor([1.0]),
        discount=torch.tensor([0.9]),
        noise={"latent": torch.zeros(1, 2)},
    )
    assert fql.bootstrap(inputs)["q"].item() == pytest.approx(1.0 + 0.9 * value)


# --- Learning and acting ---


def test_the_flow_and_the_policy_learn_a_distribution_of_two_modes(spaces):
    """Half of the data's actions are (.6, ±.6), half (−.6, ±.6): four points, of which a mean is none."""
    fql = learners.create("fql", spaces, hidden=(64, 64), learning_rate=3e-3, normalise_observation=False)
    corners = torch.tensor([[0.6, 0.6], [0.6, -0.6], [-0.6, 0.6], [-0.6, -0.6]])
    action, observation = corners.repeat(64, 1), torch.zeros(256, 3)
    generator = torch.Generator().manual_seed(0)
    for step in range(600):
        noise = {name: torch.randn(256, 2, generator=generator) for name in ("start", "latent")}
        noise["time"] = torch.rand(256, 1, generator=generator)
        loss, _ = fql.losses(make_inputs(observation, action, target=torch.zeros(256), noise=noise))
        fql.optimiser.step(loss, step)
    latent = torch.randn(1000, 2, generator=generator)
    with torch.no_grad():
        drawn = fql.policy_action(torch.zeros(1000, 3), latent)
    nearest = torch.cdist(drawn, corners).min(1)
    assert (nearest.values < 0.3).float().mean() > 0.75  # by chance, π·.3² of the box's area 4, four times: .28
    assert torch.bincount(nearest.indices, minlength=4).min() > 150


def test_the_critic_chooses_among_latents_where_actions_are_deterministic(spaces):
    fql = make(spaces, acting_candidates=64)
    linear_(fql.critic, [[1.0, 0.0], [1.0, 0.0]])
    with torch.no_grad():  # μ(s, z) = relu(z₀), in the first element
        fql.policy.net.layers[0].weight[0, 3] = 1.0
        fql.policy.net.layers[-1].weight[0, 0] = 1.0
    observation = torch.zeros(2, 3)
    # The largest of 63 normal latents is above 1, but for a chance of .84^63 = 2e-5.
    assert fql.policy_action(observation, None).tolist() == [[1.0, 0.0]] * 2
    noise = torch.tensor([[0.25, 0.0], [-0.5, 0.0]])
    assert fql.policy_action(observation, noise).tolist() == [[0.25, 0.0], [0.0, 0.0]]


def test_one_candidate_is_the_centre_of_the_noise(spaces):
    fql = learners.create("fql", spaces, hidden=(4,), acting_candidates=1)
    observation = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        centre = fql.policy(observation, torch.zeros(3, 2)).clamp(-1, 1)
        torch.testing.assert_close(fql.policy_action(observation, None), centre)


# --- Refusals ---


@pytest.mark.parametrize(
    ("knob", "value", "message"),
    [
        ("distillation_weight", -1.0, r"distillation_weight: found -1\.0"),
        ("flow_steps", 0, "flow_steps: found 0, expected a whole number, 1 to"),
        ("acting_candidates", 0, "acting_candidates: found 0, expected a whole number, 1 to"),
        ("aggregation", "max", "aggregation: found 'max', expected 'mean' or 'min'"),
    ],
)
def test_wrong_knobs_are_refused(spaces, knob, value, message):
    with pytest.raises(LearnerError, match=message):
        learners.create("fql", spaces, **{knob: value})
