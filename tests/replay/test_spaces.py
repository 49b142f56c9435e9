"""Spaces: which arrays are pictures, how they are turned, and what a record in JSON may say."""

from __future__ import annotations

import numpy as np
import pytest

from replay.spaces import channels_last, picture_shape


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
