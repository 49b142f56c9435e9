"""Draws: pure, uniform, weighted, few shards at a time."""

import threading

import numpy as np
import pytest

import replay
from replay import DataError, Request, View, draw, draw_episodes
from replay.random_words import REUSE, TRAIN, VALIDATION, uniforms, words


@pytest.fixture
def view(write, episode):
    return write([episode(n, 5 + 5 * (n % 2)) for n in range(8)]).view()


def counts(view, draws, **options):
    found = np.zeros(view.transitions, np.int64)
    for sequence in range(draws):
        np.add.at(found, draw(view, seed=0, sequence=sequence, count=256, **options).index, 1)
    return found


def test_words_are_those_of_philox():
    # The raw words of numpy.random.Philox at this address; no version of NumPy may change them.
    expected = np.random.Philox(key=[7, TRAIN], counter=[0, 0, 3, 0]).random_raw(5)
    assert words(7, TRAIN, 3, 5).tolist() == expected.tolist()
    assert words(7, TRAIN, 3, 2).tolist() == [13918315942059181947, 18007048821034219458]
    assert words(7, TRAIN, 3, 5).tolist() == expected.tolist()


def test_a_draw_depends_on_nothing_but_its_address(view):
    expected = draw(view, seed=1, sequence=2, count=64).index.tolist()
    draw(view, seed=9, sequence=9, count=7)
    assert draw(view, seed=1, sequence=2, count=64).index.tolist() == expected
    found = []
    thread = threading.Thread(target=lambda: found.append(draw(view, seed=1, sequence=2, count=64).index.tolist()))
    thread.start()
    thread.join()
    assert found == [expected]
    others = [
        draw(view, seed=2, sequence=2, count=64),
        draw(view, seed=1, sequence=3, count=64),
        draw(view, seed=1, sequence=2, count=64, stream=VALIDATION),
        draw(view, seed=1, sequence=2, count=64, stream=REUSE),
    ]
    assert all(other.index.tolist() != expected for other in others)


def test_a_draw_is_sorted_and_in_range(view):
    index = draw(view, seed=0, sequence=0, count=1000).index
    assert (np.diff(index) >= 0).all()
    assert 0 <= index[0] <= index[-1] < view.transitions


def test_transitions_are_equally_likely(view):
    found = counts(view, 200)  # 51,200 draws over 60 transitions: 853 each, standard deviation 29
    assert found.sum() == 51_200
    assert np.abs(found - 51_200 / 60).max() < 5 * 29


def test_few_shards_keep_transitions_equally_likely(view):
    shards = [len(set(draw(view, seed=0, sequence=s, count=256, shards_per_draw=2).shard.tolist())) for s in range(50)]
    assert max(shards) == 2
    found = counts(view, 2000, shards_per_draw=2)
    share = np.add.reduceat(found, view.shard_starts[:-1]) / found.sum()
    expected = np.diff(view.shard_starts) / view.transitions
    assert np.abs(share - expected).max() < 0.02
    first = draw(view, seed=0, sequence=0, count=32, shards_per_draw=2).index
    assert first.tolist() == draw(view, seed=0, sequence=0, count=32, shards_per_draw=2).index.tolist()


@pytest.mark.parametrize("shards_per_draw", [None, 3])
def test_weights_decide_how_often_a_dataset_is_drawn(write, episode, shards_per_draw):
    a, b = write([episode(0, 10), episode(1, 10)], "a"), write([episode(2, 80)], "b")
    view = View.of([(a, 3.0), (b, 1.0)])
    found = counts(view, 1000, shards_per_draw=shards_per_draw)
    assert abs(found[:20].sum() / found.sum() - 0.75) < 0.02
    assert abs(found[:10].sum() / found.sum() - 0.375) < 0.02


def test_episodes_are_equally_likely_whatever_their_length(view):
    found = np.zeros(8, np.int64)
    for sequence in range(100):
        rows = draw_episodes(view, seed=0, sequence=sequence, count=256)
        number = replay.permanent_ids(view, rows.index)[1]
        assert (rows.index == view.starts[number]).all()
        assert (rows.remaining == view.length[number]).all()
        np.add.at(found, number, 1)
    assert np.abs(found - 3200).max() < 5 * 53
    with pytest.raises(DataError, match="count: found 0"):
        draw_episodes(view, seed=0, sequence=0, count=0)
    with pytest.raises(DataError, match=r"shards_per_draw: found 2, but whole episodes are drawn from all shards"):
        draw(view, seed=0, sequence=0, count=1, shards_per_draw=2, request=Request(kind="episodes"))


def test_numbers_stay_below_one():
    assert uniforms(0, TRAIN, 0, 100_000).max() < 1.0
    for total in (3, 2**40 + 1, 2**52 - 1, 2**52):
        assert int(np.uint64((1 << 53) - 1) * (total * 2.0**-53)) == total - 1


def test_nothing_to_draw(view):
    with pytest.raises(DataError, match="count: found 0"):
        draw(view, seed=0, sequence=0, count=0)
    with pytest.raises(DataError, match="shards_per_draw: found 0"):
        draw(view, seed=0, sequence=0, count=1, shards_per_draw=0)
