"""A dataset from somebody else reads its own files and those of the parents it records, and no others."""

import hashlib
import json
import os
import shutil
import zlib

import numpy as np
import pyarrow as pa
import pytest

import replay
from replay import DataError, OnlineStore, operations
from replay.episode_table import EPISODE_COLUMNS
from replay.online import journal
from tests.replay import hostile
from tests.replay.conftest import SPACES

pytestmark = pytest.mark.timeout(30)  # whoever opens a pipe waits for ever


@pytest.fixture
def dataset(write, episode):
    return write([episode(number, 9) for number in range(4)])


def rewards(dataset):
    return sorted(dataset.episode(number).reward[0] for number in range(dataset.num_episodes))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{secret}", "an absolute path"),
        ("/dev/zero", "an absolute path"),
        ("file://{secret}", "an address"),
        ("s3://bucket/00000.core.arrow", "an address"),
        ("C:/00000.core.arrow", "an address"),
        ("shards\\00000.core.arrow", "no path"),
        ("shards/00000.core.arrow\0", "no path"),
        ("", "no path"),
        ("../secret", "neither in the dataset's folder nor a file of a parent"),
        ("shards/../../secret", "neither in the dataset's folder nor a file of a parent"),
        ("../" * 40 + "dev/zero", "neither in the dataset's folder nor a file of a parent"),
    ],
)
@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_a_name_that_leaves_the_folder_is_refused_before_anything_is_opened(dataset, tmp_path, name, message, kind):
    secret = tmp_path / "secret"
    shutil.copy(dataset.shards[1]["core"].path, secret)
    if kind == "pipe":
        hostile.put_pipe(secret)
    hostile.refer(dataset.path, 1, file=name.format(secret=secret))
    with pytest.raises(DataError, match=rf"shards\.arrow: file: found .*{message}.*Do not use this dataset unless"):
        replay.open(dataset.path)


@pytest.mark.parametrize("put", [hostile.put_pipe, hostile.put_socket, hostile.put_folder])
@pytest.mark.parametrize("name", ["shards/00001.core.arrow", "dataset.json", "shards.arrow", "episodes.arrow"])
def test_only_regular_files_are_opened(dataset, name, put, monkeypatch):
    monkeypatch.chdir(dataset.path)
    kind = put(dataset.path / name)
    with pytest.raises(DataError, match=rf"{name}: found {kind}, expected a regular file"):
        replay.open(dataset.path)


def test_a_pipe_in_the_place_of_a_shard_that_was_there_when_the_dataset_was_opened(dataset, tmp_path):
    hostile.put_pipe(dataset.shards[1]["core"].path)
    for store in (replay.Store(dataset.view()), replay.Store(dataset.view(), stage=tmp_path / "local")):
        with pytest.raises(DataError, match=r"00001\.core\.arrow: found a pipe, expected a regular file"):
            store.gather(replay.locate(dataset.view(), np.array([9])), replay.Request())


@pytest.mark.parametrize("name", ["dataset.json", "shards.arrow", "episodes.arrow"])
def test_a_table_that_is_a_link_is_refused(dataset, name):
    hostile.put_link(dataset.path / name)
    with pytest.raises(
        DataError, match=rf"{name}: found a symbolic link, expected a regular file; put the file itself"
    ):
        replay.open(dataset.path)


@pytest.mark.parametrize("name", ["shards/00001.core.arrow", "shards"])
def test_a_shard_that_is_a_link_out_of_the_folder_is_refused(dataset, tmp_path, name):
    (dataset.path / name).rename(tmp_path / "elsewhere")
    (dataset.path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"found 'shards/0000\d.core.arrow', which is neither in the dataset's folder"):
        replay.open(dataset.path)


def test_links_inside_the_folder_and_to_the_folder_are_followed(dataset, tmp_path):
    path = dataset.path / "shards" / "00001.core.arrow"
    path.rename(dataset.path / "elsewhere")
    path.symlink_to("../elsewhere")
    (tmp_path / "link").symlink_to(dataset.path)
    assert rewards(replay.open(tmp_path / "link")) == [0, 100, 200, 300]


def test_children_of_children_read_what_their_parents_parents_list(dataset, tmp_path, episode, write):
    child = operations.relabel(dataset, tmp_path / "deep" / "child", lambda episode: episode)
    both = operations.merge([child, write([episode(7, 3)], "other")], tmp_path / "both")
    last = operations.filter(both, tmp_path / "last", "return > 1000")
    assert rewards(replay.open(last.path, verify=True)) == [200, 300, 700]
    (tmp_path / "moved").mkdir()
    dataset.path.rename(tmp_path / "moved" / "data")
    dataset.path.symlink_to(tmp_path / "moved" / "data")
    assert rewards(replay.open(last.path, verify=True)) == [200, 300, 700]


def test_a_child_of_a_store_reads_its_segments(tmp_path, episode):
    with OnlineStore.create(tmp_path / "online", SPACES, provenance={}) as store:
        for number in range(3):
            store.insert([(f"e{number}", episode(number, 2))])
    child = operations.filter(replay.open(tmp_path / "online"), tmp_path / "child", "return > 100")
    assert rewards(replay.open(child.path, verify=True)) == [100, 200]


@pytest.mark.parametrize("words", [{"file": "../data/shards/00001.other.arrow"}, {"sha256": "0" * 64}, {"rows": 9}])
def test_a_file_that_no_parent_lists_so_is_refused(dataset, tmp_path, words):
    child = operations.split(dataset, tmp_path / "child", {"train": 1.0})
    shutil.copy(dataset.shards[1]["core"].path, dataset.path / "shards" / "00001.other.arrow")
    hostile.refer(child.path, 1, **words)
    with pytest.raises(DataError, match=r"child/shards\.arrow: file: found '../data/shards/00001\.\w+\.arrow'"):
        replay.open(child.path)


def test_a_parent_does_not_pass_on_what_is_not_its_own(dataset, tmp_path, write, episode):
    """The child of one who has it from a parent that was never recorded."""
    secret = write([episode(8, 9)], "secret").shards[0]["core"]
    words = {"file": "../secret/shards/00000.core.arrow", "sha256": secret.sha256, "bytes": secret.bytes}
    child = operations.split(dataset, tmp_path / "child", {"train": 1.0})
    for folder in (dataset.path, child.path):
        hostile.refer(folder, 1, **words)
    sha256 = replay.manifest.fingerprint(dataset.path)
    hostile.edit(child.path, parents=[{"path": "../data", "sha256": sha256}])
    with pytest.raises(DataError, match=r"child/shards\.arrow: file: found '../secret/shards/00000\.core\.arrow'"):
        replay.open(child.path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("{data}", "parents.path: found .* an absolute path"),
        ("file:../data", "parents.path: found .* an address"),
        (None, "parents.path: found None, no path"),
        ("../nowhere", "its parent .*nowhere is missing or has changed"),
        ("../other", "its parent .*other is missing or has changed"),
        ("../pipe", "its parent .*pipe is missing or has changed.*found a pipe, expected a regular file"),
    ],
)
def test_a_parent_is_the_dataset_that_is_recorded(dataset, tmp_path, write, episode, path, message):
    write([episode(7, 3)], "other")
    (tmp_path / "pipe").mkdir()
    hostile.put_pipe(tmp_path / "pipe" / "dataset.json")
    child = operations.split(dataset, tmp_path / "child", {"train": 1.0})
    path = path and path.format(data=dataset.path)
    hostile.edit(child.path, parents=[{"path": path, "sha256": dataset.fingerprint}])
    with pytest.raises(DataError, match=message):
        replay.open(child.path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"rows": -1}, "-1 rows and"),
        ({"bytes": -1}, "-1 bytes"),
        ({"bytes": 1 << 60}, "expected 1152921504606846976"),
        ({"rows": 1 << 60}, "differ|rows, dataset.json says"),
    ],
)
def test_impossible_sizes_are_refused(dataset, words, message):
    hostile.refer(dataset.path, 1, **words)
    with pytest.raises(DataError, match=message):
        replay.open(dataset.path)


@pytest.mark.parametrize("words", [{"first_row": -1}, {"first_row": 1 << 62, "length": 1 << 62}, {"length": -9}])
def test_episodes_outside_of_their_shards_are_refused(dataset, words):
    hostile.edit_table(dataset.path, "episodes.arrow", EPISODE_COLUMNS, 3, **words)
    total = 27 + words.get("length", 9)
    total = total - (1 << 64) if total >= 1 << 63 else total
    counts = {**dataset.manifest.counts, "transitions": max(total, 0)}
    hostile.edit(dataset.path, counts=counts)
    with pytest.raises(DataError, match=r"episodes\.arrow: episode 3 \(shard 3, first row"):
        replay.open(dataset.path)


@pytest.mark.parametrize(
    "changes",
    [
        {"counts": {"episodes": 4, "transitions": 36, "rows": 40, "shards": 1 << 60}},
        {"counts": {"episodes": 4, "transitions": 36, "rows": 40, "shards": -1}},
        {"counts": {"episodes": 4, "transitions": 36, "rows": 1 << 40, "shards": 4}},
        {"counts": {"episodes": 4.0, "transitions": "36", "rows": True, "shards": None}},
        {"tables": {"shards.arrow": {"bytes": 1 << 60, "sha256": ""}}},
        {"tables": {"shards.arrow": {"bytes": -1, "sha256": ""}}},
        {"parents": "../data"},
        {"statistics": {}},
        {"statistics": {"reward": {"mean": [1, 2, 3]}}},
    ],
)
def test_impossible_records_are_refused(dataset, changes):
    hostile.edit(dataset.path, **changes)
    with pytest.raises(DataError, match=r"data"):
        replay.open(dataset.path)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"format": "quiver-dataset", "version": 1, "spaces": ' * 2, "\0"])
def test_a_manifest_that_is_no_record_is_refused(dataset, content):
    (dataset.path / "dataset.json").write_text(content)
    with pytest.raises(DataError, match=r"dataset\.json: unreadable"):
        replay.open(dataset.path)


def test_a_manifest_without_end_is_not_read(dataset):
    os.truncate(dataset.path / "dataset.json", 1 << 40)  # holes, which take no room
    with pytest.raises(DataError, match=r"dataset\.json: found 1099511627776 bytes, expected at most"):
        replay.open(dataset.path)


@pytest.fixture
def store(tmp_path, episode):
    with OnlineStore.create(tmp_path / "online", SPACES, provenance={}) as made:
        for number in range(2):
            made.insert([(f"e{number}", episode(number, 2))])
    return made.path


@pytest.mark.parametrize("put", [hostile.put_pipe, hostile.put_link])
@pytest.mark.parametrize("name", ["journal.jsonl", "segments/000001.core.arrow"])
def test_a_store_reads_and_writes_regular_files_only(store, name, put):
    kind = put(store / name)
    with pytest.raises(DataError, match=rf"{name}: found {kind}, expected a regular file"):
        replay.open(store)
    if name == "journal.jsonl":
        with pytest.raises(DataError, match=rf"{name}: found {kind}, expected a regular file"):
            OnlineStore(store)


def test_a_store_whose_record_is_a_link_is_refused(store):
    hostile.put_link(store / "store.json")
    with pytest.raises(DataError, match=r"store\.json: found a symbolic link"):
        replay.open(store)


def test_segments_elsewhere_are_neither_read_nor_cleared_away(store, tmp_path):
    """Whoever opens a store to write removes what no line of its journal names."""
    (store / "segments").rename(tmp_path / "photos")
    (tmp_path / "photos" / "2024.jpg").write_text("mine")
    (store / "segments").symlink_to(tmp_path / "photos")
    with pytest.raises(DataError, match="segments: found a symbolic link, expected a folder"):
        OnlineStore(store)
    assert (tmp_path / "photos" / "2024.jpg").read_text() == "mine"


def test_a_journal_with_another_name_is_not_written_to(store, tmp_path):
    os.link(store / "journal.jsonl", tmp_path / "backup")
    assert replay.open(store).num_episodes == 2
    with pytest.raises(DataError, match=r"journal\.jsonl: found a file with 2 names \(hard links\)"):
        OnlineStore(store)


def lines(*records):
    """As a store would have written them."""
    crc, written = 0, b""
    for record in records:
        content = json.dumps(record, separators=(",", ":")).encode()
        crc = zlib.crc32(content, crc)
        written += b'{"crc32":"%08x","record":' % crc + content + b"}\n"
    return written


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda insert: insert["files"]["core"].update(file="/dev/zero"), "'/dev/zero', expected '000000.core.arrow'"),
        (lambda insert: insert["files"]["core"].update(file="../../secret"), "expected '000000.core.arrow'"),
        (lambda insert: insert["files"]["core"].update(bytes=-1), "bytes: found -1, expected a whole number"),
        (lambda insert: insert["files"]["core"].update(rows=1e9), "rows: found 1000000000.0"),
        (lambda insert: insert["episodes"][0].update(first_row=-1), "first_row: found -1"),
        (lambda insert: insert["episodes"][0].update(length=1 << 62), "an episode of 4611686018427387904 steps"),
        (lambda insert: insert["episodes"].append(dict(insert["episodes"][0], id="x")), "an episode of 2 steps from"),
    ],
)
def test_a_journal_that_says_what_cannot_be_is_refused(store, change, message):
    record = json.loads((store / "journal.jsonl").read_bytes().splitlines()[0])["record"]
    change(record["insert"])
    (store / "journal.jsonl").write_bytes(lines(record))
    with pytest.raises(DataError, match=rf"journal\.jsonl, line 1: not a record of this store .*{message}"):
        replay.open(store)


def test_a_line_without_end_is_not_read(store, monkeypatch):
    monkeypatch.setattr(journal, "LONGEST", 10_000)
    os.truncate(store / "journal.jsonl", 1 << 40)
    with pytest.raises(DataError, match=r"journal\.jsonl, line 3: a line of more than .* MiB"):
        replay.open(store)


@pytest.mark.parametrize("name", ["shards/00001.core.arrow", "shards.arrow", "episodes.arrow"])
@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_compressed_files_are_refused_before_they_are_unpacked(dataset, name, compression):
    """As a few bytes may stand for more than there is memory."""
    table = hostile.table(dataset.path / name)
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(dataset.path / name, table.schema, options=options) as writer:
        writer.write_table(table)
    content = (dataset.path / name).read_bytes()
    words = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    if name.startswith("shards/"):
        hostile.refer(dataset.path, 1, **words)
    else:
        hostile.edit(dataset.path, tables={**hostile.record(dataset.path)["tables"], name: words})
    with pytest.raises(DataError, match=rf"{name}: .*is compressed"):
        replay.open(dataset.path)
