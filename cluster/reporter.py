"""What a run tells while it goes on: metrics, curves, a progress bar, Prometheus gauges."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cluster.options import Cadence
from cluster.run_folder import MetricsWriter
from cluster.schedule import Schedule

Gauges = Callable[[dict[str, float]], None]
"""Sets Prometheus gauges by name, where the backend has them."""


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
        gauges: Gauges,
    ) -> None:
        self._writer, self._schedule, self._cadence, self._console = writer, schedule, cadence, console
        self._fused = fused
        self._gauges = gauges
        self._began = time.monotonic() - seconds
        self._mark = (start, time.monotonic())
        self.evaluations: list[dict[str, Any]] = []
        self._progress = Progress(
            TextColumn("[bold]train"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[news]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("train", total=schedule.steps, completed=start, speed="", news="")

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
        self._gauges({"step": done, "steps_per_second": speed, "staleness_steps": record["staleness"]})
        self._progress.update(self._task, speed=f"{speed:.0f} steps/s")
        if not self._console.is_terminal:
            losses = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items() if name.endswith("loss"))
            self._console.print(f"step {done}/{self._schedule.steps}  {speed:.0f} steps/s  {losses}", highlight=False)

    def diagnosed(self, done: int, found: dict[str, dict[str, float]]) -> None:
        for kind, metrics in found.items():
            self._writer.write(done, kind, metrics)

    def evaluated(self, step: int, result: dict[str, Any]) -> None:
        self.evaluations.append({"step": step, **result})
        self._writer.write(step, "evaluation", {"seconds": round(self.seconds(), 3), **result})
        news = describe(result)
        self._gauges({"return_mean": result["return_mean"]})
        self._progress.update(self._task, news=f"at {step}: {news}")
        if not self._console.is_terminal:
            self._console.print(f"step {step}  evaluation: {news}", highlight=False)

    def offset(self) -> int:
        return self._writer.offset()


def describe(result: dict[str, Any]) -> str:
    """An evaluation in a few words."""
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
