"""Logged and fresh transitions in one batch: how many of each, from where, and always the same."""

import numpy as np
import pytest

from replay import DataError, Request, draw
from replay.mixing import Mixing, draw_mixed, fresh_count
from replay.random_words import FRESH


@pytest.fixture
def logged(write, episode):
    return write([episode(n, 10) for n in range(8)], "logged").view()


@pytest.fixture
def fresh(write, episode):
    return write([episode(n, 5) for n in range(4)], "fresh").view()


# --- How many ---


@pytest.mark.parametrize(
    ("mixing", "step", "expected"),
    [
        (Mixing(), 0, 0.25),  # 20 fresh of 80
        (Mixing(share=0.5), 0, 0.5),
        (Mixing(share=0.5), 10_000, 0.5),
        (Mixing(share=0.01, final_share=0.51, steps=100), 0, 0.01),
        (Mixing(share=0.01, final_share=0.51, steps=100), 50, 0.26),
        (Mixing(share=0.01, final_share=0.51, steps=100), 100, 0.51),
        (Mixing(share=0.01, final_share=0.51, steps=100), 900, 0.51),
    ],
)
def test_the_share_is_fixed_moves_or_follows_the_data(mixing, step, expected):
    assert mixing.share_at(step, fresh=20, logged=60) == pytest.approx(expected)


def test_what_is_not_there_gives_nothing():
    assert Mixing(share=0.5).share_at(0, fresh=0, logged=60) == 0.0
    assert Mixing(share=0.5).share_at(0, fresh=20, logged=0) == 1.0
    assert Mixing().share_at(0, fresh=0, logged=60) == 0.0


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 1 / 3, 0.5, 0.999, 1.0])
def test_over_many_batches_the_share_is_exact_however_small(share):
    counts = [fresh_count(share, sequence, 256) for sequence in range(1_000)]
    assert abs(sum(counts) - share * 256_000) < 1
    assert max(counts) - min(counts) <= 1


def test_half_of_an_even_batch_is_exactly_half():
    assert {fresh_count(0.5, sequence, 256) for sequence in range(100)} == {128}


@pytest.mark.parametrize(
    "options", [{"share": 1.5}, {"share": -0.1}, {"share": 0.1, "final_share": 2.0, "steps": 5}, {"final_share": 0.5}]
)
def test_shares_that_are_none_are_refused(options):
    with pytest.raises(DataError, match="share: "):
        Mixing(**options)


# --- Which ---


def test_each_part_is_drawn_as_alone_and_fresh_shards_stand_behind(logged, fresh):
    rows = draw_mixed(logged, fresh, 0.25, seed=3, sequence=8, count=64)
    ours = draw(logged, seed=3, sequence=8, count=48)
    theirs = draw(fresh, seed=3, sequence=8, count=16, stream=FRESH)
    assert rows.index.tolist() == [*ours.index, *(theirs.index + 80)]
    assert rows.shard.tolist() == [*ours.shard, *(theirs.shard + len(logged.files))]
    assert rows.row.tolist() == [*ours.row, *theirs.row]
    assert rows.remaining.tolist() == [*ours.remaining, *theirs.remaining]


@pytest.mark.parametrize(("share", "parts"), [(0.0, (64, 0)), (1.0, (0, 64))])
def test_all_of_one_kind(logged, fresh, share, parts):
    rows = draw_mixed(logged, fresh, share, seed=3, sequence=8, count=64)
    assert (int((rows.index < 80).sum()), int((rows.index >= 80).sum())) == parts


def test_without_logs_fresh_rows_are_numbered_from_nought(fresh):
    rows = draw_mixed(None, fresh, 1.0, seed=0, sequence=0, count=32)
    assert rows.shard.min() == 0
    assert rows.index.max() < 20


def test_whole_episodes_are_mixed_likewise(logged, fresh):
    rows = draw_mixed(logged, fresh, 0.5, seed=0, sequence=0, count=8, request=Request(kind="episodes"))
    assert rows.remaining.tolist() == [10] * 4 + [5] * 4


def test_the_union_is_uniform(logged, fresh):
    share = Mixing().share_at(0, fresh.transitions, logged.transitions)
    counts = np.zeros(100, np.int64)
    for sequence in range(400):
        np.add.at(counts, draw_mixed(logged, fresh, share, seed=0, sequence=sequence, count=250).index, 1)
    # 100,000 draws over 100 transitions: 1,000 each, standard deviation 32
    assert np.abs(counts - 1_000).max() < 5 * 32


def test_rows_of_a_view_that_is_not_there_are_refused(logged, fresh):
    with pytest.raises(DataError, match=r"no logs to take the rest from; expected 1"):
        draw_mixed(None, fresh, 0.5, seed=0, sequence=0, count=8)
    with pytest.raises(DataError, match=r"no fresh transitions yet; expected 0"):
        draw_mixed(logged, None, 0.5, seed=0, sequence=0, count=8)
