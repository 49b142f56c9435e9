"""A run whose steps would not fit in memory is refused before anything is allocated or written."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster import cli
from cluster.checks import rows_here
from cluster.options import Role, Topology
from learners.base import footprint
from tests.cluster.runs import make_dataset, recipe


def test_too_large_a_step_is_refused_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    data, run = make_dataset(tmp_path / "data", episodes=8, steps=4), tmp_path / "run"
    monkeypatch.setattr(footprint, "available_bytes", lambda: 4 * 10**9)
    words = [
        "train",
        "--dataset",
        str(data),
        "--algo",
        "cql",
        "--run",
        str(run),
        "--serial",
        "--sampled-actions",
        "9999",
    ]
    assert cli.main([*words, "--sampled-actions", "9999"]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "sampled_actions 9999" in told
    assert "memory, and 4.0 GB are left on cpu" in told
    assert not run.exists()


@pytest.mark.parametrize(
    ("device", "topology", "rows"),
    [
        ("cpu", Topology(serial=True), 64),
        ("cpu", Topology(learners=Role(count=4)), 16),
        ("cpu", Topology(address="10.0.0.1:6379"), 0),
        ("cuda", Topology(serial=True), 0),
    ],
)
def test_only_steps_on_this_machine_are_measured_here(monkeypatch: pytest.MonkeyPatch, device, topology, rows):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    asked = recipe(Path("absent"), batch_size=64, device=device)
    assert rows_here(asked, topology) == rows
