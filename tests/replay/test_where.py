"""Expressions over episodes: right, or refused with what is allowed, at a cost of their length at most."""

import numpy as np
import pytest

from replay import DataError
from replay.where import select

EPISODES = {
    "return": np.array([1.5, 5.0, -2.0]),
    "length": np.array([1, 2, 3]),
    "success": np.array([1, 0, -1], np.int8),
    "task": np.array(["close", "open cube", "it's"], object),
    "source": np.array(["a", "x", "return"], object),
    "terminated": np.array([0, 1, 0], np.uint8),
    "truncated": np.array([1, 0, 0], np.uint8),
    "split": np.array(["train"] * 3, object),
}
HUGE = "1" + "0" * 400


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("1 < length < 3", [1]),
        ("length" + " < length" * 1000, []),
        (" or ".join(["length > 2"] * 600), [2]),
        ("not " * 40 + "terminated", [1]),
        (f"return < {HUGE} and length > -{HUGE}", [0, 1, 2]),
        (f"return > {HUGE} or length == {HUGE} or return > 1e999", []),
        ("length in [1, 3, 7]", [0, 2]),
        ("length not in []", [0, 1, 2]),
        ("task in ['close', 'shut']", [0]),
        ("'cube' in task", [1]),
        ("source == 'return'", [2]),
        ("task == 'it\\'s' and return < 0", [2]),
        ("task == source", []),
        ("terminated or truncated", [0, 1]),
        ("False or terminated", [1]),
        ("ｌｅｎｇｔｈ > 2", [2]),
    ],
)
def test_what_holds(where, kept):
    assert np.flatnonzero(select(where, EPISODES)).tolist() == kept


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("", "cannot read ''"),
        ("   ", "cannot read '   '"),
        ("\0", "cannot read"),
        ("\ud800", "cannot read"),
        ("x" * 1_000_000, "found 1000000 characters, expected at most 10000"),
        ("(" * 100_000, "found 100000 characters"),
        ("(" * 3000 + "length > 1" + ")" * 3000, "cannot read"),
        ("not " * 2400 + "terminated", "more than 50 parts in one another"),
        ("-" * 9000 + "1 < length", "more than 50 parts in one another"),
        ("task" + ".x" * 4000, "more than 50 parts in one another"),
        ("length == " + "1" * 5000, "cannot read"),
        ("length > 1 << 10**9", r"'1 << 10 \*\* 9' is not allowed"),
        ("length > 9**9**9", "is not allowed"),
        ("length > 1 / 0", "'1 / 0' is not allowed"),
        ("length > 1j", "'1j' is not allowed"),
        ("length > None", "'None' is not allowed"),
        ("length > --1", "'--1' is not allowed"),
        ("return > nan", "unknown name 'nan'"),
        ("task.upper() == 'A'", r"'task.upper\(\)' is not allowed"),
        ("[x for x in task]", "is not allowed"),
        ("f'{task}' == 'a'", "is not allowed"),
        ("length is 1", "Is is not allowed"),
        ("length > 'a'", "a word against a number"),
        ("task in ['a', 1]", "a word against a number"),
        ("task in [task]", "'task' in 'task in .task.' is a column in a list"),
        ("5 in length", "`in` takes a column and a list"),
        ("length in 5", "`in` takes a column and a list"),
        ("success", "'success' in 'success' is neither true nor false; compare it with something"),
        ("length > 1 and task", "'task' .* is neither true nor false"),
        ("not return", "'return' in 'not return' is neither true nor false"),
        ("True", "names no column"),
        (5, "found a int, expected text"),
    ],
)
def test_what_is_refused(where, message):
    with pytest.raises(DataError, match=rf"^where: .*{message}.*Names: return, length, success"):
        select(where, EPISODES)
