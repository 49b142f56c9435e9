"""`quiver collect`: environments, policies and targets that do not fit."""

from __future__ import annotations

from pathlib import Path

from tests.bad_inputs.rows import Material, Row, table


def _there(folder: Path, material: Material) -> None:
    (folder / "there").mkdir()


def _file(folder: Path, material: Material) -> None:
    (folder / "file").write_text("x")


ROWS: list[Row] = table(
    "collect --env Pendulum-v1 --policy random --episodes 1 --out new",
    ("a target that is there", "--out there", r"there: exists already", _there),
    ("a target below a file", "--out file/new", r"file", _file),
    ("a target without a name", "--out ''", r"--out|exists already"),
    ("a target in a folder that is not there", "--out /nowhere/deep/new\0", r"new|--out|null"),
    ("no such environment", "--env Pendulum-v9", r"Pendulum-v9"),
    ("an environment of no letters", "--env ''", r"environment|--env"),
    ("a policy that is none", "--policy best", r"--policy: found 'best'"),
    ("a policy of no letters", "--policy ''", r"--policy"),
    ("a dataset for a policy", "--policy {data}", r"--policy"),
    ("a policy of another shape", "--policy {run} --env CartPole-v1", r"CartPole-v1|observation|action"),
    ("no controller for the environment", "--policy scripted", r"scripted|Pendulum-v1"),
    ("a checkpoint that is not there", "--policy {run} --checkpoint step-5", r"no checkpoint 'step-5'"),
    ("no episodes", "--episodes 0", r"--episodes: found 0"),
    ("episodes below zero", "--episodes=-2", r"--episodes: found -2"),
    ("a random policy that is stochastic", "--stochastic", r"--stochastic"),
    ("a noise below zero", "--noise=-0.1", r"noise"),
    ("a noise of NaN", "--noise nan", r"noise"),
    ("a noise without end", "--noise inf", r"noise"),
    ("a probability above one", "--random-probability 2", r"random.probability"),
    ("a share of one", "--validation-fraction 1", r"validation.fraction"),
    ("a share of NaN", "--validation-fraction nan", r"validation.fraction"),
    ("a seed below zero", "--seed=-1", r"seed"),
    ("a seed beyond its type", f"--seed {2**63}", r"seed"),
    ("arguments that are no JSON", "--env-kwargs {{", r"--env-kwargs"),
    ("arguments that it has not", "--env-kwargs '{{\"x\": 1}}'", r"Pendulum-v1"),
    ("a step limit below zero", "--env-kwargs '{{\"max_episode_steps\": -1}}'", r"max_episode_steps"),
    ("reset options that it cannot use", '--reset-options \'{{"x_init": "far"}}\'', r"Pendulum-v1|reset"),
    ("reset options without end", "--reset-options '{{\"x_init\": Infinity}}'", r"Pendulum-v1|reset"),
    ("an observation key of no dictionary", "--observation-key x", r"observation"),
)
