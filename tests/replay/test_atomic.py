"""Files are written whole or not at all, and never through a link."""

import errno
import os
import stat
from contextlib import suppress

import pytest

import replay
from replay import OnlineStore, durable
from replay.manifest import write_json
from replay.tables import write_table
from tests.replay.conftest import SPACES


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "summary.json"
    durable.write_text(path, "first")
    durable.write_text(path, "second é")
    assert path.read_bytes() == "second é".encode()
    assert [entry.name for entry in tmp_path.iterdir()] == ["summary.json"]


def test_a_link_in_its_place_is_replaced_and_what_it_points_to_is_left_alone(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    path = tmp_path / "summary.json"
    path.symlink_to(precious)
    durable.write_text(path, "theirs")
    assert precious.read_text() == "mine"
    assert not path.is_symlink()
    assert path.read_text() == "theirs"


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "summary.json"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError), durable.private_file(path) as file:
        file.write(b"half" * (1 // 0))
    assert path.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["summary.json"]


def test_a_new_file_is_not_made_through_a_link_even_one_that_leads_nowhere(tmp_path):
    (tmp_path / "new").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        durable.create(tmp_path / "new")
    assert not (tmp_path / "nowhere").exists()


def test_permissions_are_those_asked_for(tmp_path):
    path = tmp_path / "token"
    with durable.private_file(path, 0o600) as file:
        file.write(b"secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.fixture
def precious(tmp_path):
    """A file that the user values."""
    path = tmp_path / "precious"
    path.write_text("mine")
    yield path
    assert path.read_text() == "mine"


def test_a_store_writes_its_segments_through_no_link(precious, tmp_path, episode):
    with OnlineStore.create(tmp_path / "online", SPACES, provenance={}) as store:
        for name in (".000000.core.arrow.partial", "000000.core.arrow"):
            (store.path / "segments" / name).symlink_to(precious)
        store.insert([("e0", episode(0, 2))])
    assert replay.open(store.path, verify=True).num_episodes == 1
    assert not (store.path / "segments" / "000000.core.arrow").is_symlink()


def test_a_staged_copy_replaces_a_link(precious, tmp_path, write, episode):
    view = write([episode(0, 3)]).view()
    target = tmp_path / "local" / f"{view.files[0]['core'].sha256}.arrow"
    target.parent.mkdir()
    target.symlink_to(precious)
    replay.Store(view, stage=target.parent).populate()
    assert not target.is_symlink()
    assert target.read_bytes() == view.files[0]["core"].path.read_bytes()


def test_reading_a_dataset_writes_through_no_link_in_it(precious, write, episode):
    dataset = write([episode(0, 3)])
    (dataset.path / "shards" / ".verified.jsonl").symlink_to(precious)
    (dataset.path / ".verified.jsonl").symlink_to(precious)
    dataset.sample(seed=0, sequence=0, count=3)


@pytest.mark.parametrize("make", [write_json, lambda path, record: write_table(path, {}, {})], ids=["json", "table"])
def test_a_manifest_is_written_through_no_link(precious, tmp_path, make):
    for name in ("made", ".made.partial"):
        (tmp_path / name).symlink_to(precious)
    with suppress(FileExistsError):
        make(tmp_path / "made", {})


def test_an_appended_file_takes_each_content_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntwo\nthr")
    file = durable.Appended(path, os.open(path, durable.APPENDING))
    assert (file.size(), file.end_of_lines(100), file.end_of_lines(7), file.end_of_lines(3)) == (11, 8, 4, 0)
    file.truncate(8)
    file.append(b"three\n")
    assert path.read_bytes() == b"one\ntwo\nthree\n"
    write = os.write
    room = iter([4])

    def nearly_full(descriptor, content):
        if (left := next(room, 0)) == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, content[:left])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", nearly_full)
        with pytest.raises(OSError, match="No space left") as told:
            file.append(b"a line that is too long\n")
    assert told.value.filename == str(path)
    assert path.read_bytes() == b"one\ntwo\nthree\n"
    file.append(b"four\n")
    file.sync()
    file.close()
    file.close()
    assert path.read_bytes() == b"one\ntwo\nthree\nfour\n"


def test_what_was_left_under_private_names_is_removed_by_name(tmp_path, precious):
    token = "0123456789abcdef"
    private = durable.private_folder(tmp_path / "made")
    (private / "part").touch()
    for name in (f".made.{token}.partial", ".made.partial", f".made.too.{token}.partial", f".other.{token}.partial"):
        (tmp_path / name).touch()
    (tmp_path / ".made.fedcba9876543210.partial").symlink_to(precious)
    (tmp_path / ".made.notes.partial.txt").touch()
    durable.remove_private(tmp_path, "made")
    left = {path.name for path in tmp_path.iterdir() if "partial" in path.name}
    assert left == {
        ".made.fedcba9876543210.partial",
        ".made.notes.partial.txt",
        f".made.too.{token}.partial",
        f".other.{token}.partial",
    }
    durable.remove_private(tmp_path, "*")
    assert {path.name for path in tmp_path.iterdir() if "partial" in path.name} == {
        ".made.fedcba9876543210.partial",
        ".made.notes.partial.txt",
    }
