"""One job of `learning.py`: a method trained on a task by one library from one seed, scored on the way."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import _common as bench
import numpy as np
from _learning_methods import METHODS, Method
from _learning_tasks import TASKS, Task
from _learning_trainer import PROBE_ROWS, PROBE_SEED, Trainer

import envs
import replay
from cluster.roles.evaluator import in_units_of_q
from replay import Batch, Dataset, Request

QUIVER, D3RLPY = LIBRARIES = ("quiver", "d3rlpy")
POINTS = 5
"""Evaluations, evenly spaced; the last one is the score."""
EVALUATION_SEED = 1_000
STARTUP_SECONDS = 8.0
"""Roughly: imports, opening the data, the first environments."""


@dataclass(frozen=True)
class Job:
    task: str
    method: str
    library: str
    seed: int

    def __str__(self) -> str:
        return f"{self.task} {self.method} {self.library} seed {self.seed}"

    @property
    def parts(self) -> tuple[Task, Method]:
        return TASKS[self.task], METHODS[self.method]


def settings(job: Job, steps_scale: float) -> dict[str, Any]:
    """All that the outcome of a job is meant to depend on, its seed apart; in JSON's types."""
    task, method = job.parts
    knobs = method.knobs_for(task)
    found = {
        "steps": max(POINTS, round(task.steps * method.budget * steps_scale)),
        "batch": method.batch,
        "reward": {"scale": knobs["reward_scale"], "shift": knobs["reward_shift"]},
        "knobs": knobs if job.library == QUIVER else method.peer_options(knobs),
        "environment": task.environment.to_json(),
        "evaluation": {"episodes": task.episodes, "seed": EVALUATION_SEED, "points": POINTS},
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def expected_seconds(job: Job, steps: int) -> float:
    task, method = job.parts
    milliseconds = method.milliseconds[LIBRARIES.index(job.library)]
    return STARTUP_SECONDS + steps * milliseconds / 1e3 + POINTS * task.evaluation_seconds


def run(job: Job, data: Path, steps_scale: float, device: str) -> dict[str, Any]:
    """Trains and scores; the result as it is stored. `data` is the task's dataset."""
    import torch

    bench.quiet()
    torch.set_num_threads(1)
    began = time.perf_counter()
    task, method = job.parts
    said = settings(job, steps_scale)
    knobs = method.knobs_for(task)
    request = Request(**{name: knobs[name] for name in ("discount", "reward_scale", "reward_shift")})
    dataset = replay.open(data)
    with_return = replace(request, columns=("return_to_go",))
    probe = dataset.sample(seed=PROBE_SEED, sequence=0, count=PROBE_ROWS, request=with_return)
    trainer = _trainer(job, dataset, request, probe, device)
    curve, training = [], 0.0
    with envs.Evaluator(task.environment) as evaluator:
        for point in range(POINTS):
            start, stop = (said["steps"] * number // POINTS for number in (point, point + 1))
            clock = time.perf_counter()
            trainer.train(start, stop)
            training += time.perf_counter() - clock
            found = evaluator.run(trainer.act, episodes=task.episodes, seed=EVALUATION_SEED, discount=request.discount)
            score = found.success_rate if task.metric == "success" else found.return_mean
            curve.append({"step": stop, "score": score, "return": found.return_mean})
    values = trainer.values()
    return {
        **asdict(job),
        "settings": said,
        "metric": task.metric,
        "curve": curve,
        "last": curve[-1]["score"],
        "values": {
            "q_data": _finite(values.q_data),
            "q_policy": _finite(values.q_policy),
            "return_to_go": float(np.mean(probe.extras["return_to_go"])),
            "achieved": in_units_of_q(found, request),
        },
        "seconds": round(time.perf_counter() - began, 1),
        "training_seconds": round(training, 1),
        "device": device,
        "versions": bench.versions(*(["d3rlpy"] if job.library == D3RLPY else [])),
        "machine": bench.machine(),
    }


def _trainer(job: Job, dataset: Dataset, request: Request, probe: Batch[np.ndarray], device: str) -> Trainer:
    task, method = job.parts
    if job.library == QUIVER:
        from _learning_quiver import QuiverTrainer

        return QuiverTrainer(dataset, method, task, seed=job.seed, device=device)
    from _learning_d3rlpy import D3rlpyTrainer

    options = method.peer_options(method.knobs_for(task))
    return D3rlpyTrainer(dataset, options, method.batch, request, probe, seed=job.seed, device=device)


def _finite(value: float | None) -> float | None:
    """JSON has no NaN: a value that diverged is left out."""
    return value if value is None or math.isfinite(value) else None
