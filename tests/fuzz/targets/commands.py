"""What people write: the words of each command, expressions, JSON in options, and a cluster's YAML."""

from __future__ import annotations

import importlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

import replay
from replay.where import NAMES as COLUMNS
from replay.where import select
from tests.fuzz.mutations.bytes import in_files
from tests.fuzz.mutations.files import in_folder
from tests.fuzz.mutations.values import changed, in_json, text
from tests.fuzz.mutations.words import in_expression, in_lines
from tests.fuzz.target import Target
from tests.fuzz.targets import datasets, runs

ROOT = Path(__file__).parents[3]

# --- Expressions and JSON ---


def make_where(folder: Path) -> None:
    (folder / "where").write_text("return > 1.5 and ( success == 1 or 'task 0' in task ) and not length < 3")
    (folder / "data").mkdir()
    datasets.make_dataset(folder / "data")


def selected(folder: Path) -> Any:
    written = (folder / "where").read_bytes().decode("utf-8", "surrogateescape")
    return select(written, replay.open(folder / "data").episodes)


def make_kwargs(folder: Path) -> None:
    (folder / "json").write_text(json.dumps({"max_episode_steps": 5, "g": 9.5}))


def made(folder: Path) -> Any:
    """An environment with these arguments is made, and takes two steps."""
    return _stepped(folder, None)


def make_resets(folder: Path) -> None:
    (folder / "json").write_text(json.dumps({"x_init": 0.5, "y_init": 0.25}))


def reset(folder: Path) -> Any:
    """An environment is reset with these options."""
    return _stepped(folder, "resets")


def _stepped(folder: Path, resets: str | None) -> Any:
    import envs
    from cluster.commands.options import required_environment

    written = (folder / "json").read_bytes().decode("utf-8", "surrogateescape")
    kwargs, options = (None, written) if resets else (written, None)
    env = envs.make(required_environment("Pendulum-v1", kwargs, options, None))
    try:
        seen = [env.reset(seed=0)[0]]
        return seen + [env.step(np.zeros(1, np.float32))[:4] for _ in range(2)]
    finally:
        env.close()


# --- A cluster's YAML ---


def make_cluster(folder: Path) -> None:
    shutil.copy(ROOT / "ray_config.yaml", folder / "cluster.yaml")


def topology(folder: Path) -> Any:
    from cluster.topology import read_topology

    return asdict(read_topology(folder / "cluster.yaml"))


def in_yaml(folder: Path, random: Random) -> str:
    """A value of the topology's part becomes another; the file is JSON then, which YAML holds."""
    import yaml

    path = folder / "cluster.yaml"
    document = yaml.safe_load(path.read_text())
    part, done = changed(document["metadata"]["quiver"], random)
    document["metadata"]["quiver"] = part
    path.write_text(text(document))
    return done


def in_yaml_lines(folder: Path, random: Random) -> str:
    """What YAML has and JSON has not: anchors that multiply, tags, other documents."""
    path = folder / "cluster.yaml"
    lines = path.read_text().splitlines()
    layers = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]" for n in range(12)]
    new = random.choice(
        (
            "\n".join(layers),
            "? [a]\n: b",
            "!!python/object/apply:os.system ['true']",
            "--- other",
            "x: 2026-02-30",
            "x: !!binary '!'",
            "<<: *nothing",
            "metadata: &m {quiver: *m}",
            "\t",
            "'",
            "x: 0o9",
            "%YAML 9.9",
            "- - - -",
            "metadata: {quiver: {roles: {learners: {count: 1_0}}}}",
        )
    )
    place = random.randrange(len(lines))
    lines.insert(place, new)
    path.write_text("\n".join(lines))
    return f"{new[:40]!r} before line {place}"


# --- Command lines ---

WORDS: Mapping[str, str] = {
    "train": "--dataset data --algo iql --run new --steps 100 --batch-size 16 --where return>0 --serial --hidden 8 8"
    " --learning-rate 0.001 --seed 3 --split train --env Pendulum-v1 --env-kwargs {} --eval-every 10 --threads 1",
    "finetune": "--from run --run new --env-steps 100 --share 0.5 --final-share 0.9 --updates-per-step 2 --noise 0.1"
    " --runners 2 --capacity 1000 --serial --env Pendulum-v1 --min-return -5 --vectorization sync",
    "evaluate": "run --episodes 1 --seed 3 --checkpoint latest --device cpu --json",
    "collect": "--env Pendulum-v1 --policy random --episodes 1 --out new --noise 0.1 --seed 3 --env-kwargs"
    ' {"max_episode_steps":4} --validation-fraction 0.5 --licence MIT',
    "ingest": "data --out new --validation-fraction 0.1 --split-seed 3 --collected-by robot --licence MIT --quarantine",
    "inspect": "data --verify --json",
    "report": "run",
}
OPTIONS = (
    "--resume",
    "--resume-from",
    "--address",
    "--config",
    "--stage",
    "--updaters",
    "--keep",
    "--observation-key",
    "--dataset",
    "--algo",
    "--rename",
    "--reward",
    "--quarantine",
    "--serial",
    "data",
    "run",
    "data=0.5",
    "qtopt",
    "step-4",
    "ogbench:x.npz",
)


def make_words(folder: Path) -> None:
    """The words of each command, and beside them a dataset and a run that they name."""
    runs.make_run(folder)
    for command, words in WORDS.items():
        (folder / f"{command}.words").write_text("".join(f"{word}\n" for word in words.split()))


def _read(folder: Path, command: str) -> list[str]:
    return (folder / f"{command}.words").read_text(errors="surrogateescape").splitlines()


def parsed(command: str) -> Callable[[Path], Any]:
    """The words are read, and settled as far as nothing runs."""

    def door(folder: Path) -> Any:
        os.chdir(folder)
        module = importlib.import_module(f"cluster.commands.{command}")
        options = module.parse(_read(folder, command))
        if command == "train":
            return repr(module.settle(options))
        return repr(options)

    return door


def ran(command: str) -> Callable[[Path], Any]:
    """The command runs."""

    def door(folder: Path) -> Any:
        os.chdir(folder)
        runs.quiver(command, *_read(folder, command))
        return sorted(path.name for path in folder.iterdir())

    return door


def _words(command: str, door: Callable[[Path], Any]) -> Target:
    modules = (*runs.MODULES, *runs.HEAVY, f"cluster.commands.{command}")
    words = f"{command}.words"
    mutations = (in_lines(words, OPTIONS), in_lines(words, OPTIONS), in_files(words))
    return Target(f"words.{command}", make_words, mutations, door, names=".", share=0.5, modules=modules)


def _written(
    name: str, make: Callable[[Path], None], door: Callable[[Path], Any], *mutations: Any, names: str
) -> Target:
    modules = ("cluster.commands.options", "cluster.topology", "envs", "yaml")
    return Target(name, make, mutations, door, names=names, modules=modules)


_TOKENS = (
    *COLUMNS,
    "<",
    "<=",
    "==",
    "!=",
    "in",
    "and",
    "or",
    "not",
    "(",
    ")",
    "[",
    "1",
    "'x'",
    "return_",
    "lambda:",
    ",",
)

TARGETS = [
    _written("where", make_where, selected, in_expression("where", _TOKENS), in_files("where"), names="where"),
    _written("env-kwargs", make_kwargs, made, in_json("json"), in_files("json"), names="--env-kwargs|Pendulum"),
    _written("reset-options", make_resets, reset, in_json("json"), in_files("json"), names="--reset-options|Pendulum"),
    _written(
        "ray-config",
        make_cluster,
        topology,
        in_yaml,
        in_yaml,
        in_yaml_lines,
        in_files("cluster.yaml"),
        in_folder(),
        names=r"cluster\.yaml",
    ),
    _words("train", parsed("train")),
    _words("finetune", parsed("finetune")),
    _words("evaluate", ran("evaluate")),
    _words("collect", ran("collect")),
    _words("ingest", ran("ingest")),
    _words("inspect", ran("inspect")),
    _words("report", ran("report")),
]
