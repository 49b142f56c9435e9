"""Discrete actions: how they are encoded, and the proof on a chain small enough to solve exactly."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import learners
from tests.learners.constants import constant_, make_inputs, zero_
from tests.learners.discrete_tabular import (
    ACTIONS,
    BEST,
    BROKEN,
    DISCOUNT,
    SPACES,
    STATES,
    achieved,
    believed,
    chosen,
    frequencies,
    full_log,
    partial_log,
    solution,
    train,
)
from tests.learners.tabular import expectile

NAMES = ["bc", "cql", "iql", "qtopt"]


# --- Encoding and acting ---


@pytest.mark.parametrize("name", NAMES)
def test_actions_are_one_hot_inside_and_numbered_from_the_start_outside(name):
    normaliser = learners.create(name, SPACES, hidden=(8,)).normaliser
    encoded = normaliser.action(torch.tensor([1, 4, 2]))  # of 1, 2, 3, 4
    assert encoded.tolist() == [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]]
    assert normaliser.environment_action(encoded).tolist() == [1, 4, 2]


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_actions_are_integers_of_the_space(name, deterministic):
    algorithm = learners.create(name, SPACES, hidden=(8,))
    observation = np.random.default_rng(0).normal(size=(200, STATES + 1)).astype(np.float32)
    actions, _ = algorithm.act(observation, key=(0, 0), deterministic=deterministic)
    assert actions.shape == (200,)
    assert actions.dtype == np.int64
    assert set(actions) <= set(ACTIONS)
    if not deterministic and name != "qtopt":  # whose draws are close to its best, by a temperature of .1
        assert set(actions) == set(ACTIONS)
    one, _ = algorithm.act(observation[0])
    assert one.shape == ()
    assert one in ACTIONS


# --- Methods that are also for continuous actions ---


def test_the_maximum_of_qt_opt_is_exact():
    qtopt = learners.create("qtopt", SPACES, loss="squared", hidden=(4,))
    every_q = {"target_critic": [0.1, 0.7, 0.3, 0.2], "lagged_critic": [0.9, 0.5, 0.8, 0.6]}
    with torch.no_grad():
        for name, q in every_q.items():
            critic = qtopt.modules[name]
            zero_(critic)
            critic.first.weight[:, STATES + 1 :].copy_(torch.eye(4))  # the hidden layer is the one-hot action
            critic.rest[-1].weight.copy_(torch.tensor([q]))
    reward, discount = torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.0])
    inputs = make_inputs(torch.zeros(2, STATES + 1), torch.zeros(2, 4), reward=reward, discount=discount)
    # The second action is best by the target network, .7; the lagged one gives it .5, which is less.
    assert qtopt.bootstrap(inputs)["q"].tolist() == pytest.approx([1.0 + 0.5 * 0.5, 2.0])
    assert qtopt.policy_action(torch.zeros(1, STATES + 1), None).tolist() == [[0.0, 1.0, 0.0, 0.0]]


def test_iql_weighs_the_likelihood_of_a_categorical_policy():
    iql = learners.create("iql", SPACES, hidden=(8,))
    constant_(iql.critic, 1.0, 3.0)
    constant_(iql.target_critic, 2.0, 4.0)
    constant_(iql.value, 1.5)
    zero_(iql.policy)  # every action has probability ¼
    action = torch.tensor([[0.0, 0.0, 1.0, 0.0]])
    loss, metrics = iql.losses(make_inputs(torch.zeros(1, STATES + 1), action, target=torch.tensor([2.5])))
    # The advantage is 2 − 1.5: .7·.5² for the value, −e^{3·.5}·log ¼ for the policy.
    assert metrics["value_loss"].item() == pytest.approx(0.175)
    assert metrics["policy_loss"].item() == pytest.approx(math.exp(1.5) * math.log(4.0))
    # (1 − 2.5)² + (3 − 2.5)²
    assert metrics["critic_loss"].item() == pytest.approx(2.5)
    assert loss.item() == pytest.approx(0.175 + math.exp(1.5) * math.log(4.0) + 2.5)


# --- The chain ---


def test_the_exact_solution_of_the_chain():
    log = partial_log()
    value = [solution(log)[log.observation.argmax(1) == state].max() for state in range(STATES)]
    # From its end: 1, 1, on to 4, a jump to 4, a jump to 3 (or on to 2), on to 1.
    assert value == pytest.approx([DISCOUNT**3, DISCOUNT**2, DISCOUNT, DISCOUNT, 1.0, 1.0])
    assert achieved(np.array([3, 4, 4, 3, 4, 3])) == pytest.approx(value)
    assert achieved(np.array(BROKEN)) == pytest.approx(np.zeros(STATES))
    assert value[0] == pytest.approx(BEST)


KNOBS: dict[str, dict[str, Any]] = {
    "bc": {"learning_rate": 1e-3},
    # Advantages are about a tenth here, so the temperature is high.
    "iql": {"learning_rate": 1e-3, "polyak": 0.01, "expectile": 0.9, "temperature": 100.0},
    "cql": {"learning_rate": 1e-3, "polyak": 0.01, "conservative_weight": 0.1},
    "qtopt": {"learning_rate": 1e-3, "polyak": 0.01, "lag_steps": 100},
}


@pytest.mark.slow
def test_imitation_learns_the_frequencies_of_the_log():
    log = partial_log()
    bc = train("bc", log, 1500, **KNOBS["bc"])
    with torch.no_grad():
        probability = bc.policy.log_probs(torch.eye(STATES, STATES + 1)).exp().numpy()
    np.testing.assert_allclose(probability, frequencies(log), atol=0.02)
    assert achieved(chosen(bc))[0] == 0.0  # it goes back


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cql", "iql"])
def test_offline_methods_find_the_best_of_the_log_in_every_state(name):
    log = partial_log()
    algorithm = train(name, log, 1500, **KNOBS[name])
    best = [solution(log)[log.observation.argmax(1) == state].max() for state in range(STATES)]
    assert achieved(chosen(algorithm)) == pytest.approx(best)
    assert (believed(algorithm, log, "q_data") < solution(log) + 0.02).all()


@pytest.mark.slow
def test_iqls_values_are_the_expectiles_of_the_log():
    log = partial_log()
    iql = train("iql", log, 1500, **KNOBS["iql"])
    exact = solution(log, lambda values: expectile(values, 0.9))
    np.testing.assert_allclose(believed(iql, log, "q_data"), exact, atol=0.02)


@pytest.mark.slow
def test_maximising_over_all_actions_overestimates():
    log = partial_log()
    qtopt = train("qtopt", log, 1500, **KNOBS["qtopt"])
    assert believed(qtopt, log.rows(0, 1))[0] > BEST + 0.1
    assert achieved(chosen(qtopt))[0] == 0.0  # a jump that is broken


@pytest.mark.slow
@pytest.mark.parametrize(("name", "knobs"), [("qtopt", {}), ("cql", {"conservative_weight": 0.0})])
def test_values_are_exact_where_the_log_has_every_action(name, knobs):
    log = full_log()
    algorithm = train(name, log, 1500, **{**KNOBS[name], **knobs})
    np.testing.assert_allclose(believed(algorithm, log, "q_data"), solution(log), atol=0.01)
