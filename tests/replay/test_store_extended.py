"""A store that is extended with its view gathers what a fresh one does."""

import numpy as np
import pytest

import replay
from replay import Box, DataError, OnlineReader, OnlineStore, Request, Rows, Spaces, Store, View
from replay.view import extended
from tests.replay.conftest import SPACES


@pytest.fixture
def online(tmp_path):
    with OnlineStore.create(tmp_path / "online", SPACES, provenance={}) as made:
        yield made


@pytest.fixture
def logs(write, episode):
    return write([episode(number, 9) for number in range(3)], "logs")


def fresh_rows(dataset, shards_before):
    """The first step of every live episode, numbered as `extended` does."""
    table = dataset.episodes
    shard = table["shard"].astype(np.int64) + shards_before
    first, length = table["first_row"].astype(np.int64), table["length"].astype(np.int64)
    return Rows(np.arange(len(shard)), shard, first, length, np.zeros_like(first))


def assert_same(found, expected):
    for name in ("observation", "action", "reward", "discount", "next_observation", "terminated", "truncated"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("max_maps", [None, 2])
@pytest.mark.parametrize("request_", [Request(), Request(n_step=3, discount=1.0), Request(kind="windows", length=4)])
def test_an_extended_store_gathers_what_a_new_one_does(logs, online, episode, request_, max_maps):
    base, reader = logs.view(), OnlineReader(online.path)
    old = replay.draw(base, seed=0, sequence=0, count=20)
    store = Store(base, max_maps=max_maps)
    expected = Store(base).gather(old, request_)
    for number in range(3, 9):
        online.insert([(f"e{number}", episode(number, number)), (f"f{number}", episode(number, 1))])
        reader.refresh()
        dataset = reader.dataset()
        view = extended(base, dataset)
        store.extend(view)
        rows = fresh_rows(dataset, len(base.files))
        found = store.gather(rows, request_)
        assert_same(found, Store(view).gather(rows, request_))
        # Of the long episodes: the first reward, or the first three.
        steps = request_.n_step
        firsts = [steps * 100 * n + sum(range(steps)) for n in range(3, number + 1)]
        assert found.reward.reshape(len(rows), -1)[0::2, 0].tolist() == firsts
        assert_same(store.gather(old, request_), expected)
    assert store.shards == tuple(range(3 + 6))


def test_files_stay_open_while_a_store_is_extended(logs, online, episode):
    base, reader = logs.view(), OnlineReader(online.path)
    store = Store(base)
    store.populate()
    for number in range(3):
        online.insert([(f"e{number}", episode(number, 2))])
        reader.refresh()
        store.extend(extended(base, reader.dataset()))
        assert store.open_files == 3 + number
        store.gather(fresh_rows(reader.dataset(), 3), Request())
        assert store.open_files == 4 + number


def test_a_store_may_begin_with_nothing(online, episode):
    reader = OnlineReader(online.path)
    for base in (extended(None, reader.dataset()), extended(extended(None, reader.dataset()), reader.dataset())):
        store = Store(base)
        assert (store.shards, store.populate(), base.transitions) == ((), 0, 0)
    online.insert([("a", episode(4, 2)), ("b", episode(5, 2))])
    reader.refresh()
    store.extend(extended(base, reader.dataset()))
    assert store.gather(fresh_rows(reader.dataset(), 0), Request()).reward.tolist() == [400, 500]
    with pytest.raises(DataError, match=r"the view has no transitions"):
        replay.draw(store.view, seed=0, sequence=0, count=1)


def test_a_store_of_some_shards_is_extended_by_some(logs, online, episode):
    for number in range(4):
        online.insert([(f"e{number}", episode(number, 2))])
    base, dataset = logs.view(), OnlineReader(online.path).dataset()
    store = Store(base, shards=[1])
    store.extend(extended(base, OnlineReader(online.path).dataset(2)), shards=[4])
    with pytest.raises(DataError, match=r"asked to serve shards \(4,\), but the view has 7, 5 of them from before"):
        store.extend(extended(base, dataset), shards=[4])
    store.extend(extended(base, dataset))
    assert store.shards == (1, 4, 5, 6)
    rows = fresh_rows(dataset, 3)
    assert store.gather(rows.take([1, 2, 3]), Request()).reward.tolist() == [100, 200, 300]
    with pytest.raises(DataError, match="asked for shard 3, which is not assigned to it"):
        store.gather(rows, Request())


def test_columns_that_a_new_member_lacks_are_dropped(write, online, episode):
    goal = np.ones((3, 1), np.float32)
    logs = write([episode(0, 3, extras={"goal": goal})], "goals", extras={"goal": Box((1,))})
    base = logs.view()
    store = Store(base)
    rows = replay.locate(base, np.arange(3))
    assert store.gather(rows, Request(columns=("goal",))).extras["goal"].tolist() == goal.tolist()
    online.insert([("a", episode(7, 2))])
    store.extend(extended(base, OnlineReader(online.path).dataset()))
    assert store.gather(rows, Request()).reward.tolist() == [0, 1, 2]
    assert store.gather(fresh_rows(OnlineReader(online.path).dataset(), 1), Request()).reward.tolist() == [700]
    with pytest.raises(DataError, match="the data has no 'goal'"):
        store.gather(rows, Request(columns=("goal",)))


def test_another_view_is_refused(logs, online, write, episode):
    online.insert([("a", episode(7, 2))])
    dataset = OnlineReader(online.path).dataset()
    store = Store(logs.view())
    other = write([episode(number, 9) for number in range(3)], "other")
    for view in (other.view(), extended(None, dataset), extended(other.view(), dataset)):
        with pytest.raises(DataError, match=r"asked to extend 3 shards of .*logs .*Make another store"):
            store.extend(view)
    store.extend(extended(logs.view(), dataset))
    with pytest.raises(DataError, match=r"asked to extend 4 shards"):
        store.extend(logs.view())
    assert store.gather(fresh_rows(dataset, 3), Request()).reward.tolist() == [700]


def test_logs_and_fresh_data_in_one_view(logs, online, episode, tmp_path):
    online.insert([("a", episode(7, 3))])
    fresh = OnlineReader(online.path).dataset()
    view = View.of([(logs, 1.0), (fresh, 3.0)])
    batch = replay.sample(view, Store(view), seed=0, sequence=0, count=4000, request=Request())
    share = float((batch.reward >= 700).mean())
    assert abs(share - 0.75) < 3 * (0.75 * 0.25 / 4000) ** 0.5
    other = Spaces(Box((4,)), SPACES.action)
    OnlineStore.create(tmp_path / "other", other, provenance={}).close()
    with pytest.raises(DataError, match=r"observation is Box \(4,\) float32, in .*logs it is Box \(3,\) float32"):
        extended(logs.view(), OnlineReader(tmp_path / "other").dataset())
