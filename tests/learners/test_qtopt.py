"""QT-Opt against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import learners
from learners.errors import LearnerError
from learners.qtopt import EmbeddingCritic
from tests.learners.constants import make_inputs, zero_


@torch.no_grad()
def constant_(critic: EmbeddingCritic, output: float) -> None:
    """The same output everywhere, before any sigmoid."""
    zero_(critic)
    critic.rest[-1].bias.fill_(output)


@torch.no_grad()
def slope_(critic: EmbeddingCritic, *slope: float, offset: float = 10.0) -> None:
    """Output slope·a, whatever the state: one hidden unit, kept positive by the offset."""
    zero_(critic)
    critic.first.weight[0, critic.encoder.size :] = torch.tensor(slope)
    critic.first.bias[0] = offset
    critic.rest[-1].weight[0, 0] = 1.0
    critic.rest[-1].bias.fill_(-offset)


# --- Network ---


@pytest.mark.parametrize("layer_norm", [False, True])
def test_a_state_embedded_once_scores_as_states_repeated(layer_norm):
    critic = EmbeddingCritic(3, 2, (8, 8), layer_norm=layer_norm)
    observation, action = torch.randn(5, 3), torch.randn(7, 5, 2)
    tiled = critic.score(critic.embed(observation), action)
    assert tiled.shape == (7, 5)
    inputs = torch.cat([observation.expand(7, 5, 3), action], dim=-1)
    torch.testing.assert_close(tiled, critic.rest(critic.first(inputs)).squeeze(-1))
    torch.testing.assert_close(tiled[2], critic(observation, action[2]))


# --- Targets ---


def test_the_first_target_network_chooses_and_the_smaller_one_counts(spaces, make_batch):
    qtopt = learners.create("qtopt", spaces, hidden=(1,), loss="squared", iterations=6)
    batch = make_batch()
    slope_(qtopt.target_critic, 1.0, -1.0)  # best at (1, -1), worth 2 there
    slope_(qtopt.lagged_critic, 2.0, 1.0)  # worth 1 there, though 3 at (1, 1)
    target = qtopt.targets(batch)["q"].numpy()
    np.testing.assert_allclose(target, batch.reward + batch.discount * 1.0, atol=0.02)
    assert batch.discount[3] == 0.0  # so that a terminal row is its reward alone
    slope_(qtopt.lagged_critic, 5.0, 0.0)
    np.testing.assert_allclose(qtopt.targets(batch)["q"].numpy(), batch.reward + batch.discount * 2.0, atol=0.02)


def test_the_cross_entropy_target_is_a_probability(spaces, make_batch):
    qtopt, batch = learners.create("qtopt", spaces, hidden=(4,)), make_batch()
    constant_(qtopt.target_critic, 0.0)
    constant_(qtopt.lagged_critic, math.log(3.0))  # sigmoid .75
    torch.testing.assert_close(qtopt.targets(batch)["q"].numpy(), batch.reward + batch.discount * np.float32(0.5))


def test_scoring_in_blocks_finds_what_scoring_at_once_does(spaces, make_batch, monkeypatch):
    qtopt, batch = learners.create("qtopt", spaces, hidden=(16,)), make_batch()
    at_once = qtopt.targets(batch)["q"]
    monkeypatch.setattr("learners.qtopt.CPU_ROWS", 24)  # three actions of eight states at a time
    torch.testing.assert_close(qtopt.targets(batch)["q"], at_once)


# --- Losses ---


def test_cross_entropy_of_a_constant_network(spaces):
    qtopt = learners.create("qtopt", spaces, hidden=(4,))
    constant_(qtopt.critic, math.log(3.0))  # Q = .75
    target = torch.tensor([1.0, 0.5, 1.5, -0.5])  # the last two are clamped
    loss, metrics = qtopt.losses(make_inputs(torch.zeros(4, 3), torch.zeros(4, 2), target=target))
    # −log .75 twice, −.5·log(.75·.25), −log .25
    expected = [-math.log(0.75), -0.5 * math.log(0.75 * 0.25), -math.log(0.75), -math.log(0.25)]
    assert loss.item() == pytest.approx(sum(expected) / 4)
    assert metrics["q_data"].item() == pytest.approx(0.75)
    assert metrics["clipped"].item() == 0.5
    assert metrics["target"].item() == pytest.approx((1.0 + 0.5 + 1.0 + 0.0) / 4)
    assert metrics["priority"].tolist() == pytest.approx([0.25, 0.25, 0.25, 0.75])


def test_squared_loss_is_unbounded(spaces):
    qtopt = learners.create("qtopt", spaces, hidden=(4,), loss="squared")
    constant_(qtopt.critic, 3.0)
    weight = torch.tensor([1.0, 0.5])
    target = torch.tensor([5.0, -1.0])
    loss, metrics = qtopt.losses(make_inputs(torch.zeros(2, 3), torch.zeros(2, 2), target=target, weight=weight))
    assert loss.item() == pytest.approx((1.0 * 4.0 + 0.5 * 16.0) / 2)
    assert metrics["clipped"].item() == 0.0
    assert metrics["priority"].tolist() == [2.0, 4.0]


# --- Optimiser and target networks ---


def test_sgd_moves_as_the_paper_says(spaces, make_batch):
    options = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    qtopt = learners.create("qtopt", spaces, hidden=(4,), optimiser="sgd", **options)
    momentum = torch.zeros_like(qtopt.optimiser.vector)
    for sequence in range(3):
        before = qtopt.optimiser.vector.clone()
        qtopt.update(make_batch(8, sequence))
        momentum = 0.9 * momentum + qtopt.optimiser.gradient + 0.01 * before
        torch.testing.assert_close(qtopt.optimiser.vector, before - 0.1 * momentum)


def test_the_first_target_network_is_an_average(spaces, make_batch):
    qtopt = learners.create("qtopt", spaces, hidden=(4,), polyak=0.25)
    start = qtopt.target_vector.clone()
    qtopt.update(make_batch())
    torch.testing.assert_close(qtopt.target_vector, 0.75 * start + 0.25 * qtopt.optimiser.vector)


@pytest.mark.parametrize(
    ("lag_steps", "copies", "lags"),
    [(1, 1, [1]), (5, 5, [5]), (15, 15, [15]), (16, 8, [16, 17]), (35, 9, [36, 37, 38, 39])],
)
def test_the_second_is_the_first_of_so_many_steps_ago(spaces, make_batch, lag_steps, copies, lags):
    qtopt = learners.create("qtopt", spaces, hidden=(2,), polyak=0.5, learning_rate=0.1, lag_steps=lag_steps)
    history = [qtopt.target_vector.clone()]
    for sequence in range(2 * lag_steps + 20):
        qtopt.update(make_batch(4, sequence))
        history.append(qtopt.target_vector.clone())
        age = next(age for age in range(len(history)) if torch.equal(history[-1 - age], qtopt.lagged_vector))
        if len(history) > lags[-1] + 1:
            assert age in lags
        else:
            assert torch.equal(qtopt.lagged_vector, history[0])
    assert qtopt.snapshots.shape == (copies, qtopt.target_vector.numel())


def test_snapshots_survive_a_checkpoint(spaces, make_batch):
    a, b = (learners.create("qtopt", spaces, hidden=(4,), polyak=0.5, lag_steps=16, seed=seed) for seed in (0, 1))
    for sequence in range(21):  # between two snapshots
        a.update(make_batch(4, sequence))
    b.load_state_dict({name: tensor.clone() for name, tensor in a.state_dict().items()})
    for sequence in range(21, 60):
        a.update(make_batch(4, sequence))
        b.update(make_batch(4, sequence))
        assert torch.equal(a.lagged_vector, b.lagged_vector)
    other = learners.create("qtopt", spaces, hidden=(4,), lag_steps=5)
    with pytest.raises(LearnerError, match="another lag_steps"):
        other.load_state_dict(a.state_dict())


# --- Policy ---


def test_the_policy_maximises_the_first_target_network(spaces):
    qtopt = learners.create("qtopt", spaces, hidden=(1,), iterations=6)
    slope_(qtopt.target_critic, -1.0, 1.0)
    slope_(qtopt.critic, 1.0, -1.0)
    action, _ = qtopt.act(np.zeros(3, np.float32))
    # The corner (-1, 1) of the box, in the units of spaces that reach from (-2, 0) to (2, 1).
    np.testing.assert_allclose(action, [-2.0, 1.0], atol=0.02)


def test_an_action_does_not_depend_on_its_place_in_a_stack(spaces):
    qtopt = learners.create("qtopt", spaces, hidden=(16,))
    observation = np.tile(np.array([0.1, -0.2, 0.3], np.float32), (6, 1))
    actions, _ = qtopt.act(observation)
    assert (actions == actions[0]).all()


# --- Refusals ---


def statistics(low: float, high: float) -> dict[str, dict[str, list[float]]]:
    columns = {"observation": 3, "action": 2}
    plain = {name: {"mean": [0.0] * size, "std": [1.0] * size} for name, size in columns.items()}
    return {**plain, "reward": {"min": [low], "max": [high]}}


@pytest.mark.parametrize(("low", "high"), [(-1.0, 0.0), (0.0, 100.0)])
def test_rewards_that_no_probability_stands_for_are_refused(spaces, low, high):
    with pytest.raises(
        LearnerError, match=r"reward: found .* --reward-scale and --reward-shift, or use --loss squared"
    ):
        learners.create("qtopt", spaces, statistics=statistics(low, high))
    learners.create("qtopt", spaces, statistics=statistics(low, high), loss="squared")
    # Scaled first, then shifted.
    scale = 1.0 / (high - low)
    learners.create("qtopt", spaces, statistics=statistics(low, high), reward_scale=scale, reward_shift=-low * scale)


def test_a_negative_scale_turns_the_range_around(spaces):
    learners.create("qtopt", spaces, statistics=statistics(-1.0, 0.0), reward_scale=-1.0)
    with pytest.raises(LearnerError, match="found -1 to 0"):
        learners.create("qtopt", spaces, statistics=statistics(0.0, 1.0), reward_scale=-1.0)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"loss": "huber"}, "loss: found 'huber', expected 'cross_entropy' or 'squared'"),
        ({"optimiser": "lion"}, "optimiser: found 'lion', expected 'adam' or 'sgd'"),
        ({"elites": 65}, "elites: found 65 of 64 samples"),
        ({"elites": 0}, "elites"),
        ({"iterations": 0}, "iterations: found 0"),
        ({"lag_steps": 0}, "lag_steps: found 0, expected a whole number, 1 to"),
        ({"hidden": ()}, "hidden: found no layers"),
    ],
)
def test_knobs_out_of_range_are_refused(spaces, knobs, message):
    with pytest.raises(LearnerError, match=message):
        learners.create("qtopt", spaces, **knobs)


@pytest.mark.slow
def test_compiled_labels_are_the_eager_ones(spaces, make_batch):
    eager, compiled = (learners.create("qtopt", spaces, hidden=(16, 16), compile=flag) for flag in (False, True))
    batch = make_batch()
    torch.testing.assert_close(eager.targets(batch)["q"], compiled.targets(batch)["q"], atol=1e-5, rtol=1e-5)
    eager_metrics, compiled_metrics = eager.update(batch), compiled.update(batch)
    for name, metric in eager_metrics.items():
        torch.testing.assert_close(metric, compiled_metrics[name], atol=1e-5, rtol=1e-5)
