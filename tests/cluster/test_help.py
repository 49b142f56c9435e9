"""What `--help` says: every option in a whole sentence, and, at once, which algorithms there are."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from importlib import import_module
from typing import Any

import pytest
import tyro

from cluster import cli
from cluster.commands import options
from learners.catalogue import CATALOGUE, GROUPS

HEAVY = ("torch", "ray", "gymnasium", "pyarrow", "numpy", "minari", "pydantic")


class _ParsedError(Exception):
    pass


def helps(command: str, *arguments: str) -> dict[str, str]:
    """Each option of a command by its name, with its help, but for its range and default."""
    found: dict[str, str] = {}

    def read(kind: Any, **given: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            parser = tyro.extras.get_parser(
                kind, **{name: given[name] for name in given.keys() & {"default", "config"}}
            )
        for action in parser._actions[1:]:
            name = action.option_strings[0] if action.option_strings else action.dest
            found[name] = re.sub(r" \((required|repeatable|default: .*|[^()]*; default: .*)\)$", "", str(action.help))
        raise _ParsedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(options.tyro, "cli", read)
        with pytest.raises(_ParsedError):
            import_module(cli.COMMANDS[command].module).parse(list(arguments))
    assert found
    return found


def is_a_sentence(text: str) -> bool:
    return text[:1].isupper() and text.endswith(".") and len(text.split()) >= 3


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_every_option_is_told_in_a_sentence(command: str) -> None:
    assert {name: text for name, text in helps(command).items() if not is_a_sentence(text)} == {}


@pytest.mark.parametrize("command", ["train", "finetune"])
def test_help_lists_the_algorithms_and_imports_nothing_slow(command: str) -> None:
    program = (
        "import sys; from cluster import cli\n"
        f"try: cli.main([{command!r}, '--help'])\n"
        f"finally: print(sorted({set(HEAVY)} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    *lines, imported = result.stdout.splitlines()
    assert (result.returncode, imported) == (0, "[]")
    places = [next(n for n, line in enumerate(lines) if line == f"{group}:") for group in GROUPS]
    assert places == sorted(places)
    for name, entry in CATALOGUE.items():
        (line,) = [n for n, line in enumerate(lines) if line.split()[:1] == [name] and line.endswith(entry.line)]
        assert max(place for place in places if place < line) == places[GROUPS.index(entry.group)]


def test_the_help_of_one_algorithm_lists_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["train", "--algo", "iql", "--help"])
    shown = capsys.readouterr().out
    assert "--expectile" in shown
    assert CATALOGUE["bc"].line not in shown
