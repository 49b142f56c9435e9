"""The tables, verdicts and curves of `finetune.py`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from _finetune_job import Job, ingestion, stored_result
from _finetune_tasks import FROM_SCRATCH, LOGS_FROM_THE_START, METHODS, OFFLINE_THEN_ONLINE, PROVEN, TASKS, Task
from markupsafe import Markup

from cluster.report.html import page, section
from cluster.report.svg import Curve, line_chart

LONGEST_DROP = 0.1
"""Share of the online budget that a method may spend below where it began."""
WEAK = (0.3, 0.6)
"""Between these the offline policy is to score, so that there is something to gain."""


@dataclass(frozen=True)
class Cell:
    """A method in one way on a task: the curves of its seeds, evaluated at the same shares of the budget."""

    planned: int
    env_steps: tuple[float, ...]
    """Those that the gradient steps before each evaluation are worth: what is stored comes in whole episodes."""
    curves: tuple[tuple[float, ...], ...]
    """A curve for each seed that was run."""
    reason: str
    """Why seeds are missing."""

    @property
    def mean(self) -> list[float]:
        return [fmean(scores) for scores in zip(*self.curves, strict=True)]

    @property
    def spread(self) -> list[float]:
        """Standard deviations over the seeds, as a sample; 0 for one seed, whose spread nobody knows."""
        return [spread_of(scores) for scores in zip(*self.curves, strict=True)]


def spread_of(scores: Sequence[float]) -> float:
    return stdev(scores) if len(scores) > 1 else 0.0


def dropped(found: Cell) -> float:
    """Share of the evaluations of the online stage at which the mean is below the offline mean less the offline
    scores' standard deviation over seeds."""
    least = found.mean[0] - found.spread[0]
    online = found.mean[1:]
    return sum(score < least for score in online) / len(online)


def verdicts(online: Cell, scratch: Cell) -> dict[str, bool]:
    """What `finetune.py` claims of a method, claim by claim. Both cells hold curves."""
    begun, ended = online.mean[0], online.mean[-1]
    return {
        f"the offline policy scores {WEAK[0]:g} to {WEAK[1]:g}": WEAK[0] <= begun <= WEAK[1],
        f"below it for at most {LONGEST_DROP:.0%} of the budget": dropped(online) <= LONGEST_DROP,
        "ends above it": ended > begun,
        "ends above the same method from scratch": ended > scratch.mean[-1],
    }


def cell(folder: Path, jobs: Sequence[Job]) -> Cell:
    """What is stored of `jobs`, which differ in their seeds only."""
    found = [stored_result(folder, job) for job in jobs]
    results = [result["curve"] for result, _ in found if result is not None]
    return Cell(
        planned=len(jobs),
        env_steps=tuple(point["step"] / jobs[0].parts[1].updates_per_step for point in (results[0] if results else [])),
        curves=tuple(tuple(point["score"] for point in result) for result in results),
        reason="; ".join(sorted({reason for _, reason in found if reason})),
    )


def write(folder: Path, plan: Sequence[Job], command: str) -> bool:
    """Writes `<folder>.md`, `<folder>.json` and `<folder>.html`; whether every claim held that there are curves for,
    and nothing failed."""
    groups: dict[tuple[str, str, str], list[Job]] = {}
    for job in plan:
        groups.setdefault((job.task, job.method, job.way), []).append(job)
    cells = {key: cell(folder, jobs) for key, jobs in groups.items()}
    lines = ["# Fine-tuning: offline, then online", "", *_HEAD, "", f"Made by `{command}`.", ""]
    charts, records, held = [], [], True
    for task in (TASKS[name] for name in dict.fromkeys(name for name, _, _ in cells)):
        of_task = {(method, way): found for (name, method, way), found in cells.items() if name == task.name}
        claims = _claims(of_task)
        held &= all(holds for told in claims.values() for holds in told.values())
        held &= not any("failed" in found.reason for found in of_task.values())
        lines += [f"## {task.name}", "", *_about(task), "", *_scores(task, of_task), "", *_told(claims), ""]
        charts.append(section(task.name, _charts(of_task)))
        records.append(
            {"task": task.name, "claims": claims, "rows": [_record(*key, found) for key, found in of_task.items()]}
        )
    lines += ["## Commands", "", *_commands(groups), ""]
    folder.with_suffix(".md").write_text("\n".join(lines))
    folder.with_suffix(".json").write_text(json.dumps({"command": command, "tasks": records}, indent=1) + "\n")
    folder.with_suffix(".html").write_text(page("Fine-tuning: offline, then online", charts))
    return held


_HEAD = (
    "A policy is trained on a log, then goes on in the environment, on the log and on what it gathers there; beside it "
    "the same method on fresh data alone, and controls. Figures are mean ± standard deviation over seeds. *Offline* is "
    "the score before the first environment step, *end* the last evaluation, *mean* the average over all evaluations "
    "of the online stage. *Below* is the share of these at which the mean over seeds is below the offline mean less "
    "the offline scores' standard deviation. The curves are in [finetune.html](finetune.html).",
)


def _claims(cells: Mapping[tuple[str, str], Cell]) -> dict[str, dict[str, bool]]:
    """By method, for those that the benchmark makes claims of; none of one seed, whose spread nobody knows."""
    pairs = {method: (cells.get((method, OFFLINE_THEN_ONLINE)), cells.get((method, FROM_SCRATCH))) for method in PROVEN}
    return {
        method: verdicts(online, scratch)
        for method, (online, scratch) in pairs.items()
        if online and scratch and min(len(online.curves), len(scratch.curves)) > 1
    }


# --- Tables ---

_WAYS = {
    OFFLINE_THEN_ONLINE: "offline, then online",
    LOGS_FROM_THE_START: "logs and fresh data from the start",
    FROM_SCRATCH: "fresh data alone",
}


def _about(task: Task) -> list[str]:
    fewer = {
        name: method.offline_steps[task.name] for name, method in METHODS.items() if task.name in method.offline_steps
    }
    others = "".join(f" ({name}: {steps:,})" for name, steps in fewer.items())
    return [
        f"{task.weakening} {task.offline_steps:,} gradient steps offline{others}; {task.env_steps:,} environment steps "
        f"online; {task.episodes} episodes an evaluation."
    ]


def _scores(task: Task, cells: Mapping[tuple[str, str], Cell]) -> list[str]:
    lines = ["| method | learns from | offline | end | mean | below | seeds |", "|---|---|--:|--:|--:|--:|---|"]
    for (method, way), found in cells.items():
        missing = f"; {found.reason}" if found.reason else ""
        seeds = f"{len(found.curves)} of {found.planned}{missing}"
        if not found.curves:
            lines.append(f"| {method} | {_WAYS[way]} | | | | | {seeds} |")
            continue
        begun = [scores[0] for scores in found.curves]
        ended = [scores[-1] for scores in found.curves]
        means = [fmean(scores[1:]) for scores in found.curves]
        offline = way == OFFLINE_THEN_ONLINE
        shown = [
            _shown(begun) if offline else "—",
            _shown(ended),
            _shown(means),
            f"{dropped(found):.0%}" if offline else "—",
        ]
        lines.append(f"| {method} | {_WAYS[way]} | {' | '.join(shown)} | {seeds} |")
    return lines


def _shown(scores: Sequence[float]) -> str:
    text = f"{100 * fmean(scores):.0f}"
    return f"{text} ± {100 * spread_of(scores):.0f}" if len(scores) > 1 else text


def _told(claims: Mapping[str, Mapping[str, bool]]) -> list[str]:
    return [
        f"- {method}: {claim}: {'holds' if holds else '**does not hold**'}"
        for method, told in claims.items()
        for claim, holds in told.items()
    ]


def _commands(groups: Mapping[tuple[str, str, str], Sequence[Job]]) -> list[str]:
    """Of the first seed; the others differ in --seed."""
    lines = []
    for name in dict.fromkeys(task for task, _, _ in groups):
        made = shlex.join(["quiver", *ingestion(TASKS[name], TASKS[name].source)])
        lines += [f"{name}, the log:", "", "```", made, "```", ""]
    for (task, method, way), jobs in groups.items():
        lines += [f"{task}, {method}, {_WAYS[way]}:", "", "```"]
        lines += [shlex.join(["quiver", *arguments]) for arguments in jobs[0].commands()]
        lines += ["```", ""]
    return lines


def _record(method: str, way: str, found: Cell) -> dict[str, Any]:
    return {
        "method": method,
        "way": way,
        "planned_seeds": found.planned,
        "reason": found.reason,
        "env_steps": list(found.env_steps),
        "curves": [list(scores) for scores in found.curves],
        "below": dropped(found) if found.curves and way == OFFLINE_THEN_ONLINE else None,
    }


# --- Curves ---


def _charts(cells: Mapping[tuple[str, str], Cell]) -> list[Markup]:
    """One of what begins with logs, one of what begins without: means, and the seeds' spread as a band."""
    with_logs: list[Curve] = []
    without: list[Curve] = []
    for (method, way), found in cells.items():
        if found.curves:
            spread = found.spread if len(found.curves) > 1 else None
            (without if way == FROM_SCRATCH else with_logs).append(Curve(method, found.env_steps, found.mean, spread))
    return [
        line_chart(f"{title}: score by environment steps", curves, floor=0.0, ceiling=1.0)
        for title, curves in (("With logs", with_logs), ("Fresh data alone", without))
    ]
