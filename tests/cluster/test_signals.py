"""SIGTERM and SIGHUP end a command as Ctrl-C does; a second signal ends it at once; nothing half-written stays."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.processes import records, wait_until

SLOW_TO_CLEAN_UP = """
import sys, time
from cluster.signals import EndingSignals
with EndingSignals() as signals:
    try:
        print("begun", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("cleaning up", flush=True)
        time.sleep(float(sys.argv[1]))
        print("cleaned up", flush=True)
        sys.exit(signals.status)
"""
SLOW_REWARD = """
import time
def slowly(episode):
    time.sleep(0.2)
    return episode
"""


def program(text: str, *arguments: str, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", text, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]


def quiver(*arguments: str) -> subprocess.Popen[str]:
    return program("import sys; from cluster import cli; sys.exit(cli.main())", *arguments)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and the last line on standard error; never a trace."""
    _, told = process.communicate(timeout=60)
    assert "Traceback" not in told, told
    return process.returncode, told.strip().splitlines()[-1]


@pytest.mark.slow
def test_a_serial_run_says_how_to_go_on(dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = quiver(
        *("train", "--dataset", str(dataset), "--run", str(run), "--serial", "--steps", "1000000"),
        *("--algo", "bc", "--hidden", "16", "16", "--batch-size", "16", "--chunk-steps", "4", "--log-every", "4"),
    )
    wait_until(lambda: records(run) >= 30 or process.poll() is not None, "30 records")
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (143, f"quiver train: ended by SIGTERM. Go on with: quiver train --run {run} --resume")


@pytest.mark.slow
def test_collecting_leaves_nothing_behind(tmp_path: Path) -> None:
    out = tmp_path / "logs"
    process = quiver("collect", "--env", "Pendulum-v1", "--policy", "random", "--episodes", "100000", "--out", str(out))
    wait_until(lambda: any(tmp_path.iterdir()) or process.poll() is not None, "the first file")
    process.send_signal(signal.SIGHUP)
    assert ended(process) == (129, "quiver collect: ended by SIGHUP.")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_ingesting_leaves_nothing_behind(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "reward.py").write_text(SLOW_REWARD)
    (tmp_path / "data").mkdir()
    reward = f"{tmp_path}/reward.py:slowly"
    process = quiver("ingest", str(dataset), "--out", f"{tmp_path}/data/new", "--reward", reward)
    wait_until(lambda: any((tmp_path / "data").iterdir()) or process.poll() is not None, "the first file")
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (143, "quiver ingest: ended by SIGTERM.")
    assert not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_ends_a_process_that_cleans_up_at_once(number: signal.Signals) -> None:
    process = program(SLOW_TO_CLEAN_UP, "60")
    assert said(process) == "begun"
    process.send_signal(number)
    assert said(process) == "cleaning up"
    time.sleep(1.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 128 + number
    assert said(process) == ""


def test_a_signal_that_is_sent_twice_at_once_is_one() -> None:
    """As `timeout` sends it: to the process and to its group."""
    process = program(SLOW_TO_CLEAN_UP, "0.5")
    assert said(process) == "begun"
    process.send_signal(signal.SIGTERM)
    assert said(process) == "cleaning up"
    process.send_signal(signal.SIGTERM)
    assert said(process) == "cleaned up"
    assert process.wait(timeout=10) == 143


def test_what_is_ignored_stays_ignored() -> None:
    """`nohup quiver train …` goes on without its terminal."""
    process = program(SLOW_TO_CLEAN_UP, "0", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert said(process) == "begun"
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert said(process) == "cleaning up"
    assert process.wait(timeout=10) == 143


def test_a_forked_child_ends_as_it_would_have() -> None:
    """Environments are processes of this one: whoever closes them by SIGTERM sees no trace of ours."""
    process = program(
        "import os, signal, time\n"
        "from cluster.signals import EndingSignals\n"
        "with EndingSignals() as signals:\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        time.sleep(60)\n"
        "    time.sleep(0.2)\n"
        "    os.kill(child, signal.SIGTERM)\n"
        "    print(os.waitpid(child, 0)[1], signals.received, flush=True)\n"
    )
    assert said(process) == f"{signal.SIGTERM.value} None"
    assert process.wait(timeout=10) == 0
