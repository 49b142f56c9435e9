"""Prioritised sampling."""

import numpy as np
import pytest

from replay import DataError, Priorities, View


@pytest.fixture
def view(write, episode):
    return write([episode(0, 3), episode(1, 3)]).view()


def share(priorities, view, draws=200):
    found = np.zeros(view.transitions)
    for sequence in range(draws):
        np.add.at(found, priorities.draw(view, seed=0, sequence=sequence, count=256).index, 1)
    return found / found.sum()


def test_what_is_new_is_drawn_uniformly(view):
    priorities = Priorities(6)
    assert np.abs(share(priorities, view) - 1 / 6).max() < 0.01
    assert priorities.draw(view, seed=0, sequence=0, count=8).weight.tolist() == [1.0] * 8


def test_draws_are_in_proportion_to_powers_of_the_priorities(view):
    priorities = Priorities(6, exponent=0.5)
    priorities.update(np.arange(6), np.array([1.0, 4.0, 9.0, 16.0, 25.0, 36.0]))
    assert np.abs(share(priorities, view) - np.arange(1, 7) / 21).max() < 0.01


def test_weights_correct_for_the_draw(view):
    priorities = Priorities(6, exponent=1.0, importance_exponent=0.5)
    priorities.update(np.arange(6), np.array([1.0, 1.0, 1.0, 1.0, 4.0, 4.0]))
    rows = priorities.draw(view, seed=0, sequence=0, count=256)
    assert set(rows.index.tolist()) == set(range(6))
    # (N P)^-1/2 is proportional to 1 / sqrt(priority).
    np.testing.assert_allclose(rows.weight, np.where(rows.index < 4, 1.0, 0.5), rtol=1e-6)
    assert rows.weight.dtype == np.float32
    assert rows.remaining.tolist() == [(3, 2, 1, 3, 2, 1)[i] for i in rows.index]


def test_the_last_of_repeated_updates_counts(view):
    a, b = Priorities(6), Priorities(6)
    a.update(np.array([2, 5, 2]), np.array([0.1, 0.3, 0.7]))
    b.update(np.array([5, 2]), np.array([0.3, 0.7]))
    np.testing.assert_array_equal(a.state_dict()["powers"], b.state_dict()["powers"])
    assert a.state_dict()["powers"][2] == 0.7**0.6


def test_new_ones_have_the_highest_priority():
    priorities = Priorities(4, exponent=1.0)
    priorities.update(np.array([1]), np.array([5.0]))
    priorities.update(np.array([1]), np.array([2.0]))
    assert priorities.state_dict()["powers"].tolist() == [5, 2, 5, 5]


@pytest.mark.parametrize("transitions", [1, 2, 3, 7, 8, 1000])
def test_the_tree_depends_on_the_priorities_alone(transitions):
    rng = np.random.default_rng(0)
    priorities = Priorities(transitions)
    for _ in range(20):
        index = rng.integers(0, transitions, 16)
        priorities.update(index, rng.random(16) + 0.01)
    copy = Priorities(transitions)
    copy.load_state_dict(priorities.state_dict())
    for ours, theirs in zip(priorities._levels, copy._levels, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(priorities._levels[0][0], priorities.state_dict()["powers"].sum())


def test_resuming_goes_on_the_same(view):
    one = Priorities(6)
    one.update(np.array([0, 3]), np.array([0.2, 3.0]))
    two = Priorities(6)
    two.load_state_dict(one.state_dict())
    for priorities in (one, two):
        priorities.update(np.array([1]), np.array([9.0]))
    draws = [p.draw(view, seed=1, sequence=2, count=32) for p in (one, two)]
    np.testing.assert_array_equal(draws[0].index, draws[1].index)
    np.testing.assert_array_equal(draws[0].weight, draws[1].weight)


def test_what_cannot_be_is_refused(view, write, episode):
    priorities = Priorities(6)
    with pytest.raises(DataError, match="not a positive number"):
        priorities.update(np.array([0]), np.array([0.0]))
    with pytest.raises(DataError, match="not a positive number"):
        priorities.update(np.array([0]), np.array([np.nan]))
    with pytest.raises(DataError, match="index 6 to 6 of 6"):
        priorities.update(np.array([6]), np.array([1.0]))
    with pytest.raises(DataError, match=r"found \(3,\)|shape \(3,\)"):
        priorities.load_state_dict(Priorities(3).state_dict())
    with pytest.raises(DataError, match="a view of 2 transitions"):
        priorities.draw(write([episode(0, 2)], "small").view(), seed=0, sequence=0, count=1)
    weighted = View.of([(write([episode(0, 6)], "six"), 2.0)])
    with pytest.raises(DataError, match="a weighted view"):
        priorities.draw(weighted, seed=0, sequence=0, count=1)
