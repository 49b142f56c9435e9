"""`quiver evaluate` and `quiver report`: runs and environments that do not fit."""

from __future__ import annotations

from pathlib import Path

from tests.bad_inputs.rows import Material, Row, table


def _empty(folder: Path, material: Material) -> None:
    (folder / "empty").mkdir()


def _file(folder: Path, material: Material) -> None:
    (folder / "file").write_text("x")


ROWS: list[Row] = [
    *table(
        "evaluate",
        ("no run there", "nowhere", r"nowhere/config\.json: not found"),
        ("an empty folder", "empty", r"empty/config\.json: not found", _empty),
        ("a file", "file", r"file", _file),
        ("a dataset", "{data}", r"config\.json: not found"),
        ("no name", "''", r"config\.json|RUN"),
        ("a NUL", "'a\0b'", r"a\\x00b|RUN|null"),
    ),
    *table(
        "evaluate {run} --episodes 1",
        ("a checkpoint that is not there", "--checkpoint step-5", r"no checkpoint 'step-5'; found step-000000004"),
        ("a checkpoint that is none", "--checkpoint newest", r"no checkpoint 'newest'|--checkpoint"),
        ("a checkpoint of no letters", "--checkpoint ''", r"checkpoint"),
        ("a checkpoint below zero", "--checkpoint step--4", r"checkpoint"),
        ("a checkpoint of many digits", f"--checkpoint step-{'9' * 5000}", r"checkpoint"),
        ("a way out", "--checkpoint ../../x", r"checkpoint"),
        ("no episodes", "--episodes 0", r"episodes"),
        ("episodes below zero", "--episodes=-3", r"episodes"),
        ("a seed below zero", "--seed=-1", r"seed"),
        ("a seed beyond its type", f"--seed {2**63}", r"seed"),
        ("a seed whose last episode is beyond it", f"--seed {2**63 - 1} --episodes 2", r"seed"),
        ("a device that is none", "--device tpu", r"--device|tpu"),
        ("a device of no letters", "--device ''", r"--device"),
        ("no such environment", "--env Pendulum-v9", r"Pendulum-v9"),
        ("an environment of another shape", "--env CartPole-v1", r"CartPole-v1"),
        ("an environment of another observation", "--env MountainCarContinuous-v0", r"MountainCarContinuous-v0"),
        ("arguments without an environment", "--env-kwargs '{{}}'", r"--env-kwargs: goes with --env"),
        ("reset options without an environment", "--reset-options '{{}}'", r"--reset-options: goes with --env"),
        ("arguments that are no JSON", "--env Pendulum-v1 --env-kwargs x", r"--env-kwargs: found 'x'"),
        ("a module that is not there", "--env nosuch:X-v0", r"nosuch"),
    ),
    *table(
        "report",
        ("no run there", "nowhere", r"nowhere/config\.json: not found"),
        ("an empty folder", "empty", r"empty/config\.json: not found", _empty),
        ("a file", "file", r"file", _file),
        ("a dataset", "{data}", r"config\.json: not found"),
    ),
]
