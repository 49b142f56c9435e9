"""The equations of LSTD and LSPI, solved by hand and for chains whose values are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import learners
from learners.base.closed_form import Accumulator, mean_equations, solve
from learners.errors import LearnerError


def double(*rows):
    return torch.tensor(rows, dtype=torch.float64)


# --- Equations ---


def test_the_equations_of_two_transitions():
    feature, next_feature = double([1, 0], [1, 2]), double([0, 1], [1, 0])
    reward, discount = torch.tensor([1.0, 3.0]), torch.tensor([0.5, 0.0])
    a, b = mean_equations(feature, next_feature, reward, discount, None)
    # (1, 0)ᵀ(1, −.5) + (1, 2)ᵀ(1, 2), and (1, 0)·1 + (1, 2)·3, by two rows.
    assert a.tolist() == [[1.0, 0.75], [1.0, 2.0]]
    assert b.tolist() == [2.0, 3.0]
    a, b = mean_equations(feature, next_feature, reward, discount, torch.tensor([2.0, 0.0]))
    assert a.tolist() == [[1.0, -0.5], [0.0, 0.0]]
    assert b.tolist() == [1.0, 0.0]


def test_the_ridge_is_added_to_the_diagonal():
    # (1 + 1)·w₀ = 4, (2 + 1)·w₁ = 3
    assert solve(double([1, 0], [0, 2]), double(4, 3), 1.0).tolist() == [2.0, 1.0]


def test_the_values_of_a_chain_are_exact():
    """Three states with any transitions; a row for each, which weighs as much as it is likely."""
    transition = np.array([[0.1, 0.6, 0.3], [0.0, 0.5, 0.5], [0.7, 0.0, 0.3]])
    reward, discount = np.array([1.0, -2.0, 0.5]), 0.9
    before, after = (torch.tensor(part.reshape(-1)) for part in np.indices((3, 3)))
    one_hot = torch.eye(3, dtype=torch.float64)
    a, b = mean_equations(
        one_hot[before],
        one_hot[after],
        torch.tensor(reward)[before],
        torch.full((9,), discount),
        torch.tensor(transition.reshape(-1)),
    )
    exact = np.linalg.solve(np.eye(3) - discount * transition, reward)
    np.testing.assert_allclose(solve(a, b, 1e-10).numpy(), exact, atol=1e-6)


# --- Sums ---


def random_rows(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    feature, next_feature = torch.randn(2, count, 3, generator=generator, dtype=torch.float64)
    return feature, next_feature, torch.randn(count, generator=generator), torch.full((count,), 0.9), None


def test_batches_of_any_size_add_up_to_one():
    rows = random_rows(10)
    sums = Accumulator(3, torch.device("cpu"))
    for part in (slice(0, 2), slice(2, 9), slice(9, 10)):
        sums.add(*mean_equations(*(None if each is None else each[part] for each in rows)), rows=len(rows[0][part]))
    torch.testing.assert_close(sums.solve(0.1), solve(*mean_equations(*rows), 0.1))


def test_what_was_cleared_does_not_count():
    sums = Accumulator(3, torch.device("cpu"))
    sums.add(*mean_equations(*random_rows(10, seed=1)), rows=10)
    sums.clear()
    sums.add(*mean_equations(*random_rows(10)), rows=10)
    torch.testing.assert_close(sums.solve(0.1), solve(*mean_equations(*random_rows(10)), 0.1))


def test_a_batch_counts_by_its_rows_in_all_learners():
    sums = Accumulator(1, torch.device("cpu"))
    sums.reduce = lambda gradient: gradient.copy_(double(2.0, 6.0))  # A = 2, b = 6: the mean over the learners
    sums.add(double([0.0]), double(0.0), rows=8)
    assert sums.vector.tolist() == [16.0, 48.0]
    assert sums.solve(1.0).tolist() == [2.0]  # 6 / (2 + 1)


# --- Refusals ---


@pytest.mark.parametrize(
    ("knob", "value", "message"),
    [
        ("features", 0, "features: found 0, expected a whole number, 1 to"),
        ("solve_every", 0, "solve_every: found 0, expected a whole number, 1 to"),
        ("candidates", 0, "candidates: found 0, expected a whole number, 1 to"),
        ("bandwidth", 0.0, r"bandwidth: found 0\.0, expected a number, 1e-06 to"),
        ("ridge", 0.0, r"ridge: found 0\.0, expected a number, 1e-12 to"),
    ],
)
@pytest.mark.parametrize("name", ["lstd", "lspi"])
def test_wrong_knobs_are_refused(spaces, name, knob, value, message):
    with pytest.raises(LearnerError, match=message):
        learners.create(name, spaces, **{knob: value})


def test_a_checkpoint_of_other_features_is_refused(spaces):
    small, large = (learners.create("lstd", spaces, features=count) for count in (8, 16))
    with pytest.raises(LearnerError, match="other knobs"):
        large.load_state_dict(small.state_dict())
    sums = Accumulator(3, torch.device("cpu"))
    with pytest.raises(LearnerError, match=r"found \(20,\), expected \(12,\)"):
        sums.load_state_dict(Accumulator(4, torch.device("cpu")).state_dict())
