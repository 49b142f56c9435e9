"""A short piece of `make fuzz`, and the proof that the fuzzer can fail."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def fuzz(*words: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, which forks before this one's libraries have threads."""
    command = [sys.executable, "-m", "tests.fuzz", *words]
    path = os.pathsep.join([str(ROOT), *sys.path])
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)


@pytest.mark.slow
def test_no_mutated_input_ends_badly() -> None:
    """All targets, a few mutations each; `make fuzz` tries thousands."""
    done = fuzz("--mutations", "200", "--seconds", "120", "--hang", "60")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^(\S+) +(\d+) ", done.stdout, re.MULTILINE)
    assert all(int(count) > 0 for _, count in rows)
    assert {name for name, _ in rows} >= {"npz", "shard.sealed", "checkpoint.json", "config.resume", "words.train"}


BAD = {
    "raises": "traceback",
    "crashes": "crash",
    "hangs": "hang",
    "takes_memory": "memory",
    "allocates": "memory",
    "reads_wrongly": "wrong",
    "complains_of_nothing": "unclear",
    "leaves": "left",
}


def test_every_kind_of_failure_is_seen_and_can_be_repeated() -> None:
    done = fuzz("--target", "failing.*", "--mutations", str(len(BAD)), "--hang", "1", "--memory", "256")
    assert done.returncode == 1
    for name, outcome in BAD.items():
        assert re.search(rf"^{outcome}, 1 times, .*failing\.{name}\b", done.stdout, re.MULTILINE), done.stdout
        assert f"--target failing.{name} --seed 0 --only 0" in done.stdout


def test_a_mutation_is_the_same_whenever_it_is_asked_for(tmp_path: Path) -> None:
    for kept in ("one", "other"):
        words = ("--target", "failing.reads_wrongly", "--seed", "7", "--only", "5", "--keep", str(tmp_path / kept))
        assert fuzz(*words).returncode == 1
    one, other = ((tmp_path / kept / "input" / "input").read_bytes() for kept in ("one", "other"))
    assert one == other != bytes(range(200))


@pytest.mark.parametrize("words", [["--target", "nothing"], ["--only", "3"]])
def test_what_cannot_be_run_is_refused(words: list[str]) -> None:
    assert fuzz(*words).returncode == 2
