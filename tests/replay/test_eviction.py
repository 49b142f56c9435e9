"""Which episodes go: tables worked out by hand."""

import numpy as np
import pytest

from replay import DataError, Eviction
from replay.online.eviction import evicted

# Five live episodes, 10 transitions each; between 4 and 7 some were evicted before.
TABLE = {
    "episode": np.array([1, 2, 4, 7, 8]),
    "length": np.array([10, 10, 10, 10, 10]),
    "return": np.array([5.0, -1.0, 0.0, 2.0, -3.0]),
    "age": np.array([70, 60, 40, 10, 0]),
}


@pytest.mark.parametrize(
    ("rule", "numbers"),
    [
        ({}, []),
        ({"max_transitions": 50}, []),
        ({"max_transitions": 49}, [1]),
        ({"max_transitions": 25}, [1, 2, 4]),
        ({"max_transitions": 1}, [1, 2, 4, 7]),  # the newest stays
        ({"max_age": 70}, []),
        ({"max_age": 60}, [1]),
        ({"max_age": 5}, [1, 2, 4, 7]),
        ({"min_return": -1.0}, [8]),
        ({"min_return": 0.5}, [2, 4, 8]),
        ({"min_return": 9.0}, [1, 2, 4, 7, 8]),
        # 1 and 2 are too old, 8 is too poor, and 4 and 7 fit.
        ({"max_age": 50, "min_return": -2.0, "max_transitions": 20}, [1, 2, 8]),
        # 2, 4 and 8 are too poor; of 1 and 7 the older goes.
        ({"min_return": 1.0, "max_transitions": 10}, [1, 2, 4, 8]),
    ],
)
def test_age_then_return_then_capacity(rule, numbers):
    assert evicted(TABLE, Eviction(**rule)).tolist() == numbers


def test_capacity_counts_transitions_from_the_newest_back():
    table = {**TABLE, "length": np.array([1, 50, 2, 30, 5])}
    assert evicted(table, Eviction(max_transitions=37)).tolist() == [1, 2]
    assert evicted(table, Eviction(max_transitions=36)).tolist() == [1, 2, 4]
    assert evicted({**TABLE, "length": np.full(5, 10**6)}, Eviction(max_transitions=100)).tolist() == [1, 2, 4, 7]


def test_nothing_to_evict():
    empty = {name: column[:0] for name, column in TABLE.items()}
    assert evicted(empty, Eviction(max_transitions=1, max_age=1, min_return=0.0)).tolist() == []


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"max_transitions": 0}, r"max_transitions: found 0, expected a whole number, 1 to 1e12"),
        ({"max_transitions": 1e6}, r"max_transitions: found 1000000.0"),
        ({"max_age": -5}, r"max_age: found -5"),
        ({"max_age": True}, r"max_age: found True"),
        ({"min_return": float("nan")}, r"min_return: found nan, expected a finite number"),
    ],
)
def test_nonsense_is_refused(rule, message):
    with pytest.raises(DataError, match=message):
        Eviction(**rule)
