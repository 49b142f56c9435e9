"""A thousand bad inputs: each refused in a line that names file, option or field, with nothing left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.bad_inputs.rows import Material, Row, complaint
from tests.bad_inputs.tables import SUBJECTS
from tests.fuzz.targets import runs


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    home = tmp_path_factory.mktemp("material")
    for name, make in (("offline", runs.make_run), ("online", runs.make_finetuned)):
        (home / name).mkdir()
        make(home / name)
    os.environ.pop("QUIVER_TRACEBACK", None)
    return Material(home / "offline" / "data", home / "offline" / "run", home / "online" / "run")


@pytest.mark.slow
@pytest.mark.parametrize("subject", SUBJECTS)
def test_it_is_refused(subject: str, material: Material, tmp_path: Path) -> None:
    found = {}
    for number, row in enumerate(SUBJECTS[subject]):
        (tmp_path / str(number)).mkdir()
        if wrong := complaint(row, material, tmp_path / str(number)):
            found[row.name] = wrong
    assert not found, told(found, SUBJECTS[subject])


def told(found: dict[str, str], rows: list[Row]) -> str:
    lines = [f"{name}: {wrong}" for name, wrong in found.items()]
    return "\n".join([f"{len(found)} of {len(rows)} rows:", *lines])
