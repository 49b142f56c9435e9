"""One job of `finetune.py`: the commands of a user, one after the other, and the curve that their runs leave."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import _common as bench
import _stored as stored
from _finetune_tasks import LOGS_FROM_THE_START, METHODS, OFFLINE_THEN_ONLINE, POINTS, TASKS, Method, Task
from _learning_tasks import REPOSITORY, data_folder

from cluster.run_folder import RunFolder

STARTUP_SECONDS = 8.0
"""Roughly, of a command: imports, opening the data, the first environments."""


@dataclass(frozen=True)
class Job:
    task: str
    method: str
    way: str
    seed: int

    def __str__(self) -> str:
        return f"{self.task} {self.method} {self.way} seed {self.seed}"

    @property
    def parts(self) -> tuple[Task, Method]:
        return TASKS[self.task], METHODS[self.method]

    @property
    def offline_steps(self) -> int:
        task, method = self.parts
        if self.way != OFFLINE_THEN_ONLINE:
            return 0
        return method.offline_steps.get(task.name, task.offline_steps)

    def commands(self, log: str = "LOG", offline: str = "OFFLINE", online: str = "ONLINE") -> list[list[str]]:
        """What `quiver` is called with, on the dataset `log`, to make the runs `offline` and `online`.

        Of all online stages the budget is the same number of environment steps; evaluations divide it evenly.
        """
        task, method = self.parts
        same = ["--seed", str(self.seed), "--threads", "1", "--serial", "--validate-every", "0"]
        knobs = method.knobs.get(task.name, ())
        evaluated = [*task.environment, "--eval-episodes", str(task.episodes)]
        updates = task.env_steps * method.updates_per_step
        calls = []
        if self.way == OFFLINE_THEN_ONLINE:
            learned = ["--algo", method.name, "--steps", str(self.offline_steps), *knobs]
            calls.append(["train", "--dataset", log, *task.weakened, "--run", offline, *learned, *evaluated, *same])
            begun = ["--from", offline, *method.online.get(task.name, ())]
        else:
            logs = ["--dataset", log, *task.weakened] if self.way == LOGS_FROM_THE_START else []
            begun = ["--algo", method.name, *logs, *knobs, *evaluated]
        budget = ["--env-steps", str(task.env_steps), "--updates-per-step", f"{method.updates_per_step:g}"]
        cadence = ["--eval-every", f"{updates / POINTS:.0f}"]
        calls.append(["finetune", *begun, "--run", online, *budget, *cadence, *same])
        return calls


def log_of(task: Task, data: Path | None, work: Path) -> Path:
    """The task's dataset, ingested at the first time and kept in `work`. Raises as `run`."""
    out = work / "logs" / task.name
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        reader, _, file = task.source.partition(":")
        call(ingestion(task, f"{reader}:{data_folder(data) / file}", str(out), REPOSITORY), out.with_suffix(".txt"))
    return out


def ingestion(task: Task, source: str, log: str = "LOG", repository: Path = Path()) -> list[str]:
    """What `quiver` is called with to make the dataset `log`."""
    reward = ["--reward", str(repository / task.reward)] if task.reward else []
    return ["ingest", source, "--out", log, *task.ingested, *reward]


def path_of(folder: Path, job: Job) -> Path:
    return folder / job.task / f"{job.method}-{job.way}-seed{job.seed}.json"


def stored_result(folder: Path, job: Job) -> tuple[dict[str, Any] | None, str]:
    """The result of the job as it is planned now; or None, and why there is none."""
    result = stored.load(path_of(folder, job))
    if result is None:
        return None, "not run"
    if "error" in result:
        return None, f"failed ({result['error']})"
    if result["commands"] != job.commands():
        return None, "not run with these commands"
    return result, ""


def expected_seconds(job: Job) -> float:
    task, method = job.parts
    steps = task.env_steps * method.updates_per_step + job.offline_steps
    interaction = task.env_steps * task.milliseconds / 1e3 + (POINTS + 2) * task.evaluation_seconds
    return 2 * STARTUP_SECONDS + steps * method.milliseconds[task.name] / 1e3 + interaction


def run(job: Job, log: Path, work: Path) -> dict[str, Any]:
    """Runs the commands in a new folder below `work`; the result as it is stored. `log` is the task's dataset.

    Raises `RuntimeError` with its last line where one of them fails.
    """
    folder = path_of(work, job).with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    began = time.perf_counter()
    machine = bench.machine()
    for arguments in job.commands(str(log), str(folder / "offline"), str(folder / "online")):
        call(arguments, folder / "output.txt")
    task, _ = job.parts
    return {
        **asdict(job),
        "commands": job.commands(),
        "metric": task.metric,
        "curve": curve(folder / "online", task),
        "fresh": fresh(folder / "online"),
        "seconds": round(time.perf_counter() - began, 1),
        "versions": bench.versions(),
        "machine": machine,
    }


def call(arguments: Sequence[str], output: Path) -> None:
    """`quiver` in a process of its own, with one thread; what it prints is added to `output`."""
    quiver = Path(sys.executable).with_name("quiver")
    with output.open("a") as file:
        ended = subprocess.run(
            [str(quiver), *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
        )
    if ended.returncode:
        lines = output.read_text().strip().splitlines() or [""]
        raise RuntimeError(f"quiver {arguments[0]} ended with {ended.returncode}: {lines[-1]}")


def curve(run: Path, task: Task) -> list[dict[str, float]]:
    """Scores by environment steps, in units of the task's reference; the first is that of the policy it began with."""
    records = [record for record in RunFolder(run).read_metrics() if record["kind"] == "evaluation"]
    return [
        {"step": record["step"], "env_steps": record["env_steps"], "score": record[task.metric] / task.reference}
        for record in sorted(records, key=lambda record: record["step"])
    ]


def fresh(run: Path) -> dict[str, Any]:
    """How much the runner gathered, by the store's own count."""
    summary = json.loads((run / "summary.json").read_text())
    return {name: summary[name] for name in ("env_steps", "fresh_episodes", "duplicates")}
