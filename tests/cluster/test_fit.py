"""Which policies fit which environments: what one sees and does is what the other shows and takes."""

from __future__ import annotations

import re

import numpy as np
import pytest
from gymnasium import spaces as gym

from cluster.errors import RunError
from cluster.fit import check_fit
from replay.spaces import Box, Dict, Discrete, Image, Spaces

UNIT = Box((2,), "float32", (-1.0,), (1.0,))
ACTS = gym.Box(-1.0, 1.0, (2,), np.float32)
FREE = gym.Box(-np.inf, np.inf, (3,), np.float64)
PIXELS = gym.Box(0, 255, (32, 40, 3), np.uint8)


@pytest.mark.parametrize(
    ("observes", "observation"),
    [
        (FREE, Box((3,))),
        (gym.Box(-9, 9, (3,), np.int64), Box((3,))),
        (gym.MultiBinary(3), Box((3,), "int8", (0.0,), (1.0,))),
        (gym.Discrete(5, start=1), Discrete(5, start=1)),
        (gym.Discrete(5), Box((), "int64")),  # of a log that declares nothing
        (PIXELS, Image((32, 40, 3))),
        (gym.Box(0, 255, (3, 32, 40), np.uint8), Image((32, 40, 3))),
        (gym.Box(0, 255, (8, 8, 3), np.uint8), Box((8, 8, 3), "uint8")),
        (gym.Dict({"a": FREE, "b": gym.Discrete(2)}), Dict.of({"a": Box((3,)), "b": Discrete(2)})),
    ],
    ids=str,
)
def test_what_fits(observes, observation):
    assert check_fit(observes, ACTS, Spaces(observation, UNIT), "E-v0") == []


@pytest.mark.parametrize(
    ("observes", "observation", "message"),
    [
        (FREE, Box((4,)), r"--env E-v0: observes observation: Box \(3,\) float64, the data holds .*\(4,\) float32"),
        (FREE, Box((3,), "uint8"), r"Box \(3,\) float64, the data holds observation: Box \(3,\) uint8"),
        (gym.Box(0, 255, (3,), np.uint8), Box((3,)), r"Box \(3,\) uint8 from 0 to 255, the data .* float32"),
        (
            gym.Box(0, 1, (32, 40, 3)),
            Image((32, 40, 3)),
            r"float32 from 0 to 1, the data holds .*pictures \(32, 40, 3\)",
        ),
        (gym.Box(0, 255, (40, 32, 3), np.uint8), Image((32, 40, 3)), r"\(40, 32, 3\) uint8.*pictures \(32, 40, 3\)"),
        (gym.Discrete(5), Discrete(6), r"Discrete\(5\) from 0, the data holds observation: Discrete\(6\) from 0"),
        (gym.Discrete(5), Discrete(5, start=1), r"Discrete\(5\) from 0, the data holds .*Discrete\(5\) from 1"),
        (gym.Discrete(5), Box((5,)), r"observes observation: Discrete\(5\) from 0, the data holds .*Box \(5,\)"),
        (gym.Box(0, 4, (), np.int64), Discrete(5), r"Box \(\) int64 from 0 to 4, the data .*Discrete\(5\)"),
        (gym.Text(3), Box((3,)), r"observes observation: Text"),
        (gym.Dict({"a": FREE}), Box((3,)), r"observation\.a: Box .*the data holds observation: .*--observation-key"),
        (gym.Dict({"a": FREE, "b": FREE}), Dict.of({"a": Box((3,))}), r"observes observation\.b: Box"),
        (
            gym.Dict({"a": FREE}),
            Dict.of({"a": Box((3,)), "b": Box(())}),
            r"nothing else, the data holds observation\.b",
        ),
    ],
    ids=str,
)
def test_another_observation_is_refused_with_both(observes, observation, message):
    with pytest.raises(RunError, match=message):
        check_fit(observes, ACTS, Spaces(observation, UNIT), "E-v0")


@pytest.mark.parametrize(
    ("acts", "action", "message"),
    [
        (gym.Box(-1, 1, (3,)), UNIT, r"takes actions Box \(3,\) float32 from -1 to 1, the data holds Box \(2,\)"),
        (gym.Discrete(2), UNIT, r"takes actions Discrete\(2\) from 0, the data holds Box \(2,\) float32 from -1 to 1"),
        (ACTS, Discrete(2), r"takes actions Box .*the data holds Discrete\(2\) from 0"),
        (gym.Discrete(2), Discrete(3), r"Discrete\(2\) from 0, the data holds Discrete\(3\) from 0"),
        (gym.Discrete(3, start=1), Discrete(3), r"Discrete\(3\) from 1, the data holds Discrete\(3\) from 0"),
        (gym.MultiDiscrete([2, 2]), UNIT, r"takes actions MultiDiscrete"),
        (gym.MultiBinary(2), UNIT, r"takes actions MultiBinary"),
    ],
    ids=str,
)
def test_other_actions_are_refused_with_both(acts, action, message):
    with pytest.raises(RunError, match=message):
        check_fit(FREE, acts, Spaces(Box((3,)), action), "E-v0")


@pytest.mark.parametrize(
    ("acts", "action", "warned"),
    [
        (gym.Box(-2, 2, (2,)), UNIT, r"from -2 to 2, and the policy those of the data, .* from -1 to 1"),
        (gym.Box(-1, 1, (2,)), Box((2,), "float32", (-2.0,), (2.0,)), "from -1 to 1, and the policy"),
        (ACTS, Box((2,)), None),  # without bounds of its own
        (gym.Box(-1, np.float32(1.0000001), (2,)), UNIT, None),
        (gym.Discrete(4), Discrete(3), r"Discrete\(4\) from 0, and the policy only those of the data"),
    ],
    ids=str,
)
def test_other_bounds_are_told_of(acts, action, warned):
    found = check_fit(FREE, acts, Spaces(Box((3,)), action), "E-v0")
    assert len(found) == (warned is not None)
    assert warned is None or re.search(warned, found[0])
