"""LSTD on problems small enough to solve exactly: the value of the log's own policy, whatever the log lacks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import learners
from tests.learners import discrete_tabular, tabular
from tests.learners.batches import random_batch

EXACT = {"bandwidth": 0.5, "ridge": 1e-8, "solve_every": 1}


def followed(log, states):
    """The log of a policy that draws one of the log's own actions of a state: a row for each that may come next."""
    here, after = log.observation.argmax(1), log.next_observation.argmax(1)
    order, next_action = [], []
    for row in range(len(log)):
        following = np.flatnonzero(here == after[row]) if after[row] < states else np.array([row])
        order += [row] * len(following)
        next_action += list(following)
    rows = log.take(np.array(order))
    return replace(
        rows,
        # Every row of the log weighs as much, in however many it was split.
        weight=(1.0 / np.bincount(order)[order]).astype(np.float32),
        extras={"next_action": log.action[next_action], "has_next_action": 1 - rows.terminated},
    )


# --- Values ---


@pytest.mark.parametrize("log", [discrete_tabular.full_log(), discrete_tabular.partial_log()], ids=["full", "partial"])
def test_it_finds_the_exact_value_of_the_logs_policy(log):
    lstd = discrete_tabular.train("lstd", followed(log, discrete_tabular.STATES), 1, features=64, **EXACT)
    inputs = torch.from_numpy(log.observation), lstd.normaliser.action(torch.from_numpy(log.action))
    learned = lstd.critic(*inputs).numpy()
    np.testing.assert_allclose(learned, discrete_tabular.solution(log, np.mean), atol=1e-5)


def test_it_acts_greedily_on_it():
    """One step of policy improvement of the log's policy."""
    log = discrete_tabular.full_log()
    lstd = discrete_tabular.train("lstd", followed(log, discrete_tabular.STATES), 1, features=64, **EXACT)
    q = discrete_tabular.solution(log, np.mean).reshape(discrete_tabular.STATES, len(discrete_tabular.ACTIONS))
    # Jumps lead, but for the last state, from where a step leaves the chain as well.
    assert discrete_tabular.chosen(lstd)[:-1].tolist() == (q.argmax(1) + discrete_tabular.BACK)[:-1].tolist()


def test_a_narrow_log_does_not_make_it_overestimate():
    """Where LSPI believes in far too much: see `test_lspi.py`."""
    log = tabular.narrow_log(seed=0)
    exact = tabular.solution(log, np.mean)
    for seed in range(3):
        lstd = tabular.train("lstd", followed(log, tabular.STATES), 1, seed=seed, **EXACT | {"bandwidth": 0.3})
        with torch.no_grad():
            learned = lstd.critic(torch.from_numpy(log.observation), torch.from_numpy(log.action)).numpy()
        np.testing.assert_allclose(learned, exact, atol=0.025)


# --- Rows ---


def test_one_pass_in_any_batches_is_the_solution_for_all(spaces):
    whole, parts = (learners.create("lstd", spaces, features=32, solve_every=1) for _ in range(2))
    batch = random_batch(spaces, whole.requires, 50)
    whole.update(batch)
    for start, stop in ((0, 3), (3, 40), (40, 50)):
        parts.update(batch.rows(start, stop))
    torch.testing.assert_close(parts.critic.weight, whole.critic.weight)


def test_a_step_that_is_followed_by_nothing_known_is_left_out(spaces):
    one, other = (learners.create("lstd", spaces, features=32, solve_every=1) for _ in range(2))
    batch = random_batch(spaces, one.requires, 8)
    assert batch.discount[1] > 0.0
    follows, weight = batch.extras["has_next_action"].copy(), np.ones(8, np.float32)
    follows[1] = weight[1] = 0
    one.update(replace(batch, extras={**batch.extras, "has_next_action": follows}))
    other.update(replace(batch, weight=weight))
    assert torch.equal(one.critic.weight, other.critic.weight)


def test_a_terminal_step_has_no_next_action_and_counts(spaces):
    one, other = (learners.create("lstd", spaces, features=32, solve_every=1) for _ in range(2))
    batch = random_batch(spaces, one.requires, 8)
    assert batch.discount[3] == batch.extras["has_next_action"][3] == 0
    reward = batch.reward.copy()
    reward[3] += 1.0
    one.update(batch)
    other.update(replace(batch, reward=reward))
    assert not torch.equal(one.critic.weight, other.critic.weight)


def test_it_asks_for_the_action_that_follows(spaces):
    assert learners.create("lstd", spaces, n_step=3).requires.columns == ("next_action", "has_next_action")


# --- Acting ---


def test_it_solves_every_so_many_steps(spaces):
    lstd = learners.create("lstd", spaces, features=32, solve_every=2)
    before = lstd.critic.weight.clone()
    lstd.update(random_batch(spaces, lstd.requires, 8, 0))
    assert torch.equal(lstd.critic.weight, before)
    lstd.update(random_batch(spaces, lstd.requires, 8, 1))
    solved = lstd.critic.weight.clone()
    assert not torch.equal(solved, before)
    lstd.solve()  # from the same sums
    assert torch.equal(lstd.critic.weight, solved)


def test_sampled_actions_are_near_the_best_candidate(spaces):
    lstd = learners.create("lstd", spaces, features=32)
    observation, noise = torch.zeros(2, 3), torch.tensor([[0.0, 0.0], [1.0, -50.0]])
    best = lstd.policy_action(observation, None)
    assert torch.equal(best, lstd.critic.best(observation))
    expected = torch.stack([best[0], torch.stack([(best[1, 0] + 0.1).clamp(max=1.0), torch.tensor(-1.0)])])
    torch.testing.assert_close(lstd.policy_action(observation, noise), expected)
