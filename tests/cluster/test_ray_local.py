"""Ray that a run starts for itself is its user's alone: what it listens on, its folder, its token."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

pytest.importorskip("ray")

from cluster.backends import ray_local
from cluster.build import AlgorithmSpec
from cluster.errors import RunError
from cluster.roles.learner import Learner
from tests.cluster.processes import listening_addresses
from tests.cluster.runs import SPACES, recipe

LOOPBACK = {"127.0.0.1", "::1"}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# --- All of it, in a process and a home of its own ---

PROGRAM = """
import json, os, stat, sys
import ray
from cluster.backends import ray_local, ray_session
from tests.cluster.processes import listening_addresses

@ray.remote
class Actor:
    def answer(self):
        return True

assert ray_session.connect(None) is False
actor = Actor.remote()
assert ray.get(actor.answer.remote())
folder = ray_local._folder
told = {
    "addresses": listening_addresses(os.getpid()),
    "folder": str(folder),
    "mode": stat.S_IMODE(folder.stat().st_mode),
    "session": ray_local.log_folder().resolve().is_relative_to(folder),
}
ray_local.end(keep_logs=True)
left = sorted(entry.name for entry in (folder / "ray" / "session_latest").iterdir() if entry.is_dir())
print(json.dumps(told | {"left": left}))
"""


@pytest.mark.slow
def test_nobody_else_can_reach_it(tmp_path: Path) -> None:
    """Every socket that any of its processes listens on, metrics and gRPC too, is on loopback, without exception."""
    home = tmp_path / "home"
    home.mkdir()
    temporary = Path(tempfile.mkdtemp(prefix="q-"))  # its path is short, as Ray needs it
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": str(home), "TMPDIR": str(temporary)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])

    for process in ("gcs_server", "raylet", "ray::DashboardA", "ray::RuntimeEnv", "ray::Actor"):
        assert told["addresses"][process], f"{process} listens"
    assert {address for found in told["addresses"].values() for address in found} <= LOOPBACK
    assert Path(told["folder"]).parent == temporary
    assert told["mode"] == 0o700
    assert told["session"]
    assert told["left"] == ["logs"]
    shutil.rmtree(temporary)
    token = home / ".ray" / "auth_token"
    assert (mode(token), mode(token.parent)) == (0o600, 0o700)


def test_several_learners_meet_on_their_nodes_address_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reaches their store can write to it; PyTorch by itself listens for the ranks on all interfaces."""
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "127.0.0.1")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")  # so that it is taken back
    before = Counter(address for found in listening_addresses(os.getpid()).values() for address in found)
    learner = Learner(AlgorithmSpec("iql", {"hidden": (16, 16)}, SPACES, None, 0), recipe(Path("absent")), "cpu")
    learner.join(0, 1, learner.meeting_point())
    try:
        now = Counter(address for found in listening_addresses(os.getpid()).values() for address in found)
        assert set(now - before) <= LOOPBACK
        assert now - before, "the ranks meet nowhere"
    finally:
        torch.distributed.destroy_process_group()


# --- The folder ---


def test_where_temporary_files_have_long_paths_the_folder_is_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(long))
    folder = ray_local._make_folder()
    folder.rmdir()
    assert folder.parent == Path("/tmp")
    assert len(str(folder)) <= ray_local.LONGEST_FOLDER


@pytest.mark.parametrize("keep_logs", [False, True])
def test_logs_stay_where_something_failed(
    keep_logs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "quiver-1"
    session = folder / "ray" / "session_2026-01-01_00-00-00_000000_1"
    for name in ("logs", "spilled"):
        (session / name).mkdir(parents=True)
        (session / name / "raylet.err").write_text("why")
    (folder / "ray" / "session_latest").symlink_to(session)
    monkeypatch.setattr(ray_local, "_folder", folder)
    monkeypatch.setattr(ray_local.ray, "shutdown", lambda: None)
    ray_local.end(keep_logs=keep_logs)
    assert ray_local.log_folder() is None
    if keep_logs:
        logs = folder / "ray" / "session_latest" / "logs"
        assert (logs / "raylet.err").read_text() == "why"
        assert not (session / "spilled").exists()
        assert f"kept in {logs}" in caplog.text
    else:
        assert not folder.exists()


# --- The token ---


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Ray would look for it."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".ray" / "auth_token"


def test_many_at_once_make_one_token_that_is_the_users_own(token: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(ray_local.keep_token_private) for _ in range(16)]:
            done.result()
    assert mode(token) == 0o600
    assert len(bytes.fromhex(token.read_text())) == 32
    assert [path.name for path in token.parent.iterdir()] == ["auth_token"]


def test_a_token_that_ray_wrote_for_everyone_is_closed(token: Path) -> None:
    token.parent.mkdir()
    token.write_text("of another session")
    token.chmod(0o644)
    ray_local.keep_token_private()
    assert mode(token) == 0o600
    assert token.read_text() == "of another session"


def test_no_link_is_followed(token: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = tmp_path / "other"
    other.write_text("kept elsewhere")
    other.chmod(0o644)
    token.parent.mkdir()
    token.symlink_to(other)
    ray_local.keep_token_private()
    assert mode(other) == 0o644
    assert "cannot be made this user's alone" in caplog.text


@pytest.mark.parametrize(
    ("name", "value"), [("RAY_AUTH_TOKEN", "x"), ("RAY_AUTH_TOKEN_PATH", "/x"), ("RAY_AUTH_MODE", "disabled")]
)
def test_a_token_from_elsewhere_is_left_alone(
    name: str, value: str, token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    ray_local.keep_token_private()
    assert not token.parent.exists()


def test_a_home_that_takes_no_token_is_refused_with_a_remedy(token: Path) -> None:
    token.parent.write_text("a file where a folder should be")
    with pytest.raises(RunError, match=r"auth_token: Ray's token cannot be written there .*RAY_AUTH_TOKEN_PATH"):
        ray_local.keep_token_private()
