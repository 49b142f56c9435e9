"""The list of algorithms, and what reading it takes."""

from __future__ import annotations

import subprocess
import sys

import learners
from learners.catalogue import CATALOGUE, GROUPS


def test_reading_it_imports_neither_pytorch_nor_numpy():
    heavy = "{'torch', 'numpy', 'pyarrow', 'replay'} & set(sys.modules)"
    for line in ("import learners.catalogue", "import learners; learners.names()"):
        found = subprocess.run(
            [sys.executable, "-c", f"{line}; import sys; print({heavy})"], capture_output=True, text=True, check=True
        )
        assert found.stdout.strip() == "set()"


def test_each_algorithm_has_a_group_and_one_whole_sentence_that_fits_on_a_line():
    assert {entry.group for entry in CATALOGUE.values()} == set(GROUPS)
    for name, entry in CATALOGUE.items():
        assert entry.line[0].isupper(), name
        assert entry.line.endswith("."), name
        assert len(entry.line) <= 90, name


def test_each_entry_leads_to_its_class():
    for name, entry in CATALOGUE.items():
        kind = learners.algorithm_class(name)
        assert f"{kind.__module__}:{kind.__name__}" == entry.where


def test_the_package_exports_what_it_lists():
    assert [name for name in learners.__all__ if not hasattr(learners, name)] == []
    assert not hasattr(learners, "nothing_of_the_kind")
