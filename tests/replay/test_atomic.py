"""Files are written whole or not at all, and never through a link."""

import stat

import pytest

from replay import atomic


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "summary.json"
    atomic.write_text(path, "first")
    atomic.write_text(path, "second é")
    assert path.read_bytes() == "second é".encode()
    assert [entry.name for entry in tmp_path.iterdir()] == ["summary.json"]


def test_a_link_in_its_place_is_replaced_and_what_it_points_to_is_left_alone(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    path = tmp_path / "summary.json"
    path.symlink_to(precious)
    atomic.write_text(path, "theirs")
    assert precious.read_text() == "mine"
    assert not path.is_symlink()
    assert path.read_text() == "theirs"


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "summary.json"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError), atomic.private_file(path) as file:
        file.write(b"half" * (1 // 0))
    assert path.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["summary.json"]


def test_a_new_file_is_not_made_through_a_link_even_one_that_leads_nowhere(tmp_path):
    (tmp_path / "new").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        atomic.create(tmp_path / "new")
    assert not (tmp_path / "nowhere").exists()


def test_permissions_are_those_asked_for(tmp_path):
    path = tmp_path / "token"
    with atomic.private_file(path, 0o600) as file:
        file.write(b"secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
