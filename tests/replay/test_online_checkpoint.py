"""A checkpoint of the store's state: opening is quicker by it, and says the same, whatever became of the file."""

import json
import os
import random
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

import replay
from replay import DataError, Eviction, OnlineReader, OnlineStore
from replay.online import state_checkpoint, store_state
from replay.online.state_checkpoint import checkpoint_name, read_checkpoints, write_checkpoint
from replay.online.store_state import StoreState
from tests.replay.conftest import SPACES, make_episode


@pytest.fixture
def often(monkeypatch):
    """A checkpoint every three records, statistics in blocks of four segments."""
    monkeypatch.setattr("replay.online.store.CHECKPOINT_EVERY", 3)
    monkeypatch.setattr("replay.online.segment_statistics._BLOCK", 4)


@pytest.fixture
def path(tmp_path, often):
    """A store of nine records, the last of them behind its checkpoint."""
    with OnlineStore.create(tmp_path / "online", SPACES, provenance={}) as store:
        for number in range(8):
            store.insert([(f"e{number}", make_episode(number, 2 + number % 3))], {"version": number})
        assert store.evict(Eviction(max_transitions=9)) == (0, 1, 2, 3, 4)
        assert [path.name[:15] for path in checkpoints(store.path)] == ["state-000000009"]
        store.insert([("last", make_episode(9, 5))])
        copied = shutil.copytree(store.path, tmp_path / "copied")  # as `close` leaves no record behind the checkpoint
    (copied / "writer.lock").unlink()
    return copied


def checkpoints(path):
    return sorted(path.glob("*.checkpoint"))


def answers(state):
    """All that a state says, at every snapshot."""
    numbers = np.arange(len(state.ids))

    def exact(contents):
        statistics = {
            k: {n: np.asarray(v).tobytes() for n, v in e.items()} for k, e in contents.manifest.statistics.items()
        }
        episodes = {name: (column.dtype, column.tolist()) for name, column in contents.episodes.items()}
        return contents.manifest.counts, statistics, contents.shards, episodes, contents.snapshot

    return {
        "position": state.journal.position,
        "sizes": (state.snapshot, state.segments, state.transitions),
        "ids": (state.ids, state.numbers),
        "remarks": [state.remark(number) for number in numbers],
        "ages": state.ages(numbers).tolist(),
        "live": [state.live(snapshot).tolist() for snapshot in range(state.snapshot + 1)],
        "contents": [exact(state.at(snapshot)) for snapshot in range(state.snapshot + 1)],
        "files": [state.files(segment) for segment in range(state.segments)],
    }


def opened(path, *, restored):
    state = StoreState(path)
    if restored:
        state.restore()
    begun = state.snapshot
    state.refresh()
    return begun, answers(state)


@pytest.mark.parametrize("seed", range(2))
def test_a_state_says_the_same_with_and_without_a_checkpoint(tmp_path, often, seed):
    """Random inserts, of several episodes or one, and evictions; looked at after each record, and by a state that was
    restored early and followed the store to its end."""
    chance, number, begun = random.Random(seed), 0, set()
    followed = None
    with OnlineStore.create(tmp_path / "online", SPACES, provenance={}) as store:
        for step in range(24):
            if chance.random() < 0.7:
                names = range(number, number := number + chance.randint(1, 3))
                batch = [(f"e{n}", make_episode(n, chance.randint(1, 5), task=chance.choice("ab"))) for n in names]
                store.insert(batch, {"version": step, "note": "é\u2028"} if chance.random() < 0.5 else None)
            else:
                store.evict(Eviction(max_transitions=chance.randint(1, 30), min_return=chance.choice([None, 200.0])))
            snapshot, found = opened(store.path, restored=True)
            begun.add(snapshot)
            assert found == opened(store.path, restored=False)[1]
            if followed is None and snapshot:
                followed = StoreState(store.path)
                followed.restore()
    assert len(begun) > 3  # it was restored from several checkpoints
    followed.refresh()
    assert answers(followed) == opened(store.path, restored=False)[1]
    assert opened(store.path, restored=True)[0] == store.snapshot  # the last is written by `close`
    with OnlineStore(store.path) as again:
        assert again.insert([("e0", make_episode(0, 3)), ("new", make_episode(1, 3))]).duplicates == ("e0",)


def changed_bytes(place):
    def change(path):
        content = bytearray(path.read_bytes())
        content[place if place >= 0 else len(content) + place] ^= 1
        path.write_bytes(content)

    return change


def rewritten(change):
    """With a right hash, and something else in it."""

    def apply(path):
        (found,) = read_checkpoints(path.parent, StoreState(path.parent)._sha256)
        path.unlink()
        write_checkpoint(path.parent, change(found))

    return apply


def column(name, value, place=0):
    def change(found):
        changed = found.columns[name].copy()
        changed[place] = value
        return replace(found, columns={**found.columns, name: changed})

    return rewritten(change)


def other_version(path):
    (found,) = read_checkpoints(path.parent, StoreState(path.parent)._sha256)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state_checkpoint, "VERSION", 2)
        write_checkpoint(path.parent, found)


def linked(path):
    os.replace(path, path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda path: path.write_bytes(b""), "its content does not have its sha256"),
        (lambda path: os.truncate(path, path.stat().st_size - 8), "its content does not have its sha256"),
        (changed_bytes(3), "its content does not have its sha256"),
        (changed_bytes(500), "its content does not have its sha256"),
        (changed_bytes(-5), "its content does not have its sha256"),
        (other_version, "it is of version 2, this program reads 1"),
        (linked, "found a symbolic link"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "found a pipe"),
        (rewritten(lambda found: replace(found, store="0" * 64)), "it is of another store.json"),
        (
            rewritten(lambda found: replace(found, position=replace(found.position, bytes=found.position.bytes - 1))),
            "the journal does not begin with its lines",
        ),
        (
            rewritten(lambda found: replace(found, position=replace(found.position, snapshot=8))),
            "the journal does not begin with its lines",
        ),
        (
            rewritten(lambda found: replace(found, columns={k: v for k, v in found.columns.items() if k != "ids"})),
            "column ids: missing",
        ),
        (column("episodes/length", 1000), "its tables do not fit each other"),
        (column("episodes/first_row", 1), "episode 0 .* lies outside its shard"),
        (column("episodes/first_row", -(1 << 62)), "episode 0 .* lies outside its shard"),
        (column("episodes/shard", 77, -1), "episode 7 .* lies outside its shard"),
        (column("episodes/success", 5), "success: found 5"),
        (column("episodes/return", np.nan), "return: found nan"),
        (column("episodes/gone", 100), "its tables do not fit each other"),
        (column("ids", "e1"), "its tables do not fit each other"),
        (column("sizes/episodes", 4, 2), "its tables do not fit each other"),
        (column("files/rows", 0), "its tables do not fit each other"),
        (column("entry_of", 0, -1), "its statistics do not fit each other"),
        (column("statistics/reward.mean", np.inf), "its statistics are not finite"),
        (column("remarks", "\udc80"), "surrogates not allowed"),
    ],
)
def test_a_checkpoint_that_is_damaged_is_left_aside(path, caplog, damage, told):
    expected = opened(path, restored=False)[1]
    assert opened(path, restored=True) == (9, expected)
    assert not caplog.records
    (file,) = checkpoints(path)
    damage(file)
    assert opened(path, restored=True) == (0, expected)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert re.search(rf"{path}/state-0{{8}}[89]-[0-9a-f]{{8}}.checkpoint: is left aside .*{told}", record.getMessage())
    with OnlineStore(path) as store:
        store.insert([(f"more{n}", make_episode(n, 2)) for n in range(3)])
    assert opened(path, restored=True)[0] == 11  # and the next writer makes a new one


def test_a_checkpoint_of_a_journal_that_was_changed_is_left_aside(path, caplog):
    """The journal decides: restored from an older copy and written on, it has its own story."""
    journal = path / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:7]))
    assert opened(path, restored=True)[0] == 0
    with OnlineStore(path) as store:
        for number in range(4):
            store.insert([(f"other{number}", make_episode(number, 4))])
    assert "the journal does not begin with its lines" in caplog.text
    assert OnlineReader(path).ids == OnlineReader(path, from_journal=True).ids == tuple(store._state.ids)
    assert [file.name for file in checkpoints(path)] == [checkpoint_name(store._state.journal.position)]


def test_a_store_that_is_opened_as_a_dataset_is_what_its_journal_says(path):
    """Its hash is that of the journal: a checkpoint that fits, and tells another story, has no part in it."""
    before = replay.open(path)
    column("episodes/return", 1e6, -1)(*checkpoints(path))
    assert OnlineReader(path).dataset().episodes["return"].tolist() == [*before.episodes["return"][:-2], 1e6, 4510.0]
    after = replay.open(path)
    assert after.episodes["return"].tolist() == before.episodes["return"].tolist()
    assert after.fingerprint == before.fingerprint


@pytest.mark.parametrize("place", [12, 30, 400])  # in a checksum, at the record's beginning, inside
def test_a_checkpoint_hides_no_damage_of_the_journal(path, place):
    journal = path / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    start = len(b"".join(lines[:3]))
    changed_bytes(start + place)(journal)
    with pytest.raises(DataError, match="line 4: found a checksum that does not fit"):
        OnlineReader(path)


def test_of_lines_that_a_checkpoint_stands_for_none_is_parsed(path, monkeypatch):
    taken = []
    whole = StoreState._apply
    monkeypatch.setattr(StoreState, "_apply", lambda state, record: (taken.append(record), whole(state, record)))
    assert OnlineReader(path).episodes == 9
    assert [list(record) for record in taken] == [["insert"]]
    taken.clear()
    assert OnlineReader(path, from_journal=True).episodes == 9
    assert len(taken) == 10


def test_without_room_for_a_checkpoint_what_is_inserted_is_as_durable(tmp_path, often, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("replay.online.store.write_checkpoint", full)
    with OnlineStore.create(tmp_path / "online", SPACES, provenance={}) as store:
        for number in range(7):
            assert store.insert([(f"e{number}", make_episode(number, 2))]).accepted == (f"e{number}",)
    assert OnlineReader(store.path).episodes == 7
    assert caplog.text.count("no checkpoint of its state could be written (No space left on device)") == 3
    assert not checkpoints(store.path)


def test_a_writer_removes_what_killed_ones_left_of_a_checkpoint(path):
    left = path / f".state-000000012-0123abcd.checkpoint.{'a' * 16}.partial"
    mine = path / ".state-notes"
    for file in (left, mine):
        file.write_bytes(b"part")
    OnlineStore(path).close()
    assert not left.exists()
    assert mine.exists()


def test_a_small_store_has_no_checkpoint(tmp_path):
    with OnlineStore.create(tmp_path / "online", SPACES, provenance={}) as store:
        store.insert([("e0", make_episode(0, 3))])
    assert sorted(file.name for file in store.path.iterdir()) == [
        "journal.jsonl",
        "segments",
        "store.json",
        "writer.lock",
    ]


def test_the_state_of_an_interrupted_record_is_not_saved(tmp_path, often, monkeypatch):
    """An interruption may leave a record applied in part; such tables are in no checkpoint."""
    with OnlineStore.create(tmp_path / "online", SPACES, provenance={}) as store:
        for number in range(2):
            store.insert([(f"e{number}", make_episode(number, 3))])

        def interrupted(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(store_state.SegmentStatistics, "add_segment", interrupted)
            with pytest.raises(KeyboardInterrupt):
                store.insert([("e2", make_episode(2, 3))])
    assert not checkpoints(store.path)
    assert json.loads((store.path / "journal.jsonl").read_text().splitlines()[-1])["record"]["insert"]["segment"] == 2
    assert OnlineReader(store.path).ids == ("e0", "e1", "e2")


def test_a_writer_removes_what_one_that_was_killed_left(tmp_path):
    """Killed after a checkpoint had its name, and before those from before were removed."""
    path = tmp_path / "online"
    with OnlineStore.create(path, SPACES, provenance={}) as store:
        store.insert([("first", make_episode(0, 3))])
    older = path / "state-000000000-00000000.checkpoint"
    older.write_bytes(b"of before")
    newer = path / "state-000000001-00000000.checkpoint"
    newer.write_bytes(b"damaged, and all the same the newest")
    OnlineStore(path).close()
    assert not older.exists()
    assert newer.exists()
