"""What the pages for people name is there: files, `make` targets, commands and their options."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import pytest

import learners
from cluster import cli
from tests.cluster.run_folders import write_run

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = "replay|cluster|learners|envs|tests|docs|examples|benchmarks|deploy"
NEEDED = {
    "train": {"--dataset": "data", "--algo": "iql", "--run": "run"},
    "finetune": {"--algo": "iql", "--env": "Pendulum-v1", "--run": "run", "--env-steps": "100"},
}
"""What "…" stands for in a command, where it is not given."""
OF_OTHERS = {"--gpus", "--memory", "--temp-dir", "--tmux"}
"""Options of programs that are not ours, named on their own."""


def code(page: Path) -> Iterator[str]:
    """The page's pieces of code: each line of its blocks, continued lines joined, and what stands between backticks."""
    text = page.read_text()
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()
    for span in re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)):
        yield " ".join(span.split())


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each `quiver` command, without the rest of a pipe or what closes a quotation around it."""
    for piece in code(page):
        for found in re.finditer(rf"\bquiver (?=(?:{'|'.join(cli.COMMANDS)})\b)", piece):
            rest = piece[found.end() :]
            try:
                words = shlex.split(rest, comments=True)
            except ValueError:
                words = shlex.split(rest[: rest.rindex("'")])
            ends = [words.index(end) for end in ("|", "&&", ";") if end in words]
            yield words[: min(ends, default=len(words))]


def whole(words: list[str]) -> list[str]:
    """The command with one of its alternatives, an algorithm for NAME, and what its "…" leaves out."""
    words = [word.split("|")[0].replace("NAME", "iql") for word in words]
    # In the pods, where it is the topology of a ConfigMap.
    words = ["ray_config.yaml" if word == "/etc/quiver/topology.yaml" else word for word in words]
    if "…" in words:
        given = NEEDED[words[0]]
        missing = [part for option, value in given.items() if option not in words for part in (option, value)]
        words = [words[0], *missing, *(word for word in words[1:] if word != "…")]
    return words


COMMANDS = [
    pytest.param(words, id=f"{page.name}: {' '.join(words)}"[:100])
    for page in PAGES
    for words in dict.fromkeys(map(tuple, commands(page)))
    if len(words) > 1
]


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_of_a_page_is_one(words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "deploy", "deploy")
    shutil.copy(ROOT / "ray_config.yaml", "ray_config.yaml")
    name, *arguments = whole(list(words))
    for option, value in pairwise(arguments):
        if option == "--from" or (option == "--run" and "--resume" in arguments):
            write_run(Path(value))
    parse = importlib.import_module(cli.COMMANDS[name].module).parse
    if arguments[-1] == "--help":
        with pytest.raises(SystemExit, match=r"^0$"):
            parse(arguments)
    else:
        parse(arguments)


def test_there_are_commands_to_look_at() -> None:
    assert {param.values[0][0] for param in COMMANDS} == {*cli.COMMANDS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_an_option_of_a_page_is_one(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = {found for piece in code(page) for found in re.findall(r"^--[a-z][a-z-]+", piece)}
    known = {
        f"--{field.name.replace('_', '-')}"
        for name in learners.names()
        for field in fields(learners.config_class(name))
    }
    for command in cli.COMMANDS.values():
        with pytest.raises(SystemExit):
            importlib.import_module(command.module).parse(["--help"])
        known |= set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))
    assert named - known - OF_OTHERS == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_file_of_a_page_exists(page: Path) -> None:
    text = page.read_text()
    named = set(re.findall(rf"(?<![\w/.-])(?:{FOLDERS})/[\w./*-]*[\w*/]", text))
    assert [name for name in sorted(named) if not any(ROOT.glob(name.rstrip("/")))] == []
    links = {link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link}
    assert [link for link in sorted(links) if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_target_of_a_page_is_one(page: Path) -> None:
    named = {found for piece in code(page) for found in re.findall(r"^make ([a-z]+)", piece)}
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named <= targets
