"""What a run tells while it goes on: metrics, curves, a progress bar, Prometheus gauges."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cluster.options import Cadence
from cluster.plain_text import plain_text
from cluster.run_folder import MetricsWriter
from cluster.schedule import Schedule

GAUGES = {
    "step": "Gradient steps done.",
    "steps_total": "Gradient steps that the run ends after.",
    "steps_per_second": "Gradient steps per second since the last record.",
    "staleness_steps": "Gradient steps between the weights that labelled a batch and those that it trained.",
    "learner_restarts": "How often the learner died and was started again from a checkpoint.",
    "return_mean": "Mean return of the newest evaluation.",
    "success_rate": "Share of the newest evaluation's episodes that succeeded, where the environment tells.",
    "normalized_score": "Return of the newest evaluation, 0 and 100 being the dataset's reference scores.",
    # Of fine-tuning.
    "env_steps": "Environment steps in the online store.",
    "fresh_episodes": "Episodes in the online store.",
    "fresh_share": "Share of fresh transitions in the newest batch.",
    "policy_staleness": "Gradient steps that the runners' weights are behind the learner's.",
    "waited_for_data": "Seconds that the learner has waited for fresh data.",
    "runners_busy": "Environment runners that are stepping environments now.",
    "quarantined": "Episodes that were set aside, since something in them was damaged.",
}
"""Every Prometheus gauge of a run: Prometheus shows it as `ray_quiver_NAME`, with the labels of `labels_of`."""

OF_EVALUATIONS = ("return_mean", "success_rate", "normalized_score")

Gauges = Callable[[Mapping[str, float], Mapping[str, str]], None]
"""Sets Prometheus gauges by name, with these labels, where the backend has them."""


def labels_of(run: Path) -> dict[str, str]:
    """What tells a run's gauges from another's: `run`, its folder's name, as text, and `run_id`, eight digits of a hash
    of its path, for folders of one name."""
    path = run.absolute()
    return {"run": plain_text(path.name, keep=""), "run_id": hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}


class Reporter:
    """One run's progress, from the step it starts or goes on at."""

    def __init__(
        self,
        writer: MetricsWriter,
        schedule: Schedule,
        cadence: Cadence,
        console: Console,
        *,
        fused: bool,
        start: int,
        seconds: float,
        restarts: int = 0,
        run: Path,
        gauges: Gauges,
    ) -> None:
        self._writer, self._schedule, self._cadence, self._console = writer, schedule, cadence, console
        self._fused = fused
        self._gauges, self._labels = gauges, labels_of(run)
        self._restarts = restarts
        self._began = time.monotonic() - seconds
        self._mark = (start, time.monotonic())
        self.evaluations: list[dict[str, Any]] = []
        self._progress = Progress(
            TextColumn("train", style="bold", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}", markup=False),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("train", total=schedule.steps, completed=start, speed="")

    def __enter__(self) -> Reporter:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        self._writer.close()

    def seconds(self) -> float:
        """Since the run first began, its interruptions left out."""
        return time.monotonic() - self._began

    def trained(self, done: int, metrics: dict[str, float]) -> None:
        chunk = (done - 1) // self._schedule.chunk_steps
        self._progress.update(self._task, completed=done)
        if not (self._schedule.due(chunk, self._cadence.log_every) or done == self._schedule.steps):
            return
        step, moment = self._mark
        now = time.monotonic()
        speed = (done - step) / max(now - moment, 1e-9)
        self._mark = (done, now)
        record = {
            "seconds": round(self.seconds(), 3),
            "steps_per_second": speed,
            "staleness": 0.0 if self._fused else self._schedule.staleness(chunk),
            **metrics,
        }
        self._writer.write(done, "train", record)
        progress = {
            "step": done,
            "steps_total": self._schedule.steps,
            "steps_per_second": speed,
            "staleness_steps": record["staleness"],
            "learner_restarts": self._restarts,
        }
        self._show(metrics | progress)
        self._progress.update(self._task, speed=f"{speed:.0f} steps/s")
        if not self._console.is_terminal:
            losses = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items() if name.endswith("loss"))
            self._say(f"step {done}/{self._schedule.steps}  {speed:.0f} steps/s  {losses}")

    def diagnosed(self, done: int, found: dict[str, dict[str, float]]) -> None:
        for kind, metrics in found.items():
            self._writer.write(done, kind, metrics)

    def evaluated(self, step: int, result: dict[str, Any]) -> None:
        self.evaluations.append({"step": step, **result})
        self._writer.write(step, "evaluation", {"seconds": round(self.seconds(), 3), **result})
        self._show({name: result.get(name) for name in OF_EVALUATIONS})
        # On a terminal, too: what is printed while the bar is shown stays above it.
        self._say(f"evaluation: {describe(result)}, {result['episodes']} episodes, step {step}")

    def offset(self) -> int:
        return self._writer.offset()

    def _say(self, line: str) -> None:
        self._console.print(plain_text(line, keep=""), markup=False, emoji=False, highlight=False, soft_wrap=True)

    def _show(self, values: Mapping[str, Any]) -> None:
        """Set the gauges among these values; one that is not known keeps what it showed."""
        known = {name: float(values[name]) for name in GAUGES if values.get(name) is not None}
        self._gauges(known, self._labels)


def describe(result: dict[str, Any]) -> str:
    """An evaluation in a few words: success first, where the environment tells."""
    parts = [f"return {result['return_mean']:.2f} ± {result['return_std']:.2f}"]
    if result.get("success_rate") is not None:
        parts.insert(0, f"success {result['success_rate']:.2f}")
    if result.get("normalized_score") is not None:
        parts.append(f"normalized {result['normalized_score']:.1f}")
    return ", ".join(parts)


def score(result: dict[str, Any]) -> float:
    """What the best checkpoint is chosen by: success where the environment tells, else the return."""
    rate = result.get("success_rate")
    return float(result["return_mean"] if rate is None else rate)
