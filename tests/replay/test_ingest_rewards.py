"""Reward functions that fail: told as theirs, with the function's file, name and words."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import replay
from cluster.cli import main
from cluster.commands.ingest import load_function
from cluster.errors import RunError
from replay.errors import DataError
from replay.ingest import ingest
from replay.operations import relabel
from tests.replay import logs

HEAD = "import dataclasses, sys\nimport numpy as np\nfrom dataclasses import replace\n"
EPISODE = r"log.hdf5: episode 0 \(rows 0 to 2\)"
FAILS = {
    "raises": ("raise RuntimeError('my own words')", r"raised RuntimeError: my own words"),
    "raises nothing": ("raise RuntimeError", r"raised RuntimeError\. Mend"),
    "key": ("return episode.extras['speed']", r"raised KeyError: 'speed'"),
    "recurses": ("return f(episode)", r"raised RecursionError: maximum recursion"),
    "raises lines": ("raise RuntimeError('one\\ntwo')", r"raised RuntimeError: one two"),
    "leaves": ("sys.exit(7)", r"raised SystemExit: 7"),
    "memory": ("raise MemoryError", r"raised MemoryError"),
    "no words": ("raise type('E', (Exception,), {'__str__': lambda self: 1 / 0})()", r"raised E\. Mend"),
    "text": ("return 'x'", r"returned str, expected an Episode"),
    "None": ("pass", r"returned NoneType, expected an Episode"),
    "rewards": ("return episode.reward", r"returned ndarray, expected an Episode"),
}
GIVES = {
    "NaN": ("reward=episode.reward * np.nan", r"reward: NaN or infinite in 3 of 3 rows"),
    "None": ("reward=None", r"reward: found a single NoneType, expected one for each step"),
    "a number": ("reward=3.0", r"reward: found a single float"),
    "pairs": ("reward=np.zeros((3, 2))", r"reward: found shape \(3, 2\), expected \(3,\)"),
    "another length": ("reward=np.zeros(9)", r"observation: found shape \(4, 2\), expected \(10, 2\)"),
    "text": ("reward=['a'] * 3", r"reward: found <U1, expected float32"),
    "lists of all lengths": ("reward=[[0.0], [1, 2], 3]", r"reward: found list, expected an array"),
    "complex": ("reward=episode.reward * 1j", r"reward: found complex"),
    "huge": ("reward=[10**400] * 3", r"reward: found object, expected float32"),
    "no observations": ("observation=None", r"observation: found shape \(\), expected \(4, 2\)"),
    "no extras": ("extras=None", r"extras: found NoneType, expected columns by name"),
    "numbers for names": ("extras={3: episode.reward}", r"extras: found keys that are no text"),
    "no actions": ("action=None", r"action: found shape \(\)"),
    "no flags": ("terminated=None", r"terminated: found shape \(\)"),
    "a task of numbers": ("task=3", r"task: found 3, expected text of at most 10,000 characters"),
    "a task of half characters": (r"task='\udcff'", r"task: found '\\udcff', expected text"),
    "a split of nothing": ("split=7", r"split: found 7, expected text"),
}


def rewards(folder: Path, body: str) -> str:
    (folder / "rewards.py").write_text(f"{HEAD}def f(episode):\n    {body}\n")
    return f"{folder / 'rewards.py'}:f"


@pytest.mark.parametrize("name", FAILS)
def test_a_function_that_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    body, message = FAILS[name]
    words = ["ingest", logs.hdf5(tmp_path), "--out", str(tmp_path / "out"), "--reward", rewards(tmp_path, body)]
    for more in ([], ["--quarantine"]):  # it is not an episode that is damaged
        assert main([*words, *more]) == 2
        shown = capsys.readouterr().err
        assert re.search(rf"^error: .*{EPISODE}: the reward function f of .*rewards.py {message}", shown), shown
    assert sorted(path.name for path in tmp_path.iterdir() if "pyc" not in path.name) == ["log.hdf5", "rewards.py"]


@pytest.mark.parametrize("name", GIVES)
def test_a_function_that_gives_what_is_no_episode(tmp_path: Path, name: str) -> None:
    change, message = GIVES[name]
    function = load_function(rewards(tmp_path, f"return replace(episode, {change})"), "--reward")
    with pytest.raises(DataError, match=rf"{EPISODE}, {message}.*\(the reward function f of .*rewards.py had it last"):
        ingest(logs.hdf5(tmp_path), tmp_path / "out", reward=function)
    assert not (tmp_path / "out").exists()


def test_what_a_function_may_do(tmp_path: Path) -> None:
    """Lists for arrays, other lengths, and words on the terminal."""
    for number, body in enumerate(["return replace(episode, reward=[1.0, 2.0, 3.0])", "print(1); return episode"]):
        function = load_function(rewards(tmp_path, body), "--reward")
        ingest(logs.hdf5(tmp_path), tmp_path / f"{number}", reward=function)
    assert replay.open(tmp_path / "0").episodes["return"].tolist() == [6, 6]


def test_relabelling_tells_it_the_same_way(tmp_path: Path) -> None:
    ingest(logs.hdf5(tmp_path), tmp_path / "out")
    function = load_function(rewards(tmp_path, "raise RuntimeError('my own words')"), "--reward")
    with pytest.raises(DataError, match=r"out: episode 0: the reward function f of .*RuntimeError: my own words"):
        relabel(replay.open(tmp_path / "out"), tmp_path / "child", function)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("numpy.py", b"def f(e): return e", None),
        ("latin.py", b"x = '\xff'\ndef f(e): return e", r"cannot be imported \(SyntaxError"),
        ("nul.py", b"x = 1\0", r"cannot be imported \((SyntaxError|ValueError)"),
        ("leaves.py", b"import sys; sys.exit(7)", r"cannot be imported \(SystemExit: 7\)"),
        ("cut.py", b"def f(e", r"cannot be imported \(SyntaxError"),
        ("words.txt", b"def f(e): return e", r"is no Python file"),
        ("other.py", b"def g(e): return e", r"has no function 'f'; it has g"),
    ],
)
def test_files_of_functions(tmp_path: Path, name: str, content: bytes, message: str | None) -> None:
    (tmp_path / name).write_bytes(content)
    if message is None:
        import numpy

        load_function(f"{tmp_path / name}:f", "--reward")
        assert sys.modules["numpy"] is numpy
        return
    with pytest.raises(RunError, match=rf"--reward: .*{name}: {message}"):
        load_function(f"{tmp_path / name}:f", "--reward")


@pytest.mark.parametrize("path", ["/dev/zero", "absent.py", "a\0b.py", ""])
def test_what_is_no_file(path: str) -> None:
    with pytest.raises(RunError, match=r"--reward: .*(no such file|expected FILE.py:FUNCTION)"):
        load_function(f"{path}:f", "--reward")
