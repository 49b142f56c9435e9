"""What `act` takes, and what it refuses by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import learners
from learners.base.observations import ObservationCheck, finite
from learners.errors import LearnerError
from replay.batch import Batch
from replay.spaces import Box, Dict, Discrete, Image, Spaces, observation_columns

UNIT = Box((2,), "float32", (-1.0,), (1.0,))
ARM = Dict.of({"arm": Box((3,)), "mode": Discrete(4, start=1)})
WHOLE = {"arm": np.zeros(3), "mode": 1}
GRID = Box((2, 2), "uint8")


def check(space):
    return ObservationCheck(observation_columns(space))


@pytest.mark.parametrize(
    ("space", "observation", "message"),
    [
        (Box((3,)), np.zeros(4), r"observation: found shape \(4,\), expected \(3,\)"),
        (Box((3,)), np.zeros((2, 2, 3)), r"found shape \(2, 2, 3\)"),
        (Box((3,)), 1.0, r"found shape \(\)"),
        (Box((3,)), {"arm": np.zeros(3)}, r"found a dictionary of arm, expected one array"),
        (Box((3,)), ["a", "b", "c"], r"observation: found <U1, expected numbers"),
        (Box((3,)), None, r"observation: found object, expected numbers"),
        (Box((3,)), np.zeros(3, complex), r"found complex128, expected numbers"),
        (Box((3,)), [[1.0], [1.0, 2.0]], r"found list that is no array"),
        (Box((3,)), torch.zeros(3, requires_grad=True), r"found Tensor that is no array"),
        (Box((3,)), [0.0, np.nan, -np.inf], r"observation: NaN or infinite in 2 of 3 numbers"),
        (Box((3,)), [0.0, 1e39, 0.0], r"in 1 of 3 numbers, expected such as float32 can hold"),
        (GRID, np.zeros((2, 2)), r"found float64, expected numbers \(uint8\)"),
        (Discrete(4, start=1), 0, r"observation: found 0, expected 1 to 4"),
        (Discrete(4, start=1), [1, 5], r"found 5, expected 1 to 4"),
        (Discrete(4, start=1), 1.0, r"found float64, expected integers"),
        (Image((8, 6, 3)), np.zeros((8, 6, 3)), r"found float64, expected bytes"),
        (Image((8, 6, 3)), np.zeros((8, 6, 3), np.int64), r"pixels of int64, expected uint8"),
        (Image((8, 6, 3)), np.zeros((6, 8, 3), np.uint8), r"found shape \(6, 8, 3\), expected \(8, 6, 3\)"),
        (ARM, np.zeros(3), r"found ndarray, expected a dictionary of arm, mode"),
        (ARM, {"arm": np.zeros(3)}, r"a dictionary of arm, expected exactly arm, mode"),
        (ARM, {**WHOLE, "eye": 0}, r"a dictionary of arm, eye, mode, expected exactly arm, mode"),
        (ARM, {**WHOLE, "arm": {"a": np.zeros(3)}}, r"a dictionary of arm\.a, mode|observation\.arm: found object"),
        (ARM, {**WHOLE, "arm": np.zeros(2)}, r"observation\.arm: found shape \(2,\), expected \(3,\)"),
        (ARM, {"arm": np.zeros((2, 3)), "mode": 1}, r"different numbers of observations \(arm: 2, mode: one\)"),
        (ARM, {"arm": np.zeros((2, 3)), "mode": [1, 1, 1]}, r"\(arm: 2, mode: 3\)"),
        (ARM, {"arm": {"x": 0}, "arm.x": 0}, r"two parts are called 'arm\.x'"),
    ],
)
def test_an_observation_that_does_not_fit_is_refused_by_name(space, observation, message):
    with pytest.raises(LearnerError, match=message):
        check(space)(observation)


def test_one_observation_becomes_a_batch_of_one():
    batch, single = check(ARM)(WHOLE)
    assert single
    assert (batch["arm"].shape, batch["mode"].tolist()) == ((1, 3), [1])
    batch, single = check(ARM)({"arm": np.zeros((2, 3), ">f4"), "mode": [1, 4]})
    assert not single
    assert batch["arm"].dtype.isnative
    stack = np.zeros((5, 3), np.float32)
    assert check(Box((3,)))(stack)[0] is stack


def test_nested_parts_are_named_by_their_keys():
    space = Dict.of({"arm.angle": Box(()), "arm.speed": Box(()), "goal.0": Box((2,))})
    batch, single = check(space)({"arm": {"angle": 1.0, "speed": 2.0}, "goal": (np.array([3.0, 4.0]),)})
    assert single
    assert {key: part[0].tolist() for key, part in batch.items()} == {
        "arm.angle": 1.0,
        "arm.speed": 2.0,
        "goal.0": [3.0, 4.0],
    }


def test_pictures_may_come_with_their_channels_first():
    bc = learners.create("bc", Spaces(Image((32, 40, 3)), UNIT), hidden=(4,), encoder_width=4)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 40, 3), np.uint8)
    first = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    np.testing.assert_array_equal(bc.act(first)[0], bc.act(pixels)[0])
    np.testing.assert_array_equal(bc.act(np.stack([first] * 2))[0], bc.act(np.stack([pixels] * 2))[0])


@pytest.mark.parametrize("name", learners.names())
def test_every_algorithm_refuses_what_is_not_finite(name):
    algorithm = learners.create(name, Spaces(Box((3,)), UNIT))
    with pytest.raises(LearnerError, match="NaN or infinite"):
        algorithm.act(np.array([np.nan, 0.0, 0.0]))


def test_zero_stands_for_what_is_not_finite():
    parts, changed = finite({"arm": np.array([np.nan, 1.0, np.inf]), "eye": np.zeros(2, np.uint8)})
    assert changed
    assert parts["arm"].tolist() == [0.0, 1.0, 0.0]
    whole = {"arm": np.ones(2)}
    assert finite(whole) == (whole, False)


def test_choices_are_learned_from_as_one_hot_vectors():
    """A policy that imitates one action for each of five states tells them apart at once, as numbers would not."""
    states, actions = np.arange(2, 7), np.array([[1.0], [-1.0], [1.0], [-1.0], [1.0]], np.float32) * 0.9
    spaces = Spaces(Discrete(5, start=2), Box((1,), "float32", (-1.0,), (1.0,)))
    bc = learners.create("bc", spaces, hidden=(32,), learning_rate=0.01, loss="mse")
    rows = np.arange(5)
    batch = Batch(states, actions, rows, np.ones(5, np.float32), states, rows * 0, rows * 0, rows)
    for _ in range(200):
        bc.update(batch)
    np.testing.assert_allclose(bc.act(states)[0], actions, atol=0.1)
    assert bc.act(2)[0] == pytest.approx(bc.act(states)[0][0], abs=1e-6)
