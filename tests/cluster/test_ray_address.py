"""`--address`: what is no address, and where no cluster answers, is refused within seconds, with the remedy."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cluster.backends import ray_address
from cluster.backends.ray_address import settle_address
from cluster.errors import RunError


@pytest.fixture(autouse=True)
def no_other_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(ray_address, "ANSWER_TIMEOUT", 0.5)


@pytest.fixture
def server() -> Iterator[Callable[[bytes | None], str]]:
    """Starts a server that says something to whoever connects, or nothing at all; gives its address."""
    with ExitStack() as stack:

        def start(answer: bytes | None) -> str:
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def serve() -> None:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(100)
                    connection.sendall(answer or b"")

            if answer is not None:
                threading.Thread(target=serve, daemon=True).start()
            return f"127.0.0.1:{listening.getsockname()[1]}"

        yield start


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"127.0.0.1:{listening.getsockname()[1]}"


def refusal(address: str | None) -> str:
    begun = time.monotonic()
    with pytest.raises(RunError) as refused:
        settle_address(address)
    assert time.monotonic() - begun < 3.0
    return str(refused.value)


@pytest.mark.parametrize(
    "address",
    ["", " ", "nonsense", "head", ":6379", "head:", "head:0", "head:65536", "head:-1", "head:six", "http://head:8265",
     "a:b:6379", "::1:6379", "head:6379/", "user@head:6379", "head :6379", "head:６３７９", "--help"],
)  # fmt: skip
def test_what_is_no_address(address: str) -> None:
    told = refusal(address)
    assert told.startswith(f"--address {address}: found {address!r}, expected HOST:PORT of the cluster's GCS")


def test_ray_client_is_no_way_for_batches() -> None:
    assert "is an address of Ray Client" in refusal("ray://head:10001")
    assert "--address auto" in refusal("ray://head:10001")


def test_where_nobody_answers(server: Callable[[bytes | None], str]) -> None:
    port = closed_port()
    assert refusal(port).startswith(f"--address {port}: no Ray cluster answers there ({port} does not answer: Conn")
    assert "did not answer within" in refusal(server(None))
    assert "has no such name" in refusal("no-such-host.invalid:6379")
    assert "answers, but not as Ray's GCS does" in refusal(server(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    assert "answers, but not as Ray's GCS does" in refusal(server(b""))
    assert "Start one with `ray start --head`" in refusal(port)


def test_a_name_that_is_looked_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    given_up = threading.Event()

    def look_up(*_: object, **__: object) -> None:
        given_up.wait()
        raise OSError("nobody waits any more")

    monkeypatch.setattr(socket, "create_connection", look_up)
    assert "did not answer within" in refusal("head:6379")
    given_up.set()


def test_a_grpc_server_is_joined(server: Callable[[bytes | None], str]) -> None:
    address = server(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
    assert settle_address(address) == address


def test_none_and_local_start_ray_here(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settle_address(None) is None
    assert settle_address("local") is None
    monkeypatch.setenv("RAY_ADDRESS", "")
    assert settle_address(None) is None


def test_the_environment_names_an_address_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gone = closed_port()
    monkeypatch.setenv("RAY_ADDRESS", gone)
    assert refusal(None).startswith(f"RAY_ADDRESS {gone}: no Ray cluster answers there")
    assert refusal("auto").startswith(f"RAY_ADDRESS {gone}: no Ray cluster answers there")
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    assert refusal(None).startswith("RAY_ADDRESS ray://head:10001: is an address of Ray Client")


def test_auto_may_name_a_cluster_that_is_gone(tmp_path: Path) -> None:
    gone = closed_port()
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(gone)
    told = refusal("auto")
    assert told.startswith(f"--address auto ({gone}, the cluster last started on this machine): no Ray cluster answers")
    (tmp_path / "ray" / "ray_current_cluster").unlink()
    assert settle_address("auto") == "auto"  # Ray looks for one itself


@pytest.mark.timeout(30)
def test_who_else_writes_to_the_shared_folder_cannot_make_us_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto` finds no address in a pipe, and leaves it to Ray to look for processes."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    os.mkfifo(tmp_path / "ray" / "ray_current_cluster")
    assert settle_address("auto") == "auto"
