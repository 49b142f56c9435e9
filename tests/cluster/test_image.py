"""The `Dockerfile`, read without Docker: that its files are there, that its Python fits, and that nobody is root."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def instructions() -> list[tuple[str, str]]:
    """(instruction, its arguments) of the Dockerfile, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def test_the_image_has_a_python_that_fits():
    (image,) = [argument for name, argument in instructions() if name == "FROM"]
    found = re.fullmatch(r"python:(\d+)\.(\d+)-slim-bookworm", image)  # bookworm: glibc 2.36
    assert found
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"
    assert (int(found[1]), int(found[2])) >= (3, 11)
    for extras in re.findall(r"'\.\[([a-z,]+)\]'", (ROOT / "Dockerfile").read_text()):
        assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_the_image_is_made_of_files_that_are_there_and_holds_every_package():
    copied = [part for name, argument in instructions() if name == "COPY" for part in argument.split()[:-1]]
    assert [part for part in copied if not (ROOT / part).exists()] == []
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {part.rstrip("/") for part in copied} == kept
    find = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    assert {package.rstrip("*") for package in find["include"]} <= kept
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch==")]
    assert len(pins) == 1


def test_the_image_runs_as_nobody_in_particular_and_names_no_host():
    users = [argument for name, argument in instructions() if name == "USER"]
    assert users
    assert users[-1] not in ("root", "0")
    assert "://" not in (ROOT / "Dockerfile").read_text()
