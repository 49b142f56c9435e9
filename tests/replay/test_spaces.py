"""Spaces: which arrays are pictures, how they are turned, and what a record in JSON may say."""

from __future__ import annotations

import numpy as np
import pytest

from replay.errors import DataError
from replay.spaces import (
    Box,
    Dict,
    Discrete,
    Image,
    Spaces,
    channels_last,
    flattened,
    from_json,
    part_named,
    picture_shape,
    to_json,
)
from replay.writer import DatasetWriter


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ((64, 48, 3), (64, 48, 3)),
        ((3, 64, 48), (64, 48, 3)),
        ((1, 32, 32), (32, 32, 1)),
        ((4, 84, 84), (84, 84, 4)),
        ((3, 31, 64), None),  # too small
        ((7, 7, 3), None),
        ((2, 64, 64), None),  # neither grey nor RGB
        ((64, 64), None),
        ((3, 64, 3), None),
        ((5, 3, 64, 64), None),
    ],
)
def test_pictures_are_bytes_with_their_channels_last_or_first(shape, found):
    assert picture_shape(shape, np.uint8) == found
    assert picture_shape(shape, np.float32) is None


def test_only_pictures_with_their_channels_first_are_turned():
    pixels = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
    turned = channels_last(pixels, (4, 5, 3))
    assert turned.shape == (2, 4, 5, 3)
    assert turned[1, 2, 3, 0] == pixels[1, 0, 2, 3]
    for same in (turned, pixels[:, :2]):
        assert channels_last(same, (4, 5, 3)) is same
    cube = np.zeros((3, 3, 3), np.uint8)
    assert channels_last(cube, (3, 3, 3)) is cube


def test_nested_parts_are_named_by_their_keys():
    nested = {"arm": {"angle": 1, "inner": {"x": 2}}, "goal": (3, {"y": 4}), "plain": 5}
    flat = {"arm.angle": 1, "arm.inner.x": 2, "goal.0": 3, "goal.1.y": 4, "plain": 5}
    assert flattened(nested, "here") == flat
    assert flattened(flat, "here") == flat
    assert part_named(flat, "plain") == 5
    assert part_named(flat, "arm") == {"angle": 1, "inner.x": 2}
    assert part_named(flat, "leg") is None
    with pytest.raises(DataError, match=r"here: two parts are called 'a\.b'"):
        flattened({"a": {"b": 1}, "a.b": 2}, "here")


BOX = {"type": "box", "shape": [2], "dtype": "float32", "low": [None], "high": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (None, r"here: not a space"),
        ([], r"here: not a space"),
        ({}, r"here: not a space \(KeyError"),
        ({"type": "text"}, r"here\.type: found 'text', expected box, discrete, image or dict"),
        ({**BOX, "shape": [2.5]}, r"here\.shape: found 2\.5, expected a whole number"),
        ({**BOX, "shape": [True]}, r"here\.shape: found True, expected a whole number"),
        ({**BOX, "shape": [-2]}, r"here\.shape: found \[-2\], expected at most 32 lengths from 1 up"),
        ({**BOX, "shape": [0]}, r"here\.shape: found \[0\]"),
        ({**BOX, "shape": [10**9, 10**9]}, r"and 2147483647 numbers in all"),
        ({**BOX, "shape": [1] * 40}, r"expected at most 32 lengths"),
        ({**BOX, "shape": 2}, r"here\.shape: found 2, expected a list"),
        ({**BOX, "dtype": "float33"}, r"here: not a space \(TypeError"),
        ({**BOX, "dtype": "O"}, r"here\.dtype: found object, expected integers or floating point"),
        ({**BOX, "dtype": "complex64"}, r"here\.dtype: found complex64"),
        ({**BOX, "low": [0.0, 0.0, 0.0]}, r"here\.low: .*expected a list of 1 or 2 bounds"),
        ({**BOX, "high": 1.0}, r"here\.high: found 1\.0, expected a list"),
        ({**BOX, "high": [float("nan")]}, r"here\.high: found NaN, expected numbers, or null"),
        ({**BOX, "high": ["much"]}, r"here: not a space \(ValueError"),
        ({**BOX, "high": [10**400]}, r"here: not a space \(OverflowError"),
        ({**BOX, "low": [1.5]}, r"found a lower bound above the upper one"),
        ({"type": "discrete", "n": 0}, r"here: found 0 values from 0, expected at least one"),
        ({"type": "discrete", "n": 2**63, "start": 1}, r"expected at least one, all of 64 bits"),
        ({"type": "discrete", "n": "4"}, r"here\.n: found '4', expected a whole number"),
        (
            {"type": "image", "shape": [8, 8], "encoding": "png"},
            r"found a picture \(8, 8\) as 'png', expected \(height",
        ),
        ({"type": "image", "shape": [8, 8, 3], "encoding": "gif"}, r"as 'gif', expected .*png or jpeg"),
        ({"type": "dict", "spaces": {}}, r"a dictionary without parts"),
        ({"type": "dict", "spaces": {"a": {"type": "dict", "spaces": {"b": BOX}}}}, r"here\.a: found a dictionary in"),
        ({"type": "dict", "spaces": [BOX]}, r"here: not a space \(AttributeError"),
    ],
)
def test_a_record_that_is_no_space_is_refused(record, message):
    with pytest.raises(DataError, match=message):
        from_json(record, "here")


def test_every_space_is_read_back():
    parts = {"a": Box((2,), "int16", (-np.inf,), (1.0, 2.0)), "b": Discrete(4, -1), "c": Image((8, 6, 3), "jpeg")}
    for space in (*parts.values(), Dict.of(parts), Box(())):
        assert from_json(to_json(space), "here") == space


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (Box((2,), "float32", (1.0,), (0.0,)), r"spaces\.action: found a lower bound above the upper one"),
        (Discrete(0), r"spaces\.action: found 0 values from 0"),
    ],
)
def test_a_dataset_that_could_not_be_read_back_is_not_begun(tmp_path, space, message):
    with pytest.raises(DataError, match=message):
        DatasetWriter(tmp_path / "out", Spaces(Box((3,)), space), provenance={})
    assert not list(tmp_path.iterdir())
