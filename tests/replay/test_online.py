"""The online store: what it acknowledges is there, once, and every snapshot stays what it was."""

import dataclasses
import errno
import json
import resource

import numpy as np
import pytest

import replay
from replay import (
    Box,
    DataError,
    Dict,
    Discrete,
    Eviction,
    Image,
    Inserted,
    OnlineReader,
    OnlineStore,
    Request,
    Spaces,
    images,
    operations,
)
from tests.replay.conftest import SPACES


@pytest.fixture
def store(tmp_path):
    with OnlineStore.create(tmp_path / "online", SPACES, provenance={"run": "maze"}) as made:
        yield made


def named(episode, *lengths, first=0):
    """Episode n has the id `e<n>` and lengths[n - first] steps."""
    return [(f"e{number}", episode(number, length)) for number, length in enumerate(lengths, first)]


def contents(dataset):
    """All of it: tables, statistics, rows."""
    episodes = [dataset.episode(number) for number in range(dataset.num_episodes)]
    return {
        "counts": dataset.manifest.counts,
        "table": {name: column.tolist() for name, column in dataset.episodes.items()},
        "statistics": json.dumps(
            {k: {n: np.asarray(v).tolist() for n, v in e.items()} for k, e in dataset.statistics.items()}
        ),
        "files": [files["core"].sha256 for files in dataset.shards],
        "rows": [(e.observation.tolist(), e.action.tolist(), e.reward.tolist()) for e in episodes],
    }


def same_statistics(found, expected):
    assert set(found) == set(expected)
    for name, entry in expected.items():
        for key, value in entry.items():
            np.testing.assert_allclose(found[name][key], value, rtol=1e-12, atol=1e-12, err_msg=f"{name}.{key}")


def test_what_is_inserted_can_be_read(store, episode):
    given = named(episode, 4, 7, 1)
    assert store.insert(given[:2], {"version": 5}) == Inserted(1, ("e0", "e1"), (), 11)
    assert store.insert(given[2:], {"version": 6}) == Inserted(2, ("e2",), (), 1)
    assert store.insert([]) == Inserted(2, (), (), 0)
    dataset = replay.open(store.path)
    assert (dataset.num_episodes, dataset.num_transitions, dataset.num_rows, len(dataset.shards)) == (3, 12, 15, 2)
    assert (dataset.snapshot, dataset.provenance) == (2, {"run": "maze"})
    assert dataset.episodes["shard"].tolist() == [0, 0, 1]
    assert dataset.episodes["first_row"].tolist() == [0, 5, 0]
    for number, (_, expected) in enumerate(given):
        found = dataset.episode(number)
        for field in ("observation", "action", "reward", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))
        assert (found.source, found.success, found.split) == (f"log {number}", None, "train")
    reader = OnlineReader(store.path)
    assert (reader.snapshot, reader.episodes, reader.transitions, reader.ids) == (2, 3, 12, ("e0", "e1", "e2"))
    assert [row["id"] for row in reader.rows_since(1)] == ["e1", "e2"]
    assert reader.rows_since(2)[0] == {
        "version": 6, "episode": 2, "id": "e2", "length": 1, "return": 200.0, "success": -1, "task": "",
        "source": "log 2", "split": "train", "terminated": 0, "truncated": 1,
    }  # fmt: skip


def test_each_episode_may_have_a_remark_of_its_own(store, episode):
    given = named(episode, 4, 7, 1)
    store.insert(given[:1])
    store.insert([given[0], *given[1:]], [{"versions": [1]}, {"versions": [1, 2]}, {"versions": [2]}])
    rows = OnlineReader(store.path).rows_since(0)
    assert [row.get("versions") for row in rows] == [None, [1, 2], [2]]
    with pytest.raises(DataError, match="extra: found 1 for 3 episodes, expected one for all, or one for each"):
        store.insert(given, [{}])


def test_an_id_is_inserted_once_for_ever(store, episode):
    a, b, c = named(episode, 3, 4, 5)
    assert store.insert([a, b, a]) == Inserted(1, ("e0", "e1"), ("e0",), 7)
    assert store.insert([b]) == Inserted(1, (), ("e1",), 0)
    assert store.evict(Eviction(max_transitions=4)) == (0,)
    assert store.insert([a, c]) == Inserted(3, ("e2",), ("e0",), 5)
    store.close()
    with OnlineStore(store.path) as again:
        assert again.insert([a, b, c]) == Inserted(3, (), ("e0", "e1", "e2"), 0)
    assert OnlineReader(store.path).live().tolist() == [1, 2]


def test_tags_and_splits_are_kept(store, episode):
    flags = np.array([0, 0, 1], np.uint8)
    won = episode(0, 3, terminated=flags, truncated=0 * flags, success=True, task="open", split="validation")
    store.insert([("won", won), ("lost", episode(1, 2, success=False))])
    table = replay.open(store.path).episodes
    assert table["success"].tolist() == [1, 0]
    assert table["task"].tolist() == ["open", ""]
    assert table["split"].tolist() == ["validation", "train"]
    assert table["terminated"].tolist() == [1, 0]
    assert table["return"].tolist() == [3.0, 201.0]
    assert replay.open(store.path).view("validation").transitions == 3


def test_a_snapshot_never_changes(store, episode):
    reader = OnlineReader(store.path)
    kept = []
    for number in range(8):
        store.insert(named(episode, 3 + number, 2, first=2 * number))
        if number in (3, 6):
            store.evict(Eviction(max_transitions=15))
        if number == 5:
            store.evict(Eviction(min_return=1500.0))
        reader.refresh()
        kept.append((reader.snapshot, reader.live().tolist(), contents(reader.dataset())))
    assert [len(live) for _, live, _ in kept] == [2, 4, 6, 4, 6, 6, 3, 5]
    for one in (reader, OnlineReader(store.path)):
        for snapshot, live, expected in reversed(kept):
            assert one.live(snapshot).tolist() == live
            assert contents(one.dataset(snapshot)) == expected
    with pytest.raises(DataError, match="found snapshot 12, expected 0 to 11, the newest one read; refresh"):
        reader.dataset(12)


def test_statistics_are_those_of_the_live_episodes(store, episode, write, monkeypatch):
    monkeypatch.setattr("replay.online.segment_statistics._BLOCK", 8)
    given = [episode(number, 2 + number % 5) for number in range(120)]
    for number in range(0, 120, 2):
        store.insert([(f"e{n}", given[n]) for n in (number, number + 1)])
    same_statistics(replay.open(store.path).statistics, write(given, "all").statistics)
    assert len(store.evict(Eviction(max_transitions=406))) == 19  # an odd number: half of a segment is left
    left = replay.open(store.path)
    same_statistics(left.statistics, write(given[19:], "left").statistics)
    assert left.statistics["reward"]["count"] == left.num_transitions == 406
    same_statistics(OnlineReader(store.path).dataset(60).statistics, replay.open(write(given, "again").path).statistics)


def test_evicted_episodes_keep_their_numbers_and_files(store, episode):
    store.insert(named(episode, 3, 4))
    store.insert(named(episode, 5, first=2))
    before = sorted(path.name for path in (store.path / "segments").iterdir())
    assert store.evict(Eviction(max_age=8)) == (0,)  # 9 transitions came after it, 5 after the next
    assert store.evict(Eviction(max_age=8)) == ()
    assert store.snapshot == 3
    reader = OnlineReader(store.path)
    assert (reader.episodes, reader.transitions, reader.live().tolist()) == (3, 12, [1, 2])
    dataset = reader.dataset()
    assert dataset.episodes["shard"].tolist() == [0, 1]
    assert dataset.sample(seed=0, sequence=0, count=64).reward.min() == 100
    assert sorted(path.name for path in (store.path / "segments").glob("*.arrow")) == before
    assert store.insert(named(episode, 2, first=3)).accepted == ("e3",)
    assert reader.refresh() == 4
    assert reader.live().tolist() == [1, 2, 3]


def test_an_empty_store(store, episode):
    reader = OnlineReader(store.path)
    assert (reader.snapshot, reader.empty, reader.dataset().num_episodes) == (0, True, 0)
    with pytest.raises(DataError, match=r"the online store has nothing to give: no episodes yet"):
        replay.open(store.path)
    with pytest.raises(DataError, match=r"no episodes yet; sample it once it has some"):
        reader.dataset().view()
    store.insert(named(episode, 3))
    assert (reader.empty, reader.refresh(), reader.empty) == (True, 1, False)
    store.evict(Eviction(min_return=1e6))
    with pytest.raises(DataError, match=r"all 1 episodes were evicted"):
        replay.open(store.path)


def test_pictures_dictionaries_discrete_actions_and_extras(tmp_path, episode):
    space = Image((5, 6, 3))
    spaces = Spaces(Dict.of({"eye/left": space, "arm": Box((2,), "float64")}), Discrete(3, start=1))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), np.uint8)
    arm = np.arange(8.0).reshape(4, 2)
    logprob = np.array([-1, -2, -3], np.float32)
    given = episode(
        0, 3, observation={"eye/left": pixels, "arm": arm}, action=np.array([1, 3, 2]), extras={"logprob": logprob}
    )
    with OnlineStore.create(tmp_path / "s", spaces, provenance={}, extras={"logprob": Box(())}) as store:
        store.insert([("a", given)])
        store.insert([("b", given)])
    dataset = replay.open(tmp_path / "s", verify=True)
    assert dataset.episode(1).observation["eye/left"] == [images.encode(frame, space) for frame in pixels]
    assert dataset.episode(1).action.tolist() == [1, 3, 2]
    batch = dataset.sample(seed=0, sequence=0, count=16, request=Request(columns=("logprob",)))
    step = (batch.observation["arm"][:, 0] / 2).astype(int)
    np.testing.assert_array_equal(batch.observation["eye/left"], pixels[step])
    np.testing.assert_array_equal(batch.next_observation["eye/left"], pixels[step + 1])
    np.testing.assert_array_equal(batch.action, np.array([1, 3, 2])[step])
    np.testing.assert_array_equal(batch.extras["logprob"], -1 - step)
    assert sum(len(b) for b in dataset.scan(count=4)) == 6


def test_a_bad_episode_leaves_nothing_of_its_call(store, episode):
    good, bad = episode(0, 3), episode(1, 3, reward=np.array([0, np.nan, 0], np.float32))
    with pytest.raises(DataError, match=r"episode 'bad', reward: NaN"):
        store.insert([("good", good), ("bad", bad)])
    with pytest.raises(DataError, match=r"found id '', expected a word"):
        store.insert([("", good)])
    with pytest.raises(DataError, match=r"extra: found .*float32.*expected what JSON can hold"):
        store.insert([("good", good)], {"noise": np.float32(1)})
    assert (store.snapshot, list((store.path / "segments").iterdir())) == (0, [])
    assert store.insert([("good", good)]).accepted == ("good",)


def fail_once(monkeypatch, name, when):
    """`name` raises once that the disk is full, at its call number `when`."""
    module, function = name.rsplit(".", 1)
    calls = iter(range(when + 1))
    original = getattr(__import__(module, fromlist=["_"]), function)

    def failing(*arguments):
        if next(calls, None) == when:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*arguments)

    monkeypatch.setattr(name, failing)


@pytest.mark.parametrize("when", range(3))  # the segment, its folder, the journal
def test_a_full_disk_is_told_and_leaves_the_store_usable(store, episode, monkeypatch, when):
    store.insert(named(episode, 3))
    before = (store.path / "journal.jsonl").read_bytes()
    fail_once(monkeypatch, "os.fsync", when)
    with pytest.raises(DataError, match=r"online: the disk is full .*Nothing was left behind"):
        store.insert(named(episode, 4, first=1))
    assert (store.path / "journal.jsonl").read_bytes() == before
    assert [path.name for path in (store.path / "segments").iterdir()] == ["000000.core.arrow"]
    assert store.insert(named(episode, 4, first=1)) == Inserted(2, ("e1",), (), 4)
    assert replay.open(store.path, verify=True).num_transitions == 7


def test_a_line_of_which_only_a_part_fits_on_the_disk_is_cut_off(store, episode):
    store.insert(named(episode, *[1] * 20))
    journal = store.path / "journal.jsonl"
    before = journal.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, hard))
    try:
        with pytest.raises(DataError, match=r"online: cannot be written .*Nothing was left behind"):
            store.insert(named(episode, 1, first=20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert journal.read_bytes() == before
    assert store.insert(named(episode, 1, first=20)).accepted == ("e20",)
    assert replay.open(store.path).num_episodes == 21


def test_an_interruption_after_the_line_was_written_keeps_the_episode(store, episode, monkeypatch):
    """The caller was not told; as it repeats the insert, it is."""

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("replay.online.store_state.StoreState._apply", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.insert(named(episode, 3))
    with pytest.raises(DataError, match="broken off before; open it again"):
        store.insert(named(episode, 3))
    store.close()
    with OnlineStore(store.path) as again:
        assert again.insert(named(episode, 3)) == Inserted(1, (), ("e0",), 0)
    assert replay.open(store.path, verify=True).num_transitions == 3


def test_one_writer(store, episode):
    with pytest.raises(DataError, match=r"process \d+ on .* is writing to it already; a store has one writer"):
        OnlineStore(store.path)
    store.close()
    with pytest.raises(DataError, match="the store is closed"):
        store.insert(named(episode, 3))
    with OnlineStore(store.path) as other:
        assert other.snapshot == 0


def test_a_writer_removes_nothing_that_is_not_its_own(store, episode, tmp_path):
    store.insert(named(episode, 3))
    store.close()
    segments, mine = store.path / "segments", tmp_path / "mine"
    for name in ("000007.core.arrow", ".000007.core.arrow.partial", ".000007.core.arrow.0123456789abcdef.partial"):
        (segments / name).touch()
    (segments / "2024.jpg").touch()
    OnlineStore(store.path).close()
    assert sorted(path.name for path in segments.iterdir()) == ["000000.core.arrow", "2024.jpg"]
    # A store from somebody else, whose segments are to be looked for among the files of whoever opens it.
    mine.mkdir()
    (mine / "000007.core.arrow").touch()
    segments.rename(store.path / "away")
    segments.symlink_to(mine)
    with pytest.raises(DataError, match="segments"):
        OnlineStore(store.path)
    assert (mine / "000007.core.arrow").exists()


def test_what_is_no_store_is_refused(tmp_path, store, write, episode):
    with pytest.raises(DataError, match=r"not an online store: no such folder"):
        OnlineStore(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"not an online store: no store\.json in it"):
        OnlineReader(write([episode(0, 3)]).path)
    with pytest.raises(DataError, match=r"exists already; open it with OnlineStore"):
        OnlineStore.create(store.path, SPACES, provenance={})
    record = json.loads((store.path / "store.json").read_text())
    (store.path / "store.json").write_text(json.dumps({**record, "version": 9}))
    with pytest.raises(DataError, match=r"version 9, this program reads 1"):
        OnlineReader(store.path)


def test_children_of_a_store_that_grows_on(store, episode, write, tmp_path):
    logs = write([episode(0, 4), episode(1, 2)], "logs")
    store.insert(named(episode, 3, 5, first=2))
    store.insert(named(episode, 6, first=4))
    store.evict(Eviction(max_transitions=11))
    fresh = replay.open(store.path)
    both = operations.merge([logs, fresh], tmp_path / "both")
    children = {
        "both": both,
        "good": operations.filter(fresh, tmp_path / "good", "return > 2000"),
        "parts": operations.split(fresh, tmp_path / "parts", {"train": 0.5, "test": 0.5}),
        "doubled": operations.relabel(
            fresh, tmp_path / "doubled", lambda e: dataclasses.replace(e, reward=2 * e.reward), columns=["reward"]
        ),
        "alone": operations.copy(both, tmp_path / "alone"),
    }
    assert both.num_transitions == 4 + 2 + 5 + 6
    assert [both.episode(n).observation[0, 0] for n in range(4)] == [0, 1, 3, 4]
    origins = both.provenance["from"]
    assert [(o["name"], o.get("snapshot")) for o in origins] == [("logs", None), ("online", 3)]
    assert (origins[0]["by"], origins[1]["run"]) == ("a test", "maze")
    assert both.statistics["reward"]["count"] == 17
    expected = {name: contents(child) for name, child in children.items()}
    store.insert(named(episode, 9, first=5))
    store.evict(Eviction(max_transitions=1))
    for name in children:
        assert contents(replay.open(tmp_path / name)) == expected[name]
    assert children["good"].episodes["return"].tolist() == [2415.0]
    assert children["doubled"].episode(1).reward.tolist() == [800, 802, 804, 806, 808, 810]
    # Another store in its place, of the same length, is another parent.
    record = json.loads((store.path / "store.json").read_text())
    (store.path / "store.json").write_text(json.dumps({**record, "provenance": {"run": "other"}}))
    with pytest.raises(DataError, match=r"its parent .*online is missing or has changed"):
        replay.open(tmp_path / "both")
    assert replay.open(tmp_path / "alone").num_transitions == 17


def test_a_store_can_be_ingested(store, episode, tmp_path):
    from replay.ingest import ingest

    store.insert(named(episode, 3, 5))
    ingest(store.path, tmp_path / "data", validation_fraction=0.0)
    assert replay.open(tmp_path / "data").num_transitions == 8
