"""Gathering transitions: the right rows, n-step sums, bounded maps, partial holders, staging."""

import os
import resource
from dataclasses import replace

import numpy as np
import pytest

import replay
from replay import DataError, Request, Rows, Store, View, locate
from replay.contents import Contents
from replay.manifest import write_manifest
from replay.shard import write_shard

F32 = np.float32


@pytest.fixture
def dataset(write, episode):
    # 3, 4, ..., 8 steps: 33 transitions, each episode in a shard of its own.
    return write([episode(n, 3 + n) for n in range(6)], shard_bytes=1)


@pytest.fixture
def view(dataset):
    return dataset.view()


def flags(*values):
    return np.array(values, np.uint8)


def everything(view, store=None, **request):
    return (store or Store(view)).gather(locate(view, np.arange(view.transitions)), Request(**request))


def test_one_step_transitions(view):
    batch = everything(view, discount=0.5)
    e = np.repeat(np.arange(6), np.arange(3, 9))
    t = np.concatenate([np.arange(3 + n) for n in range(6)])
    np.testing.assert_array_equal(batch.observation, np.stack([e, t, 100 * e + t], 1))
    np.testing.assert_array_equal(batch.next_observation, np.stack([e, t + 1, 100 * e + t + 1], 1))
    np.testing.assert_array_equal(batch.action, (np.stack([t, -t], 1) / 100).astype(F32))
    np.testing.assert_array_equal(batch.reward, 100 * e + t)
    np.testing.assert_array_equal(batch.truncated, t == e + 2)
    np.testing.assert_array_equal(batch.index, np.arange(33))
    assert batch.terminated.tolist() == [0] * 33
    assert batch.discount.tolist() == [0.5] * 33
    assert (batch.mask, batch.weight, batch.extras) == (None, None, {})
    dtypes = [getattr(batch, name).dtype for name in ("observation", "action", "reward", "discount", "terminated")]
    assert dtypes == [F32, F32, F32, F32, np.uint8]
    assert batch.observation.base is not None, "the two observations are views of one array"
    assert np.shares_memory(batch.observation.base, batch.next_observation.base)


def test_a_terminated_step_has_no_future(write, episode):
    done = episode(0, 3, terminated=flags(0, 1, 0), truncated=flags(0, 0, 0))
    batch = everything(write([done]).view(), discount=0.9)
    assert batch.discount.tolist() == [F32(0.9), 0.0, F32(0.9)]
    assert batch.terminated.tolist() == [0, 1, 0]


def test_rewards_are_scaled_and_shifted(view):
    batch = everything(view, reward_scale=2.0, reward_shift=-1.0)
    assert batch.reward[:4].tolist() == [-1.0, 1.0, 3.0, 199.0]


def test_order_and_repetitions_are_kept(view):
    rows = locate(view, np.array([20, 3, 3, 0]))
    batch = Store(view).gather(rows, Request(), (4, 5))
    assert batch.index.tolist() == [20, 3, 3, 0]
    assert batch.reward.tolist() == [402, 100, 100, 0]
    assert batch.key == (4, 5)


def n_step(write, episode, **fields):
    """Three-step sums over five steps with rewards 1, 2, 4, 8, 16 and discount 1/2."""
    view = write([episode(0, 5, reward=F32([1, 2, 4, 8, 16]), **fields)]).view()
    return everything(view, n_step=3, discount=0.5)


def test_n_step_sums_stop_at_a_truncation_and_bootstrap(write, episode):
    batch = n_step(write, episode, truncated=flags(0, 0, 0, 0, 1))
    assert batch.reward.tolist() == [1 + 1 + 1, 2 + 2 + 2, 4 + 4 + 4, 8 + 8, 16]
    assert batch.discount.tolist() == [0.125, 0.125, 0.125, 0.25, 0.5]
    assert batch.next_observation[:, 1].tolist() == [3, 4, 5, 5, 5]
    assert batch.truncated.tolist() == [0, 0, 1, 1, 1]
    assert batch.terminated.tolist() == [0] * 5


def test_n_step_sums_bootstrap_where_the_recording_stops(write, episode):
    batch = n_step(write, episode, truncated=flags(0, 0, 0, 0, 0))
    assert batch.reward.tolist() == [3, 6, 12, 16, 16]
    assert batch.discount.tolist() == [0.125, 0.125, 0.125, 0.25, 0.5]
    assert batch.truncated.tolist() == [0, 0, 0, 1, 1]


def test_n_step_sums_include_a_terminated_step_and_start_again_after_it(write, episode):
    batch = n_step(write, episode, terminated=flags(0, 1, 0, 0, 1), truncated=flags(0, 0, 0, 0, 0))
    assert batch.reward.tolist() == [1 + 1, 2, 4 + 4 + 4, 8 + 8, 16]
    assert batch.discount.tolist() == [0, 0, 0, 0, 0]
    assert batch.terminated.tolist() == [1, 1, 1, 1, 1]
    assert batch.truncated.tolist() == [0] * 5
    assert batch.next_observation[:, 1].tolist() == [2, 2, 5, 5, 5]


def test_the_general_sum_with_one_step_is_the_short_one(view):
    # Asking for returns-to-go takes the general way.
    one, general = everything(view), everything(view, columns=("return_to_go",))
    for name in ("observation", "action", "reward", "discount", "next_observation", "terminated", "truncated"):
        np.testing.assert_array_equal(getattr(one, name), getattr(general, name))


def test_extra_columns_arrive_when_asked_for(write, episode):
    goals = {"goal": np.arange(6.0).reshape(3, 2), "logprob": F32([-1, -2, -3])}
    extras = {"goal": replay.Box((2,), "float64"), "logprob": replay.Box(())}
    view = write([episode(0, 3, extras=goals)], extras=extras).view()
    batch = everything(view, columns=("goal",))
    assert list(batch.extras) == ["goal"]
    np.testing.assert_array_equal(batch.extras["goal"], goals["goal"])
    assert batch.extras["goal"].dtype == np.float64
    with pytest.raises(DataError, match="no 'speed'; it has goal, logprob, return_to_go, next_action, has_next_action"):
        everything(view, columns=("speed",))


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "int16", "int64", "uint8", "uint32"])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 5)])
def test_any_width_of_row(write, episode, dtype, shape):
    spaces = replay.Spaces(replay.Box(shape, dtype), replay.Box((2,)))
    count = int(np.prod(shape))
    rows = [(np.arange(6 * count) % 100 + n).reshape(6, *shape).astype(dtype) for n in range(4)]
    view = write([episode(n, 5, observation=rows[n]) for n in range(4)], spaces=spaces).view()
    batch = everything(view)
    np.testing.assert_array_equal(batch.observation, np.concatenate([part[:-1] for part in rows]))
    np.testing.assert_array_equal(batch.next_observation, np.concatenate([part[1:] for part in rows]))
    assert batch.observation.dtype == dtype


FOLLOWING = ("next_action", "has_next_action")


def next_actions(view, **request):
    """The first element of every next action, in hundredths: the number of the row it was logged in; and the flags."""
    extras = everything(view, columns=FOLLOWING, **request).extras
    assert (extras["next_action"].dtype, extras["has_next_action"].dtype) == (F32, np.uint8)
    return np.rint(100 * extras["next_action"][:, 0]).astype(int).tolist(), extras["has_next_action"].tolist()


def test_the_next_action_is_the_one_of_the_next_row(write, episode):
    # Episodes of 4, 1 and 3 steps; at their stored ends the row's own action stands in.
    view = write([episode(0, 4), episode(1, 1), episode(2, 3)], shard_bytes=1).view()
    assert len(view.files) == 3
    assert next_actions(view) == ([1, 2, 3, 3, 0, 1, 2, 2], [1, 1, 1, 0, 0, 1, 1, 0])


def test_the_next_action_of_a_sum_is_where_the_sum_ends(write, episode):
    view = write([episode(0, 5), episode(1, 1), episode(2, 3)], shard_bytes=1).view()
    found = ([3, 4, 2, 3, 4, 0, 0, 1, 2], [1, 1, 0, 0, 0, 0, 0, 0, 0])
    assert next_actions(view, n_step=3) == found
    stored_end = [episode(0, 5, truncated=flags(0, 0, 0, 0, 0))]
    assert next_actions(write(stored_end, "more").view(), n_step=3) == ([3, 4, 2, 3, 4], [1, 1, 0, 0, 0])


def test_no_action_follows_a_terminated_step(write, episode):
    going_on = episode(0, 5, terminated=flags(0, 1, 0, 0, 1), truncated=flags(0, 0, 0, 0, 0))
    view = write([going_on]).view()
    assert next_actions(view) == ([1, 1, 3, 4, 4], [1, 0, 1, 1, 0])
    assert next_actions(view, n_step=2) == ([0, 1, 4, 3, 4], [0, 0, 1, 0, 0])


def test_an_action_follows_a_truncated_step_inside_an_episode(write, episode):
    """The sum stops there and bootstraps from the next row, which is where the next action was taken."""
    view = write([episode(0, 4, truncated=flags(0, 1, 0, 1))]).view()
    assert next_actions(view) == ([1, 2, 3, 3], [1, 1, 1, 0])
    assert next_actions(view, n_step=3) == ([2, 2, 2, 3], [1, 1, 0, 0])


def test_discrete_next_actions_are_never_the_filler(write, episode):
    spaces = replay.Spaces(replay.Box((3,)), replay.Discrete(4, start=7))
    view = write([episode(0, 3, action=np.array([9, 10, 8]))], spaces=spaces).view()
    extras = everything(view, columns=FOLLOWING).extras
    assert extras["next_action"].tolist() == [10, 8, 8]
    assert extras["next_action"].dtype == np.int64
    assert list(everything(view, columns=("has_next_action",)).extras) == ["has_next_action"]


def test_next_actions_come_beside_other_columns(view):
    every = ("next_action", "return_to_go", "has_next_action")
    for request in ({}, {"n_step": 3}):
        alone, together = everything(view, columns=FOLLOWING, **request), everything(view, columns=every, **request)
        assert set(together.extras) == set(every)
        for name in FOLLOWING:
            np.testing.assert_array_equal(alone.extras[name], together.extras[name])
        np.testing.assert_array_equal(alone.reward, together.reward)


@pytest.mark.parametrize("kind", ["windows", "episodes"])
@pytest.mark.parametrize("name", FOLLOWING)
def test_windows_hold_the_actions_that_follow_already(kind, name):
    with pytest.raises(DataError, match=rf"request.columns: {name} with kind='{kind}', expected transitions; .*action"):
        Request(kind=kind, columns=(name,))


def test_computed_columns_have_their_names_to_themselves(write, episode):
    logged = np.zeros((3, 2), F32)
    with pytest.raises(DataError, match="'next_action' belongs to a standard column; rename the extra"):
        write([episode(0, 3, extras={"next_action": logged})], extras={"next_action": replay.Box((2,))})


def test_few_maps_give_the_same_next_actions(view):
    request = Request(columns=FOLLOWING, n_step=2)
    rows = replay.draw(view, seed=0, sequence=0, count=40)
    rows = rows.take(np.random.default_rng(0).permutation(40))
    expected, found = Store(view).gather(rows, request), Store(view, max_maps=2).gather(rows, request)
    for name in FOLLOWING:
        np.testing.assert_array_equal(found.extras[name], expected.extras[name])


@pytest.mark.parametrize("kind", [{}, {"n_step": 3}, {"kind": "windows", "length": 4}, {"kind": "episodes"}])
def test_few_maps_give_the_same_batches(view, kind):
    request = Request(columns=("return_to_go",), **kind)
    wide, narrow = Store(view), Store(view, max_maps=2)
    for sequence in range(5):
        rows = replay.draw(view, seed=0, sequence=sequence, count=40)
        rows = rows.take(np.random.default_rng(sequence).permutation(40))
        expected, found = wide.gather(rows, request), narrow.gather(rows, request)
        assert narrow.open_files == 2
        for name in ("observation", "action", "reward", "discount", "next_observation", "truncated", "index", "mask"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        np.testing.assert_array_equal(found.extras["return_to_go"], expected.extras["return_to_go"])
    assert wide.rows_served == narrow.rows_served == 200


def test_a_store_serves_the_shards_it_holds(view):
    mine, yours = Store(view, shards=[0, 2, 4]), Store(view, shards=[1, 3, 5])
    rows = replay.draw(view, seed=0, sequence=0, count=50)
    first = np.isin(rows.shard, mine.shards)
    order = np.argsort(np.concatenate([np.flatnonzero(first), np.flatnonzero(~first)]))
    parts = [mine.gather(rows.take(first), Request()), yours.gather(rows.take(~first), Request())]
    found = replay.concatenate(parts).take(order)
    expected = Store(view).gather(rows, Request())
    np.testing.assert_array_equal(found.observation, expected.observation)
    np.testing.assert_array_equal(found.index, expected.index)
    assert mine.open_files == 3
    with pytest.raises(DataError, match="asked for shard 1, which is not assigned to it"):
        mine.gather(rows, Request())
    with pytest.raises(DataError, match="the view has 6"):
        Store(view, shards=[6])


def test_no_address_is_computed_from_an_unchecked_row(view):
    store = Store(view)
    everything(view, store)

    def ask(row, shard=0, remaining=1, **request):
        one = Rows(*(np.array([value]) for value in (0, shard, row, remaining, 0)))
        return store.gather(one, Request(**request))

    assert ask(2).reward.tolist() == [2]
    for row in (3, 4, 10**12, -1, -(10**12)):
        with pytest.raises(DataError, match="rows outside of their shard"):
            ask(row)
    with pytest.raises(DataError, match="rows outside of their shard"):
        ask(0, remaining=4, n_step=2)
    with pytest.raises(DataError, match="shard beyond the view's 6"):
        ask(0, shard=6)


def test_rows_of_several_datasets_and_column_groups(write, episode):
    """A child whose rewards lie in a file of their own, beside its parent: the same columns, other files."""
    parent = write([episode(0, 3), episode(1, 4)], "parent")
    child = replay.open(relabelled(parent, parent.path.parent / "child", lambda episode: {"reward": -episode.reward}))
    view = View.of([(parent, None), (child, None)])
    batch = everything(view)
    assert batch.reward[:7].tolist() == [0, 1, 2, 100, 101, 102, 103]
    assert batch.reward[7:].tolist() == [0, -1, -2, -100, -101, -102, -103]
    np.testing.assert_array_equal(batch.observation[:7], batch.observation[7:])


def relabelled(dataset, out, function):
    """A child that shares its parent's files and overrides some columns, written with the manifest alone."""
    (out / "shards").mkdir(parents=True)
    reward = replace(next(c for c in dataset.columns if c.name == "reward"), group="override.1.reward")
    columns = tuple(reward if c.name == "reward" else c for c in dataset.columns)
    shards = []
    for number, files in enumerate(dataset.shards):
        values = np.zeros(files["core"].rows, F32)
        for n in np.flatnonzero(dataset.episodes["shard"] == number):
            first, length = dataset.episodes["first_row"][n], dataset.episodes["length"][n]
            values[first : first + length] = function(dataset.episode(n))["reward"]
        path = out / "shards" / f"{number:05d}.{reward.group}.arrow"
        shards.append({**files, reward.group: write_shard(path, [reward], {"reward": values})})
    parents = ({"path": f"../{dataset.path.name}", "sha256": dataset.fingerprint},)
    manifest = replace(dataset.manifest, columns=columns, parents=parents)
    write_manifest(out, Contents(out, manifest, shards, dataset.episodes))
    return out


def test_staged_shards_are_verified_copies(view, tmp_path):
    local = tmp_path / "local"
    store = Store(view, stage=local)
    store.stage()
    names = {path.name for path in local.glob("*.arrow")}
    assert names == {f"{files['core'].sha256}.arrow" for files in view.files}
    for files in view.files:  # the store does not need the source any more
        files["core"].path.unlink()
    assert everything(view, store).reward[:4].tolist() == [0, 1, 2, 100]


def test_a_damaged_staged_copy_is_made_again_and_a_damaged_source_refused(view, tmp_path):
    local = tmp_path / "local"
    Store(view, stage=local).stage()
    file = view.files[0]["core"]
    copy = local / f"{file.sha256}.arrow"
    copy.write_bytes(b"x" * file.bytes)
    assert everything(view, Store(view, stage=local)).reward[:4].tolist() == [0, 1, 2, 100]
    file.path.write_bytes(b"x" * file.bytes)
    copy.unlink()
    with pytest.raises(DataError, match="the content has changed"):
        Store(view, stage=local).stage()
    assert not list(local.glob(".*.partial"))


def test_populate_and_close(view):
    store = Store(view)
    assert store.populate() == sum(files["core"].bytes for files in view.files)
    assert store.open_files == 6
    store.close()
    assert store.open_files == 0
    assert everything(view, store).reward[:4].tolist() == [0, 1, 2, 100]


def test_no_descriptor_is_kept_per_map(view):
    before = len(os.listdir("/proc/self/fd"))
    store = Store(view)
    store.populate()
    assert len(os.listdir("/proc/self/fd")) == before


def test_large_batches_do_not_fault_their_memory_in_again(view):
    store = Store(view)
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for sequence in range(20):
            replay.sample(view, store, seed=0, sequence=sequence, count=50_000, request=Request())
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert faults < 20 * 20  # a batch has 600 pages and more


def test_arrays_may_be_written_to(view):
    batch = everything(view)
    for array in (batch.observation, batch.next_observation, batch.action, batch.reward, batch.terminated):
        array[...] = 1
    assert everything(view).reward[:4].tolist() == [0, 1, 2, 100]


def test_a_scan_meets_every_transition_once(view):
    store = Store(view)
    batches = list(replay.scan(view, store, Request(), 10))
    assert [len(batch) for batch in batches] == [10, 10, 10, 3]
    assert np.concatenate([batch.index for batch in batches]).tolist() == list(range(33))
    assert [batch.key for batch in batches] == [(0, 0), (0, 1), (0, 2), (0, 3)]
    with pytest.raises(DataError, match="count: found 0"):
        replay.scan(view, store, Request(), 0)


@pytest.mark.parametrize("request_", [Request(kind="windows", length=4), Request(kind="episodes")])
def test_a_scan_of_windows_meets_every_step_once(view, request_):
    rewards = [batch.reward[batch.mask == 1] for batch in replay.scan(view, Store(view), request_, 2)]
    np.testing.assert_array_equal(np.concatenate(rewards), everything(view).reward)
