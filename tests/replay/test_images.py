"""Pictures: encoded and decoded."""

import numpy as np
import pytest

from replay import DataError, Image
from replay.images import check, decode, encode


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_loses_nothing(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, channels), np.uint8)
    space = Image((7, 5, channels))
    data = encode(pixels, space)
    check(data, space, "here")
    np.testing.assert_array_equal(decode(data, space.shape, "here"), pixels)


def test_jpeg_is_close():
    x = np.linspace(0, 200, 32)
    pixels = np.repeat((x[:, None] / 2 + x / 2).astype(np.uint8)[:, :, None], 3, axis=2)
    found = decode(encode(pixels, Image((32, 32, 3), "jpeg")), (32, 32, 3), "here")
    assert np.abs(found.astype(int) - pixels).max() <= 4


def test_what_is_no_picture_of_the_space_is_refused():
    pixels = np.zeros((4, 4, 3), np.uint8)
    png = encode(pixels, Image((4, 4, 3)))
    with pytest.raises(DataError, match="here: not a picture"):
        decode(b"not a picture", (4, 4, 3), "here")
    with pytest.raises(DataError, match=r"here: not a picture"):
        decode(png[:40], (4, 4, 3), "here")
    with pytest.raises(DataError, match=r"here: found a picture \(4, 4, 3\)"):
        decode(png, (4, 4, 1), "here")
    with pytest.raises(DataError, match=r"found a png picture.*jpeg"):
        check(png, Image((4, 4, 3), "jpeg"), "here")
    with pytest.raises(DataError, match=r"found \(4, 4, 3\) uint8"):
        encode(pixels, Image((4, 5, 3)))
    with pytest.raises(DataError, match="cannot be kept as jpeg"):
        encode(np.zeros((4, 4, 4), np.uint8), Image((4, 4, 4), "jpeg"))
    with pytest.raises(DataError, match="'gif', expected png or jpeg"):
        encode(pixels, Image((4, 4, 3), "gif"))
