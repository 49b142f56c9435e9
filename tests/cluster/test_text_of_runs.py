"""Names from data and runs in help, in usage messages, in notes and in labels: text, on a line of its own."""

from __future__ import annotations

import io
import json
import os
import sys
import unicodedata
from pathlib import Path

import pytest
from rich.console import Console

from cluster import cli
from cluster.commands.output import print_lines, progress
from cluster.commands.train import parse
from cluster.reporter import labels_of
from tests.cluster.run_folders import config, write_run
from tests.cluster.runs import make_dataset

HOSTILE = "[/b]\x1b]0;owned\x07<script>\u202e\nerror: forged"
UNDECODABLE = os.fsdecode(b"caf\xe9\xff")


def harmless(text: str) -> bool:
    """Whether a terminal shows it as it is, and no line of it begins as a message of ours that is none."""
    steering = [c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    return not steering and "\nerror: forged" not in text


def hostile_run(path: Path) -> str:
    recipe = {**config()["recipe"], "split": HOSTILE, "where": HOSTILE, "datasets": [[f"/data/{HOSTILE}", None]]}
    environment = {"id": HOSTILE, "kwargs": {HOSTILE: HOSTILE}, "observation_key": HOSTILE}
    return str(write_run(path, recipe=recipe, environment=environment))


@pytest.mark.parametrize("more", [["--help"], ["--batch-size", "many"], ["--batch-sise", "8"], [f"--{HOSTILE}"]])
def test_help_and_usage_show_what_a_run_says_as_text(
    more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    run = hostile_run(tmp_path / "run")
    try:
        code: object = cli.main(["train", "--run", run, "--resume", *more])
    except SystemExit as ended:
        code = ended.code
    said = capsys.readouterr()
    assert code == (0 if more == ["--help"] else 2)
    assert harmless(said.out + said.err)
    assert more != ["--help"] or "\\x1b]0;owned\\x07" in said.out


def test_what_a_run_says_is_taken_as_it_is(tmp_path: Path) -> None:
    """Shown as text, and not changed."""
    options = parse(["--run", hostile_run(tmp_path / "run"), "--resume"])
    recipe = options.recipe
    assert (options.environment.env, recipe.split, recipe.datasets) == (HOSTILE, HOSTILE, ((f"/data/{HOSTILE}", None),))
    assert json.loads(str(options.environment.env_kwargs)) == {HOSTILE: HOSTILE}


def test_every_command_takes_any_name_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = HOSTILE.replace("/", "_")
    data = str(make_dataset(tmp_path / f"data {name}", episodes=6, env_spec={"id": HOSTILE, "kwargs": {}}))
    run, other = str(tmp_path / f"run {name}"), str(tmp_path / UNDECODABLE)
    make_dataset(Path(other), episodes=6)
    for arguments, code in (
        (["train", "--dataset", data, "--algo", "bc", "--serial", "--hidden", "8", "--steps", "8", "--run", run], 0),
        (["train", "--run", run, "--resume", "--steps", "16"], 0),
        (["train", "--dataset", data, "--algo", "bc", "--run", run], 2),
        (["report", run], 0),
        (["inspect", data], 0),
        (["inspect", data, "--json"], 0),
        (["inspect", other], 0),
        (["train", "--dataset", other, "--algo", "bc", "--run", other], 2),
        (["report", other], 2),
        (["evaluate", run, "--checkpoint", HOSTILE, "--env", "Pendulum-v1"], 2),
        (["report", f"{run}2"], 2),
        ([name], 2),
    ):
        assert cli.main(arguments) == code
        said = capsys.readouterr()
        assert harmless(said.out)
        assert harmless(said.err)
    assert "<script" not in (Path(run) / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [HOSTILE.replace("/", "_"), UNDECODABLE])
def test_labels_of_gauges_are_text(name: str) -> None:
    labels = labels_of(Path("/runs") / name)
    assert harmless(labels["run"])
    assert "\n" not in labels["run"]
    assert len(labels["run_id"]) == 8
    assert labels_of(Path("/runs/a/umaze")) == {"run": "umaze", "run_id": "88683846"}


def test_a_progress_bar_shows_text(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr("cluster.commands.output.Console", lambda **_: Console(file=screen, force_terminal=True))
    with progress("[/b][red]"):
        pass
    assert "[/b][red]" in screen.getvalue()


def test_characters_that_a_terminal_does_not_have_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    cli.say_as_text()
    print_lines("naïve 机器人")
    sys.stdout.flush()
    assert raw.getvalue() == b"na\\xefve \\u673a\\u5668\\u4eba\n"
