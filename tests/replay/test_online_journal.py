"""The journal: torn at its end it is cut back, damaged before it is refused."""

import json
import zlib

import numpy as np
import pytest

import replay
from replay import DataError, Eviction, OnlineReader, OnlineStore
from tests.replay.conftest import SPACES


@pytest.fixture
def store(tmp_path, episode):
    """Three inserts of one episode each and an eviction of the first, closed."""
    with OnlineStore.create(tmp_path / "online", SPACES, provenance={}) as made:
        for number in range(3):
            made.insert([(f"e{number}", episode(number, 2))], {"version": number})
        made.evict(Eviction(max_transitions=4))
    return made


def lines(store):
    return (store.path / "journal.jsonl").read_bytes().splitlines(keepends=True)


def write(store, parts):
    (store.path / "journal.jsonl").write_bytes(b"".join(parts))


def test_each_line_continues_the_checksum_of_the_one_before(store):
    crc = 0
    for line in lines(store):
        entry = json.loads(line)
        crc = zlib.crc32(line[len('{"crc32":"01234567","record":') : -2], crc)
        assert entry["crc32"] == f"{crc:08x}"
    evict = entry["record"]["evict"]
    assert (evict["episodes"], evict["reason"]) == ([0], {"max_transitions": 4})


@pytest.mark.parametrize("records", [3, 4])  # the last of them an insert, or an eviction
def test_a_line_torn_anywhere_is_as_if_it_had_not_been_begun(store, episode, records):
    *whole, last = lines(store)[:records]
    ids = ("e0", "e1", "e2")[: records - 1]
    for length in range(len(last)):
        write(store, [*whole, last[:length]])
        reader = OnlineReader(store.path)
        assert (reader.snapshot, reader.ids) == (records - 1, ids)
        if length % 100 == 0 or length > len(last) - 3:
            with OnlineStore(store.path) as again:
                assert again.snapshot == records - 1
            assert lines(store) == whole
    write(store, [*whole, last[:-1]])
    (store.path / "segments" / "000009.core.arrow").write_bytes(b"of a line that was never written")
    (store.path / "segments" / ".000009.core.arrow.partial").write_bytes(b"half")
    reader = OnlineReader(store.path)
    with OnlineStore(store.path) as again:
        assert again.insert([("e2", episode(2, 2)), ("e9", episode(9, 2))]).accepted == ("e2", "e9")[len(ids) - 2 :]
    assert reader.refresh() == records  # it never saw what was cut
    assert set(reader.ids) == {"e0", "e1", "e2", "e9"}
    segments = sorted(path.name for path in (store.path / "segments").glob("*.arrow"))
    assert segments == [f"{number:06d}.core.arrow" for number in range(len(segments))]
    assert replay.open(store.path, verify=True).num_episodes == 4


def test_zeros_at_the_end_are_no_record(store):
    """What a file system may show after the power failed: the new size, not the new content."""
    *whole, last = lines(store)
    for end in (bytes(len(last)), bytes(len(last) - 1) + b"\n"):
        write(store, [*whole, end])
        assert OnlineReader(store.path).snapshot == 3
        OnlineStore(store.path).close()
        assert lines(store) == whole


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("change", ["flipped", "cut", "missing", "twice"])
def test_a_damaged_line_before_the_last_is_refused(store, number, change):
    found = lines(store)
    line = found[number]
    found[number : number + 1] = {
        "flipped": [line.replace(b'"length":2', b'"length":3')],
        "cut": [line[:40] + b"\n"],
        "missing": [],
        "twice": [line, line],
    }[change]
    write(store, found)
    before = lines(store)
    where = number + 1 + (change == "twice")
    for opened in (OnlineReader, OnlineStore, replay.open):
        with pytest.raises(DataError, match=rf"journal.jsonl, line {where}: found a checksum.*Restore the file from"):
            opened(store.path)
    assert lines(store) == before


def test_a_last_line_that_is_whole_and_changed_is_refused(store):
    """It was acknowledged: cutting it off would lose it."""
    *whole, last = lines(store)
    write(store, [*whole, last.replace(b'"episodes":[0]', b'"episodes":[1]')])
    with pytest.raises(DataError, match=r"journal.jsonl, line 4: found a checksum that does not fit"):
        OnlineStore(store.path)
    assert len(lines(store)) == 4


def test_a_reader_tells_when_the_journal_became_shorter(store):
    reader = OnlineReader(store.path)
    write(store, lines(store)[:2])
    with pytest.raises(DataError, match=r"found \d+ bytes after \d+ had been read; a journal only grows"):
        reader.refresh()


def test_a_record_of_another_store_is_refused(store):
    record = json.loads(lines(store)[1])["record"]
    content = json.dumps(record, separators=(",", ":")).encode()
    write(store, [b'{"crc32":"%08x","record":' % zlib.crc32(content) + content + b"}\n"])
    with pytest.raises(DataError, match=r"line 1: not a record of this store .*segment 1, expected 0"):
        OnlineReader(store.path)


def test_a_changed_segment_is_found(store):
    path = store.path / "segments" / "000001.core.arrow"
    data = bytearray(path.read_bytes())
    data[data.index(np.float32(101).tobytes())] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"000001\.core\.arrow: found sha256 .* the content has changed"):
        replay.open(store.path, verify=True)
    with pytest.raises(DataError, match=r"000001\.core\.arrow: found sha256 .* the content has changed"):
        OnlineReader(store.path).dataset().sample(seed=0, sequence=0, count=50)
