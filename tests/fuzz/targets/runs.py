"""Run folders: configuration, checkpoints, metrics and what else is read to go on, to score and to report."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from replay import Box, DatasetWriter, Episode, Spaces
from tests.fuzz.mutations import seals
from tests.fuzz.mutations.bytes import in_files
from tests.fuzz.mutations.files import in_folder
from tests.fuzz.mutations.values import in_json, in_json_lines
from tests.fuzz.target import Mutation, Target

SPACES = Spaces(Box((3,)), Box((1,), low=(-2.0,), high=(2.0,)))
"""Of Pendulum-v1, which is part of gymnasium."""
SMALL = ["--hidden", "8", "--batch-size", "4", "--chunk-steps", "2", "--serial", "--device", "cpu"]
PENDULUM = ["--env", "Pendulum-v1", "--env-kwargs", '{"max_episode_steps": 4}', "--eval-episodes", "1"]
QUIET = ["--log-every", "2", "--validate-every", "0", "--checkpoint-every", "4"]


def quiver(*words: str) -> None:
    """A command, in this process. Raises what goes wrong."""
    from cluster import cli

    os.environ["QUIVER_TRACEBACK"] = "1"
    if cli.main(words):
        raise SystemExit(2)


# --- Good inputs ---


def make_run(folder: Path) -> None:
    """A dataset in `data`, and in `run` a policy trained on it for eight steps, with two checkpoints."""
    _dataset(folder / "data")
    rest = [*SMALL, *PENDULUM, *QUIET]
    quiver("train", "--dataset", f"{folder}/data", "--algo", "bc", "--run", f"{folder}/run", "--steps", "8", *rest)
    _settle(folder / "run")


def make_finetuned(folder: Path) -> None:
    """The same, and in `online` a run that went on from it, whose folder becomes `run`."""
    _dataset(folder / "data")
    where = ["--run", f"{folder}/offline", "--steps", "4", *SMALL, *PENDULUM, *QUIET]
    quiver("train", "--dataset", f"{folder}/data", "--algo", "iql", *where)
    words = ["--env-steps", "16", "--rollout-steps", "4", "--updates-per-step", "0.5", "--checkpoint-every", "4"]
    rest = [*SMALL[2:], *PENDULUM[:4], "--eval-episodes", "0", *QUIET[:4]]
    quiver("finetune", "--from", f"{folder}/offline", "--run", f"{folder}/run", *words, *rest)
    shutil.rmtree(folder / "offline")
    _settle(folder / "run")


def _dataset(folder: Path) -> None:
    rng = np.random.default_rng(0)
    with DatasetWriter(folder, SPACES, provenance={"source": "a fuzzer"}, validation_fraction=0) as writer:
        for number in range(6):
            ends = np.array([0, 0, 0, 1], np.uint8)
            writer.add(
                Episode(
                    observation=rng.standard_normal((5, 3)).astype(np.float32),
                    action=rng.uniform(-1, 1, (4, 1)).astype(np.float32),
                    reward=rng.uniform(0, 1, 4).astype(np.float32),
                    terminated=ends if number % 2 else 0 * ends,
                    truncated=0 * ends if number % 2 else ends,
                )
            )
        writer.finish()


def _settle(run: Path) -> None:
    """Takes out what is another in each run: its id, times, and what is named after them."""
    shutil.rmtree(run / "tensorboard")
    for name in (".lock", "report.html"):
        (run / name).unlink(missing_ok=True)
    for path in [run / "config.json", run / "summary.json"]:
        path.write_text(json.dumps(_steady(json.loads(path.read_text()))))
    metrics = run / "metrics.jsonl"
    lines = [_steady(json.loads(line)) for line in metrics.read_text().splitlines()]
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for path in run.glob("checkpoints/*/checkpoint.json"):
        record = _steady(json.loads(path.read_text()))
        record |= {"run": "0" * 16, "metrics_offset": metrics.stat().st_size}
        path.write_text(json.dumps(record))
    seals.checkpoint(run)


def _steady(record: Any) -> Any:
    if isinstance(record, dict):
        known = {"id": "0" * 16} if "recipe" in record else {}
        steady = {name: _steady(value) for name, value in record.items()} | known
        return {name: 1.5 if "second" in name and isinstance(value, float) else value for name, value in steady.items()}
    return [_steady(value) for value in record] if isinstance(record, list) else record


# --- Doors ---


def policy(folder: Path) -> Any:
    """The policy acts."""
    from cluster.policy import load_policy

    algorithm, config = load_policy(folder / "run")
    state = {name: tensor.numpy() for name, tensor in algorithm.state_dict().items()}
    action, _ = algorithm.act(np.full((1, 3), 0.5, np.float32), None, key=(0, 0), deterministic=True)
    return [state, np.asarray(action), config["recipe"]["algorithm"]]


def evaluated(folder: Path) -> Any:
    """`quiver evaluate` where the run evaluated."""
    from cluster.commands import evaluate

    with contextlib.redirect_stdout(None):
        return evaluate.run(evaluate.parse([f"{folder}/run", "--episodes", "1", "--json"]))


def resumed(folder: Path) -> Any:
    """The run goes on by two steps."""
    quiver("train", "--dataset", f"{folder}/data", "--run", f"{folder}/run", "--resume", "--steps", "10")
    return policy(folder)


def gone_on(folder: Path) -> Any:
    """The fine-tuning run goes on by a few environment steps."""
    quiver("finetune", "--dataset", f"{folder}/data", "--run", f"{folder}/run", "--resume", "--env-steps", "20")
    return policy(folder)


def reported(folder: Path) -> Any:
    """`quiver report`, and the page."""
    quiver("report", f"{folder}/run")
    return (folder / "run" / "report.html").read_text()


CHECKPOINT = "run/checkpoints/step-000000008"
NAMES = r"/input\b|config\.json|--[a-z]"
MODULES = ("cluster.commands.train", "cluster.commands.finetune", "cluster.commands.evaluate", "cluster.report.page")
HEAVY = (
    "cluster.train",
    "cluster.finetune",
    "cluster.policy",
    "cluster.backends.serial_backend",
    "envs",
    "learners.bc",
)


def _target(
    name: str,
    door: Callable[[Path], Any],
    *mutations: Mutation,
    make: Callable[[Path], None] = make_run,
    share: float = 1.0,
    **options: Any,
) -> Target:
    options.setdefault("writes", door in (resumed, gone_on))
    modules: Sequence[str] = (*MODULES, *HEAVY, "learners.iql", "torch.utils.tensorboard", "torch._dynamo")
    return Target(name, make, mutations, door, names=NAMES, share=share, modules=tuple(modules), **options)


def _sealed(folder: Path) -> None:
    seals.checkpoint(folder / "run")


def _sealed_store(folder: Path) -> None:
    seals.journal(folder / "run" / "online")


CONFIG = (
    in_json("run/config.json"),
    in_json("run/config.json"),
    in_json("run/config.json"),
    in_files("run/config.json"),
)
RECORDS = (in_json(f"{CHECKPOINT}/checkpoint.json"), in_files(f"{CHECKPOINT}/checkpoint.json"))
TENSORS = (in_files(f"{CHECKPOINT}/learner.safetensors"), in_files(f"{CHECKPOINT}/pipeline.safetensors"))
METRICS = (in_json_lines("run/metrics.jsonl"), in_json_lines("run/metrics.jsonl"), in_files("run/metrics.jsonl"))

TARGETS = [
    _target("config.policy", policy, *CONFIG),
    _target("config.evaluate", evaluated, *CONFIG),
    _target("config.resume", resumed, *CONFIG, share=0.5),
    _target("config.report", reported, *CONFIG),
    _target("checkpoint.json", policy, *RECORDS, guarded=True),
    _target(
        "checkpoint.json.sealed",
        resumed,
        in_json(f"{CHECKPOINT}/checkpoint.json", _sealed),
        share=0.5,
    ),
    _target("safetensors", policy, *TENSORS, guarded=True),
    _target("learner.sealed", policy, in_files(f"{CHECKPOINT}/learner.safetensors", _sealed)),
    _target("pipeline.sealed", resumed, in_files(f"{CHECKPOINT}/pipeline.safetensors", _sealed), share=0.5),
    _target("latest", policy, in_files("run/checkpoints/LATEST"), in_folder("checkpoints/LATEST"), share=0.5),
    _target("run.files", resumed, in_folder("run/*"), in_folder("step-000000008/*"), in_folder("run/*/*"), share=0.5),
    _target("metrics.report", reported, *METRICS),
    _target("metrics.resume", resumed, *METRICS, share=0.3),
    _target("summary.report", reported, in_json("run/summary.json"), in_files("run/summary.json")),
    _target("run.files.report", reported, in_folder("run/*"), share=0.5),
    _target(
        "finetuned.report",
        reported,
        *CONFIG,
        *METRICS,
        in_json("run/summary.json"),
        in_files("run/*.jsonl"),
        make=make_finetuned,
    ),
    _target("finetuned.config", gone_on, *CONFIG, make=make_finetuned, share=0.3),
    _target(
        "finetuned.records",
        gone_on,
        in_json_lines("run/snapshots.jsonl"),
        in_files("run/snapshots.jsonl"),
        in_json_lines("run/episodes.jsonl"),
        in_folder("run/*"),
        in_folder("online/*"),
        make=make_finetuned,
        share=0.5,
    ),
    _target(
        "finetuned.store",
        gone_on,
        in_json_lines("run/online/journal.jsonl", _sealed_store),
        in_json("run/online/store.json"),
        in_files("online/segments/*.arrow", _sealed_store),
        make=make_finetuned,
        share=0.5,
    ),
]
