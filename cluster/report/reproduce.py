"""The commands that do a run again, from its configuration."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

import learners
from cluster.effects import Situation, idle
from cluster.options import Cadence, OnlineRecipe, Recipe, Role, Topology
from cluster.run_record import read_recipe, read_topology
from cluster.settings import WHOLE
from cluster.stages import recorded

_SPELLED_APART = {"datasets", "algorithm", "knobs", "fused", "seed", "steps"}
_ROLES = {"replay_shards": "shards", "bellman_updaters": "updaters", "learners": "learners"}


def train_command(config: Mapping[str, Any], run: str) -> str:
    """`quiver train …`, or `quiver finetune …`, with everything that is not a default; `run` is the folder it should
    write."""
    recipe = read_recipe(config["recipe"], "config.json")
    online = config.get("online")
    words = ["quiver", "train" if online is None else "finetune"]
    stages = recorded(config)
    whole = next((stage for stage in stages if stage.name == WHOLE and online is not None), None)
    for path, weight in recipe.datasets:
        words += _option("dataset", path if weight is None else f"{path}={weight:g}")
    if whole is not None:
        words += [*_option("from", whole.run), *_option("checkpoint", whole.checkpoint)]
    else:
        words += ["--algo", recipe.algorithm]
    words += [word for stage in stages if stage is not whole for word in _option("init", stage)]
    words += ["--run", run, *(["--steps", str(recipe.steps)] if online is None else _interaction(online))]
    words += ["--seed", str(recipe.seed)]
    topology = read_topology(config["topology"], "config.json")
    interaction = None if online is None else OnlineRecipe(**online)
    evaluates = bool(config.get("environment"))
    now = Situation(recipe, topology, Cadence(**config["cadence"]), interaction, evaluates, begins=whole is not None)
    without = set(idle(now))
    words += _options(config["recipe"], Recipe, _SPELLED_APART | without)
    knobs = learners.config_class(recipe.algorithm)
    words += _options(recipe.knobs, knobs, set())
    words += _options(config["cadence"], Cadence, without)
    roles = _ROLES if online is None else {**_ROLES, "env_runners": "runners"}
    apart = {entry.name for entry in fields(Topology) if isinstance(entry.default, Role)}
    words += _options(config["topology"], Topology, apart | without)
    for role, option in roles.items():
        count = 0 if role == "bellman_updaters" and recipe.fused else getattr(topology, role).count
        if count != getattr(Topology(), role).count:
            words += [f"--{option}", str(count)]
    return shlex.join(words + _environment(config.get("environment")))


def _interaction(online: Mapping[str, Any]) -> list[str]:
    """All of it: the defaults are the algorithm's, and may change."""
    words = ["--share", "all" if online.get("share") is None else str(online["share"])]
    for entry in fields(OnlineRecipe):
        value = online.get(entry.name)
        if entry.name == "share" or value is None:
            continue
        option = entry.name.replace("_", "-")
        words += [f"--{option}" if value else f"--no-{option}"] if isinstance(value, bool) else _option(option, value)
    return words


def evaluate_command(config: Mapping[str, Any], run: str) -> str | None:
    """`quiver evaluate …`, where the run has an environment."""
    if not config.get("environment"):
        return None
    cadence = Cadence(**config["cadence"])
    words = ["quiver", "evaluate", run, *_environment(config["environment"])]
    words += ["--episodes", str(cadence.eval_episodes)]
    words += ["--stochastic"] if cadence.eval_stochastic else []
    return shlex.join(words)


def _options(values: Mapping[str, Any], kind: type[Any], but: set[str]) -> list[str]:
    """The entries of a dataclass that are not its defaults, as options of the command line."""
    words = []
    for entry in fields(kind):
        if entry.name in but or entry.name not in values:
            continue
        default = entry.default_factory() if entry.default_factory is not MISSING else entry.default
        value = values[entry.name]
        if value is None or value == default or (isinstance(value, list) and tuple(value) == default):
            continue
        option = f"--{entry.name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(option if value else f"--no-{option[2:]}")
        elif isinstance(value, list | tuple):
            words += [option, *map(str, value)]
        else:
            words += _option(option[2:], value)
    return words


def _environment(environment: Mapping[str, Any] | None) -> list[str]:
    if not environment:
        return []
    words = _option("env", environment["id"])
    for key in ("kwargs", "reset_options"):
        if environment.get(key):
            words += [f"--{'env-kwargs' if key == 'kwargs' else 'reset-options'}", json.dumps(environment[key])]
    if environment.get("observation_key"):
        words += _option("observation-key", environment["observation_key"])
    return words


def _option(name: str, value: Any) -> list[str]:
    """An option and its value; as one word where the value, which may be anybody's, looks like an option itself."""
    text = str(value)
    return [f"--{name}={text}"] if text.startswith("--") else [f"--{name}", text]
