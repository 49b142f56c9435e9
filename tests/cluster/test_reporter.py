"""What a run tells on the terminal while it goes on: each evaluation stays there as a line."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cluster.options import Cadence
from cluster.reporter import Reporter
from cluster.run_folder import MetricsWriter, RunFolder
from cluster.schedule import Schedule

FIRST = {"episodes": 20, "return_mean": -3.5, "return_std": 1.25, "success_rate": 0.15, "normalized_score": None}
SECOND = {"episodes": 20, "return_mean": 7.0, "return_std": 0.5, "success_rate": None, "normalized_score": 81.26}
LINES = [
    "evaluation: success 0.15, return -3.50 ± 1.25, 20 episodes, step 8",
    "evaluation: return 7.00 ± 0.50, normalized 81.3, 20 episodes, step 16",
]


def told(run: Path, results: dict[int, dict[str, Any]], **console: Any) -> list[str]:
    """What stands on the terminal at the end, line by line, without the codes that move its cursor."""
    run.mkdir()
    text = io.StringIO()
    reporter = Reporter(
        MetricsWriter(RunFolder(run), offset=0, step=0),
        Schedule(24, 4, 2, 1),
        Cadence(log_every=8),
        Console(file=text, width=40, **console),
        fused=False,
        start=0,
        seconds=0.0,
        run=run,
        gauges=lambda values, labels: None,
    )
    with reporter:
        for step, result in results.items():
            reporter.evaluated(step, result)
            reporter.trained(step, {"value_loss": 0.5})
    return text.getvalue().splitlines()


def test_each_evaluation_is_a_line_success_first(tmp_path: Path) -> None:
    lines = told(tmp_path / "run", {8: FIRST, 16: SECOND})
    assert [line for line in lines if "evaluation" in line] == LINES


def test_on_a_terminal_the_lines_stay_above_the_progress_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    lines = told(tmp_path / "run", {8: FIRST, 16: SECOND}, force_terminal=True)
    # A line may follow codes that clear the bar, which is drawn again below it.
    found = [line[line.index("evaluation") :].rstrip() for line in lines if "evaluation" in line]
    assert found == LINES
    bars = [place for place, line in enumerate(lines) if "16/24" in line]
    assert max(bars) > max(place for place, line in enumerate(lines) if "evaluation" in line)
