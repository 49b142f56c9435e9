"""What Prometheus shows of a run: gauges by name, each with the run's name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from cluster.options import Cadence
from cluster.reporter import GAUGES, Reporter, labels_of
from cluster.run_folder import MetricsWriter, RunFolder
from cluster.schedule import Schedule

Shown = list[tuple[dict[str, float], dict[str, str]]]


def reporter(run: Path, shown: Shown) -> Reporter:
    """Of a run of 24 steps that went on from step 8 after a death of its learner."""
    run.mkdir()

    def gauges(values: Mapping[str, float], labels: Mapping[str, str]) -> None:
        shown.append((dict(values), dict(labels)))

    return Reporter(
        MetricsWriter(RunFolder(run), offset=0, step=8),
        Schedule(24, 4, 2, 1),
        Cadence(log_every=8),
        Console(quiet=True),
        fused=False,
        start=8,
        seconds=0.0,
        restarts=1,
        run=run,
        gauges=gauges,
    )


def test_a_record_sets_the_gauges_of_progress_and_of_fresh_data(tmp_path: Path) -> None:
    shown: Shown = []
    with reporter(tmp_path / "run", shown) as telling:
        telling.trained(16, {"value_loss": 0.5, "env_steps": 120, "fresh_episodes": 7})
    [(values, labels)] = shown
    assert values.pop("steps_per_second") > 0
    assert values == {
        "step": 16.0,
        "steps_total": 24.0,
        "staleness_steps": 9.5,
        "learner_restarts": 1.0,
        "env_steps": 120.0,
        "fresh_episodes": 7.0,
    }
    assert labels == labels_of(tmp_path / "run")


def test_an_evaluation_sets_its_own_and_leaves_out_what_is_not_known(tmp_path: Path) -> None:
    shown: Shown = []
    with reporter(tmp_path / "run", shown) as telling:
        result = {"return_mean": -3.5, "return_std": 1.0, "success_rate": None, "normalized_score": 40.0}
        telling.evaluated(16, {"env_steps": 80, "episodes": 2, **result})
    # What it says of environment steps is as old as the weights.
    assert shown == [({"return_mean": -3.5, "normalized_score": 40.0}, labels_of(tmp_path / "run"))]


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    one, other = labels_of(tmp_path / "a" / "run"), labels_of(tmp_path / "b" / "run")
    assert one["run"] == other["run"] == "run"
    assert one["run_id"] != other["run_id"]
    assert re.fullmatch("[0-9a-f]{8}", one["run_id"])


def test_every_gauge_has_a_name_that_prometheus_takes_and_says_what_it_is() -> None:
    assert all(re.fullmatch("[a-z][a-z_]*", name) and text.endswith(".") for name, text in GAUGES.items())
