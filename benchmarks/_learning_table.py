"""The tables of `learning.py`: last scores beside the peer's, and what each method believes beside what it achieves."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from _learning_job import D3RLPY, LIBRARIES, QUIVER, Job
from _learning_results import difference, load

VALUES = ("q_data", "q_policy", "return_to_go", "achieved")


@dataclass(frozen=True)
class Cell:
    """A method of a library on a task: the last scores of its seeds, and means of its values over them."""

    planned: int
    scores: tuple[float, ...]
    steps: int
    values: dict[str, float | None]
    reason: str
    """Why seeds are missing."""

    @property
    def mean(self) -> float:
        return fmean(self.scores)

    @property
    def std(self) -> float:
        """Of the seeds, as a sample; 0 for one seed, whose spread nobody knows."""
        return stdev(self.scores) if len(self.scores) > 1 else 0.0


def verdict(ours: Cell, theirs: Cell) -> str:
    """Whether our mean is at least theirs, less √(s² + s'²) of the two standard deviations over seeds."""
    if not ours.scores or not theirs.scores:
        return ""
    if min(len(ours.scores), len(theirs.scores)) == 1:
        return "one seed: none"
    held = ours.mean >= theirs.mean - math.hypot(ours.std, theirs.std)
    return "as good" if held else "below"


def cell(folder: Path, jobs: Sequence[Job], steps_scale: float, unregistered: Iterable[str]) -> Cell:
    """What is stored of `jobs`, which differ in their seeds only."""
    results, reasons = [], set()
    for job in jobs:
        result = load(folder, job)
        if result is None:
            known = job.library != QUIVER or job.parts[1].algorithm not in unregistered
            reasons.add("not run" if known else "not run (not registered)")
        elif changed := difference(result, job, steps_scale):
            reasons.add(f"not run ({changed})")
        elif "error" in result:
            reasons.add(f"failed ({result['error']})")
        else:
            results.append(result)
    return Cell(
        planned=len(jobs),
        scores=tuple(float(result["last"]) for result in results),
        steps=int(results[0]["settings"]["steps"]) if results else 0,
        values={name: _mean([result["values"][name] for result in results]) for name in VALUES},
        reason="; ".join(sorted(reasons)),
    )


def _mean(values: list[float | None]) -> float | None:
    """None where any seed has none: a mean of those that did not diverge would mislead."""
    told = [value for value in values if value is not None]
    return fmean(told) if told and len(told) == len(values) else None


def write(folder: Path, plan: Sequence[Job], steps_scale: float, unregistered: Iterable[str], command: str) -> bool:
    """Writes `<folder>.md` and `<folder>.json`; whether no method was below its peer and none failed."""
    groups: dict[tuple[str, str], dict[str, list[Job]]] = {}
    for job in plan:
        groups.setdefault((job.task, job.method), {}).setdefault(job.library, []).append(job)
    cells = {
        key: {library: cell(folder, jobs, steps_scale, unregistered) for library, jobs in libraries.items()}
        for key, libraries in groups.items()
    }
    lines = ["# Learning: last scores", "", *_HEAD, "", f"Made by `{command}`.", ""]
    for task in dict.fromkeys(task for task, _ in cells):
        rows = {method: libraries for (name, method), libraries in cells.items() if name == task}
        lines += [f"## {task}", "", *_scores(task, rows), "", *_overestimation(rows)]
    lines += ["## Knobs", "", *_knobs(groups, folder), ""]
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.with_suffix(".md").write_text("\n".join(lines))
    records = [_record(task, method, libraries) for (task, method), libraries in cells.items()]
    folder.with_suffix(".json").write_text(json.dumps({"command": command, "rows": records}, indent=1) + "\n")
    return not any(
        record["verdict"] == "below" or any("failed" in record[name]["reason"] for name in LIBRARIES if name in record)
        for record in records
    )


_HEAD = (
    "The score of a run is its *last* evaluation, not its best; figures are mean ± standard deviation over seeds. Both "
    "libraries learn from the same transitions with the same widths, batch, learning rates, discount and rewards, and "
    'are scored on the same starts. "As good": our mean is at least theirs less √(s² + s\'²) of the two standard '
    "deviations. One seed has no spread, and no verdict.",
)


def _scores(task: str, rows: dict[str, dict[str, Cell]]) -> list[str]:
    """Last scores, ours beside d3rlpy's."""
    if not any(found.scores or "failed" in found.reason for pair in rows.values() for found in pair.values()):
        return [f"Not run: {', '.join(rows)}."]
    lines = ["| method | steps | Quiver | d3rlpy | verdict |", "|---|--:|--:|--:|---|"]
    for method, libraries in rows.items():
        ours, theirs = libraries[QUIVER], libraries.get(D3RLPY)
        steps = ours.steps or (theirs.steps if theirs else 0)
        told = verdict(ours, theirs) if theirs else ""
        shown = [f"{steps:,}" if steps else "", _shown(ours, task), _shown(theirs, task) if theirs else "—", told]
        lines.append(f"| {method} | {' | '.join(shown)} |")
    return lines


def _shown(found: Cell, task: str) -> str:
    if not found.scores:
        return found.reason
    scale, digits, unit = (100.0, 0, "%") if _is_share(task) else (1.0, 0, "")
    text = f"{scale * found.mean:,.{digits}f}"
    if len(found.scores) > 1:
        text += f" ± {scale * found.std:,.{digits}f}"
    missing = f"; {found.reason}" if found.reason else ""
    return f"{text}{unit} ({len(found.scores)} of {found.planned} seeds{missing})"


def _is_share(task: str) -> bool:
    from _learning_tasks import TASKS

    return TASKS[task].metric == "success"


def _overestimation(rows: dict[str, dict[str, Cell]]) -> list[str]:
    """What each method believes beside what it achieves."""
    lines = []
    for method, libraries in rows.items():
        for library, found in libraries.items():
            if not found.scores:
                continue
            told = [found.values[name] for name in VALUES]
            q_policy, achieved = found.values["q_policy"], found.values["achieved"]
            told.append(None if q_policy is None or achieved is None else q_policy - achieved)
            lines.append(f"| {method} | {library} | {' | '.join(_number(value) for value in told)} |")
    return [*_OVERESTIMATION, *lines, ""] if lines else []


_OVERESTIMATION = (
    "Mean Q at the data's actions and at the policy's, on one batch of logged states; the logs' own mean discounted "
    "return from there, as far as they go; the discounted return that the policy achieves from the starts of its "
    "episodes. The last column is Q at the policy's actions less the achieved return: far above the others is "
    "overestimation, far below them the method is conservative. (Starts are farther from the goal than logged states "
    "are on average, so that 0 is not the honest value.)",
    "",
    "| method | library | Q, data | Q, policy | return of the logs | achieved | difference |",
    "|---|---|--:|--:|--:|--:|--:|",
)


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:,.2f}" if abs(value) < 1e5 else f"{value:.1e}"


def _knobs(groups: dict[tuple[str, str], dict[str, list[Job]]], folder: Path) -> list[str]:
    """What each library was given, where anything was run."""
    lines = []
    for (task, method), libraries in groups.items():
        for library, jobs in libraries.items():
            results = [result for job in jobs if (result := load(folder, job))]
            if results:
                settings = results[0]["settings"]
                told = ", ".join(f"{name} {value}" for name, value in settings["knobs"].items())
                lines.append(f"- {task}, {method}, {library}: batch {settings['batch']}, {told}")
    return lines


def _record(task: str, method: str, libraries: dict[str, Cell]) -> dict[str, Any]:
    ours, theirs = libraries[QUIVER], libraries.get(D3RLPY)
    found: dict[str, Any] = {"task": task, "method": method, "verdict": verdict(ours, theirs) if theirs else ""}
    for library, entry in libraries.items():
        found[library] = {
            "steps": entry.steps,
            "scores": list(entry.scores),
            "mean": entry.mean if entry.scores else None,
            "std": entry.std if entry.scores else None,
            "planned_seeds": entry.planned,
            "reason": entry.reason,
            **entry.values,
        }
    return found
