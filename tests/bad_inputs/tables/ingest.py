"""`quiver ingest` and `quiver inspect`: options, sources and reward functions that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.bad_inputs.rows import Material, Row, table


def _reward(body: str, name: str = "reward.py") -> Callable[[Path, Material], None]:
    def prepare(folder: Path, material: Material) -> None:
        (folder / name).write_text(body)

    return prepare


def _there(folder: Path, material: Material) -> None:
    (folder / "there").mkdir()


_REPLACE = "import dataclasses, numpy as np\ndef f(episode): return dataclasses.replace(episode, reward="

ROWS: list[Row] = [
    *table(
        "ingest --out new",
        ("nothing there", "nowhere", r"nowhere: is no dataset folder"),
        ("a kind that is none", "rosbag:x", r"'rosbag' is no kind of source"),
        ("no name behind a kind", "hdf5:", r"names no data"),
        ("a file without its kind", "x.npz", r"Write ogbench:x\.npz"),
        ("no file matches", "parquet:*.parquet", r"no file matches"),
        ("no file there", "ogbench:x.npz", r"ogbench:x\.npz: found nothing"),
        ("an unknown id", "minari:nosuch/x-v0", r"nosuch/x-v0"),
        ("a source of no letters", "''", r"names no data|SOURCE"),
        ("a NUL", "'hdf5:a\0b'", r"a\\x00b|hdf5"),
        ("a source of too long a name", f"hdf5:{'x' * 5000}", r"hdf5:x"),
        ("a folder for a file", "hdf5:there", r"found a folder", _there),
    ),
    *table(
        "ingest {data} --out new",
        ("a target that is there", "--out there", r"there: exists already", _there),
        ("a target without a name", "--out ''", r"--out|exists already"),
        ("a share of one", "--validation-fraction 1", r"validation.fraction"),
        ("a share below zero", "--validation-fraction=-0.1", r"validation.fraction"),
        ("a share of NaN", "--validation-fraction nan", r"validation.fraction"),
        ("a seed below zero", "--split-seed=-1", r"split.seed"),
        ("a seed beyond its type", f"--split-seed {2**64}", r"split.seed"),
        ("a name for a name of nothing", "--rename x", r"--rename: found 'x', expected NAME=NAME"),
        ("a name twice", "--rename a=b a=c", r"--rename: 'a' is given twice"),
        ("a name without its end", "--rename a=", r"--rename"),
        ("names that the source has no use for", "--rename a=b", r"rename"),
        ("a timing that it has no use for", "--success-timing pre", r"success.timing"),
        ("an observation key of no dictionary", "--observation x", r"observations are no dictionary"),
        # reward functions
        ("no file behind a function", "--reward nowhere.py:f", r"--reward: nowhere\.py: no such file"),
        ("a function without a file", "--reward f", r"--reward: found 'f', expected FILE\.py:FUNCTION"),
        ("a file that is no module", "--reward reward.txt:f", r"--reward: reward\.txt", _reward("f = 1", "reward.txt")),
        ("a file that does not compile", "--reward reward.py:f", r"--reward: reward\.py.*SyntaxError", _reward("def")),
        (
            "a file that raises",
            "--reward reward.py:f",
            r"--reward: reward\.py.*KeyError",
            _reward("{{}}[1]".replace("{{", "{").replace("}}", "}")),
        ),
        ("a file that ends the process", "--reward reward.py:f", r"--reward", _reward("raise SystemExit(0)")),
        (
            "a function that is not there",
            "--reward reward.py:f",
            r"no function 'f'; it has g",
            _reward("def g(e): pass"),
        ),
        ("a number for a function", "--reward reward.py:f", r"no function 'f'", _reward("f = 3")),
        ("a function that raises", "--reward reward.py:f", r"reward", _reward("def f(e): return e.nosuch")),
        (
            "a function that ends the process",
            "--reward reward.py:f",
            r"reward",
            _reward("def f(e): raise SystemExit(3)"),
        ),
        ("a function of no argument", "--reward reward.py:f", r"reward", _reward("def f(): pass")),
        ("a function that returns nothing", "--reward reward.py:f", r"expected an Episode", _reward("def f(e): pass")),
        (
            "a function that returns a number",
            "--reward reward.py:f",
            r"expected an Episode",
            _reward("def f(e): return 1"),
        ),
        ("rewards of text", "--reward reward.py:f", r"reward", _reward(f"{_REPLACE}'far')")),
        ("rewards of NaN", "--reward reward.py:f", r"reward", _reward(f"{_REPLACE}np.full(len(episode), np.nan))")),
        ("rewards too few", "--reward reward.py:f", r"reward", _reward(f"{_REPLACE}np.zeros(1))")),
        (
            "rewards that are objects",
            "--reward reward.py:f",
            r"reward",
            _reward(f"{_REPLACE}np.array([dict()] * len(episode)))"),
        ),
        (
            "a file called as a module",
            "--reward numpy.py:g",
            r"no function 'g'",
            _reward("def f(e): return e", "numpy.py"),
        ),
    ),
    *table(
        "inspect",
        ("nothing there", "nowhere", r"nowhere"),
        ("an empty folder", "there", r"there", _there),
        ("a run", "{run}", r"dataset\.json"),
        ("no name", "''", r"dataset\.json|DATASET"),
        ("a NUL", "'a\0b'", r"a\\x00b|DATASET|null"),
        ("a run's name too long", "x" * 5000, r"x{50}|[Nn]ame too long"),
    ),
]
