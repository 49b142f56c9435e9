"""Pictures are decoded once for each batch, while the store serves others."""

import threading

import numpy as np
import pytest
from PIL import Image as Picture

import replay
from replay import Box, DataError, Image, Request, Spaces, Store, images, locate

SHAPE = (3, 4, 3)
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 5, *SHAPE), np.uint8)
"""Of four episodes of four steps."""
DECODE = images.decode


@pytest.fixture
def view(write, episode):
    spaces = Spaces(Image(SHAPE), Box((2,)))
    return write([episode(n, 4, observation=PIXELS[n]) for n in range(4)], spaces=spaces, shard_bytes=1).view()


@pytest.mark.parametrize("options", [{}, {"threads": 3}, {"threads": 50}, {"threads": 2, "max_maps": 2}])
def test_every_picture_is_decoded_once_for_a_batch(view, monkeypatch, options):
    decoded = []

    def counting(data, shape, where):
        decoded.append(where)
        return DECODE(data, shape, where)

    monkeypatch.setattr(images, "decode", counting)
    index = np.array([9, 0, 1, 1, 15, 8])
    batch = Store(view, **options).gather(locate(view, index), Request())
    np.testing.assert_array_equal(batch.observation, PIXELS[index // 4, index % 4])
    np.testing.assert_array_equal(batch.next_observation, PIXELS[index // 4, index % 4 + 1])
    # Rows 0 to 2 of episode 0, 0 to 2 of episode 2, and the last two of episode 3.
    assert len(decoded) == len(set(decoded)) == 8


def test_two_threads_decode_at_the_same_time(view, monkeypatch):
    """Each gather of one picture waits in its decoder for the other's: in turns, neither would end."""
    together = threading.Barrier(2, timeout=20)

    def meeting(data, shape, where):
        if where.endswith("row 0"):
            together.wait()
        return DECODE(data, shape, where)

    monkeypatch.setattr(images, "decode", meeting)
    store = Store(view)
    found = {}

    def gather(index):
        found[index] = store.gather(locate(view, np.array([index])), Request()).observation

    threads = [threading.Thread(target=gather, args=(index,)) for index in (0, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 4], "one of them waited for the other's lock"
    np.testing.assert_array_equal(found[4][0], PIXELS[1, 0])


def test_a_batch_is_decoded_on_the_threads_that_it_was_given(view, monkeypatch):
    """Four of eight pictures each wait for one on the other thread."""
    together = threading.Barrier(2, timeout=20)

    def meeting(data, shape, where):
        together.wait()
        return DECODE(data, shape, where)

    monkeypatch.setattr(images, "decode", meeting)
    batch = Store(view, threads=2).gather(locate(view, np.array([0, 4, 8, 12])), Request())
    np.testing.assert_array_equal(batch.next_observation, PIXELS[:, 1])


def test_files_may_be_closed_while_their_pictures_are_decoded(view, monkeypatch):
    store = Store(view)

    def closing(data, shape, where):
        store.close()
        return DECODE(data, shape, where)

    monkeypatch.setattr(images, "decode", closing)
    batch = store.gather(locate(view, np.arange(16)), Request())
    np.testing.assert_array_equal(batch.observation, PIXELS[:, :4].reshape(16, *SHAPE))
    assert store.open_files == 0


@pytest.mark.parametrize("threads", [1, 4])
def test_of_damaged_pictures_the_first_is_named(view, monkeypatch, threads):
    def damaged(data, shape, where):
        return DECODE(data if where.endswith("row 0") else b"", shape, where)

    monkeypatch.setattr(images, "decode", damaged)
    with pytest.raises(DataError, match=r"00002\.image\.observation\.arrow, row 1: not a picture .*; restore the file"):
        Store(view, threads=threads).gather(locate(view, np.array([13, 8, 9])), Request())


def test_what_decodes_is_told_where_there_is_anything_to_decode(view, write, episode):
    assert Store(view).decoders.keys() == {"image"}
    assert Store(view).decoders["image"].startswith(f"pillow {Picture.__version__}, libjpeg ")
    assert Store(write([episode(0, 3)], "numbers").view()).decoders == {}
    assert replay.images.library() == Store(view).decoders["image"]
