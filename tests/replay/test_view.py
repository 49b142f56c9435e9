"""Views: which episodes of which datasets, and where each transition lies."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

import replay
from replay import Box, DataError, Discrete, Spaces, View, locate, operations, permanent_ids


@pytest.fixture
def dataset(write, episode):
    lengths = (3, 5, 2, 4)
    return write(
        [
            episode(n, length, success=n % 2 == 0, task=("open", "close")[n // 2], split="test" if n == 3 else None)
            for n, length in enumerate(lengths)
        ],
        shard_bytes=250,
    )


def test_every_transition_has_one_row(dataset):
    view = dataset.view("all")
    assert (view.transitions, view.episodes) == (14, 4)
    rows = locate(view, np.arange(14))
    # 250 bytes hold 9 rows: episodes 0 and 1 would take 10, so that 1 and 2 share the second shard.
    assert rows.shard.tolist() == [0] * 3 + [1] * 5 + [1] * 2 + [2] * 4
    assert rows.row.tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 6, 7, 0, 1, 2, 3]
    assert rows.remaining.tolist() == [3, 2, 1, 5, 4, 3, 2, 1, 2, 1, 4, 3, 2, 1]
    assert view.shard_starts.tolist() == [0, 3, 10, 14]


def test_ids_do_not_depend_on_the_view(dataset):
    view = dataset.view("all", "length != 5")
    member, number, step = permanent_ids(view, np.arange(9))
    assert member.tolist() == [0] * 9
    assert number.tolist() == [0, 0, 0, 2, 2, 3, 3, 3, 3]
    assert step.tolist() == [0, 1, 2, 0, 1, 0, 1, 2, 3]


def test_an_index_beyond_the_end(dataset):
    with pytest.raises(DataError, match="index: found 14 to 14, expected 0 to 13"):
        locate(dataset.view("all"), np.array([14]))


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("return > 100 and success == 1", [2]),
        ("return >= 510", [1]),
        ("not success == 1", [1]),
        ("task == 'open'", [0, 1]),
        ("task in ('close', 'shut')", [2]),
        ("'lo' in task or length == 3", [0, 2]),
        ("2 < length <= 5", [0, 1]),
        ("task != 'return' and return > -1", [0, 1, 2]),
    ],
)
def test_where(dataset, where, kept):
    assert dataset.view(where=where).episode.tolist() == kept


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("reward > 1", "unknown name 'reward'.*Names: return, length"),
        ("length >", "cannot read"),
        ("__import__('os').system('true')", "is not allowed"),
        ("length + 1 > 2", "is not allowed"),
        ("task > 3", "a word against a number"),
        ("1 < 2", "names no column"),
        ("length > 100", "no episode of split 'train' satisfies"),
    ],
)
def test_a_bad_where_is_refused(dataset, where, message):
    with pytest.raises(DataError, match=message):
        dataset.view(where=where)


def test_splits(dataset):
    assert dataset.view("train").episode.tolist() == [0, 1, 2]
    assert dataset.view("test").episode.tolist() == [3]
    assert dataset.view(None).episodes == 4
    with pytest.raises(DataError, match="no episodes in split 'validation'; it has test, train"):
        dataset.view("validation")


def test_datasets_follow_each_other(dataset, write, episode):
    other = write([episode(7, 6)], "other")
    view = View.of([(dataset, None), (other, None)])
    assert view.transitions == 16
    assert view.shard.tolist() == [0, 1, 1, 3]
    assert view.member_starts.tolist() == [0, 10, 16]
    assert [m.share for m in view.members] == [10 / 16, 6 / 16]
    assert permanent_ids(view, np.array([9, 10]))[0].tolist() == [0, 1]
    batch = replay.Store(view).gather(locate(view, np.arange(16)), replay.Request())
    assert batch.observation[:, 0].tolist() == [0] * 3 + [1] * 5 + [2] * 2 + [7] * 6


def test_statistics_are_those_of_the_mixture(write, episode):
    a, b = write([episode(0, 3)], "a"), write([episode(1, 9)], "b")
    rewards = [np.arange(3.0), 100 + np.arange(9.0)]
    pooled = View.of([(a, None), (b, None)]).statistics["reward"]
    both = np.concatenate(rewards)
    assert (pooled["count"], pooled["min"], pooled["max"]) == (12, 0, 108)
    np.testing.assert_allclose([pooled["mean"], pooled["std"]], [both.mean(), both.std()])
    half = View.of([(a, 1.0), (b, 1.0)]).statistics["reward"]
    mean = (1 + 104) / 2
    second = (np.square(rewards[0] - mean).mean() + np.square(rewards[1] - mean).mean()) / 2
    np.testing.assert_allclose([half["mean"], half["std"]], [mean, np.sqrt(second)])


def returns(view):
    entry = view.statistics["return"]
    return {name: np.asarray(entry[name]).tolist() for name in ("count", "mean", "std", "min", "max")}


def test_returns_are_those_of_the_selected_episodes(write, episode):
    """Undiscounted sums: 0 + 1 + 2 = 3, then 100 + 101 = 201, then 200."""
    data = write([episode(0, 3), episode(1, 2), episode(2, 1, split="test")])
    assert data.statistics["return"]["mean"] == (3 + 201 + 200) / 3
    assert returns(data.view()) == {"count": 2, "mean": 102, "std": 99, "min": 3, "max": 201}
    assert returns(data.view("all", "length < 3")) == {"count": 2, "mean": 200.5, "std": 0.5, "min": 200, "max": 201}
    assert returns(data.view("test")) == {"count": 1, "mean": 200, "std": 0, "min": 200, "max": 200}


def test_returns_of_several_datasets(write, episode):
    """Every episode counts alike; with weights, every dataset as much as it is drawn from."""
    a, b = write([episode(0, 3)], "a"), write([episode(1, 2), episode(1, 2)], "b")
    pooled = returns(View.of([(a, None), (b, None)]))
    assert (pooled["count"], pooled["min"], pooled["max"]) == (3, 3, 201)
    np.testing.assert_allclose([pooled["mean"], pooled["std"]], [(3 + 2 * 201) / 3, np.std([3, 201, 201])])
    assert returns(View.of([(a, 1.0), (b, 1.0)])) == {"count": 3, "mean": 102, "std": 99, "min": 3, "max": 201}


def test_a_relabelled_child_has_its_own_returns(write, episode, tmp_path):
    parent = write([episode(0, 3), episode(1, 2)])
    child = operations.relabel(parent, tmp_path / "child", lambda old: replace(old, reward=1 - old.reward))
    assert returns(child.view()) == {"count": 2, "mean": -99.5, "std": 99.5, "min": -199, "max": 0}
    assert child.statistics["return"]["min"] == -199
    both = returns(View.of([(parent, None), (child, None)]))
    assert (both["count"], both["min"], both["max"]) == (4, -199, 201)


def test_datasets_that_do_not_fit_together(write, episode):
    a = write([episode(0, 3)], "a")
    wide = write([episode(0, 3, observation=np.zeros((4, 5), np.float32))], "b", Spaces(Box((5,)), a.spaces.action))
    with pytest.raises(DataError, match=r"b: observation is Box \(5,\).*Box \(3,\)"):
        View.of([(a, None), (wide, None)])
    bounds = write([episode(0, 3)], "c", Spaces(Box((3,)), Box((2,), low=(-2.0,), high=(2.0,))))
    with pytest.raises(DataError, match="c: the action space is"):
        View.of([(a, None), (bounds, None)])
    with pytest.raises(DataError, match="weights"):
        View.of([(a, 0.0)])


def test_a_view_travels(dataset):
    view = dataset.view()
    copy = pickle.loads(pickle.dumps(view))
    draws = [replay.draw(v, seed=3, sequence=5, count=20) for v in (view, copy)]
    assert draws[0].index.tolist() == draws[1].index.tolist()
    batch = replay.Store(copy).gather(draws[1], replay.Request())
    np.testing.assert_array_equal(batch.reward, dataset.sample(seed=3, sequence=5, count=20).reward)


@pytest.mark.parametrize("lengths", [[5] * 40, [1] * 30 + [1000], [1000] + [1] * 30, [3, 1, 4, 1, 5, 9, 2, 6]])
def test_every_transition_is_found_in_its_episode(write, episode, lengths):
    """However uneven the episodes: the guide to them only says where to begin."""
    view = write([episode(number, length) for number, length in enumerate(lengths)]).view(None)
    _, found, step = permanent_ids(view, np.arange(view.transitions))
    expected = [(number, t) for number, length in enumerate(lengths) for t in range(length)]
    assert list(zip(found.tolist(), step.tolist(), strict=True)) == expected


def test_choices_of_other_numbers_are_not_sampled_together(write, episode):
    rows = episode(0, 2, observation=np.array([0, 1, 2]))
    few = write([rows], name="few", spaces=Spaces(Discrete(3), Box((2,))))
    many = write([rows], name="many", spaces=Spaces(Discrete(4), Box((2,))))
    with pytest.raises(
        DataError, match=r"observation is Discrete\(n=4, start=0\), in .*few it is Discrete\(n=3, start=0\)"
    ):
        View.of([(few, None), (many, None)])
