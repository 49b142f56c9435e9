"""What the serial run must satisfy by itself; `test_same_everywhere` compares Ray with it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import learners
from cluster.options import Cadence
from tests.cluster.runs import QUIET, assert_same_parameters, make_dataset, parameters, recipe, run_once

WITH_TARGETS = [name for name in learners.names() if learners.algorithm_class(name).has_targets]


@pytest.mark.parametrize("algorithm", WITH_TARGETS)
def test_chunks_of_one_step_at_depth_zero_are_the_fused_run(dataset: Path, tmp_path: Path, algorithm: str) -> None:
    run_once(tmp_path / "fused", recipe(dataset, algorithm, fused=True))
    run_once(tmp_path / "updaters", recipe(dataset, algorithm, chunk_steps=1, depth=0))
    assert_same_parameters(tmp_path / "fused", tmp_path / "updaters")


def test_whole_episodes_of_any_length_are_labelled_as_they_are_trained_on(dataset: Path, tmp_path: Path) -> None:
    shorter = make_dataset(tmp_path / "shorter", steps=7, seed=1)
    both = recipe(dataset, "awr", datasets=((str(dataset), None), (str(shorter), None)), batch_size=4)
    run_once(tmp_path / "fused", replace(both, fused=True))
    run_once(tmp_path / "updaters", replace(both, chunk_steps=1, depth=0))
    result = run_once(tmp_path / "chunks", replace(both, fused=True, chunk_steps=6))
    assert_same_parameters(tmp_path / "fused", tmp_path / "updaters")
    assert_same_parameters(tmp_path / "fused", tmp_path / "chunks")
    assert result.summary["shards"][0]["rows"] == (24 + 8) * 4  # an episode counts as one


def test_the_length_of_a_chunk_does_not_matter_to_a_fused_run(dataset: Path, tmp_path: Path) -> None:
    run_once(tmp_path / "one", recipe(dataset, fused=True, chunk_steps=1))
    run_once(tmp_path / "five", recipe(dataset, fused=True, chunk_steps=5, depth=3))
    assert_same_parameters(tmp_path / "one", tmp_path / "five")


def test_stale_labels_change_the_result(dataset: Path, tmp_path: Path) -> None:
    """Otherwise the comparisons above and with Ray would show nothing."""
    run_once(tmp_path / "fresh", recipe(dataset, depth=0))
    run_once(tmp_path / "stale", recipe(dataset, depth=3))
    fresh, stale = parameters(tmp_path / "fresh"), parameters(tmp_path / "stale")
    assert any(fresh[name].tobytes() != stale[name].tobytes() for name in fresh)


def test_cadence_never_changes_the_result(dataset: Path, tmp_path: Path) -> None:
    busy = Cadence(log_every=1, validate_every=4, checkpoint_every=8, keep=1)
    run_once(tmp_path / "quiet", recipe(dataset))
    run_once(tmp_path / "busy", recipe(dataset), cadence=busy)
    assert_same_parameters(tmp_path / "quiet", tmp_path / "busy")


def test_checkpoints_are_pruned_to_the_newest(dataset: Path, tmp_path: Path) -> None:
    run_once(tmp_path / "run", recipe(dataset), cadence=Cadence(checkpoint_every=4, keep=2))
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*"))
    assert kept == ["step-000000020", "step-000000024"]


def test_every_run_has_curves_of_the_validation_split_and_of_the_probe(dataset: Path, tmp_path: Path) -> None:
    run_once(tmp_path / "run", recipe(dataset), cadence=Cadence(log_every=8, validate_every=8))
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    by_kind = {kind: [record for record in records if record["kind"] == kind] for kind in ("validation", "probe")}
    for kind, found in by_kind.items():
        assert [record["step"] for record in found] == [8, 16, 24], kind
    assert all("critic_loss" in record and "q_data" in record for record in by_kind["validation"])
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))


def test_staleness_is_reported(dataset: Path, tmp_path: Path) -> None:
    run_once(tmp_path / "run", recipe(dataset))
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["staleness"] for record in records if record["kind"] == "train"] == [5.5, 9.5, 9.5]


def test_label_reuse_draws_fewer_rows(dataset: Path, tmp_path: Path) -> None:
    """Six chunks of four steps: a batch for each step, or one for every second step."""
    once = run_once(tmp_path / "once", recipe(dataset), cadence=QUIET)
    twice = run_once(tmp_path / "twice", recipe(dataset, label_reuse=2), cadence=QUIET)
    diagnostics = 2 * 4 * 16  # probe and validation, four batches each
    assert once.summary["shards"][0]["rows"] == 24 * 16 + diagnostics
    assert twice.summary["shards"][0]["rows"] == 12 * 16 + diagnostics


@pytest.mark.parametrize("algorithm", [name for name in WITH_TARGETS if name != "awr"])
def test_prioritised_sampling_and_n_step_returns_serve_every_value_method(
    dataset: Path, tmp_path: Path, algorithm: str
) -> None:
    """The first chunks are drawn before any priority is known: what comes later must differ. (AWR draws episodes.)"""
    base = recipe(dataset, algorithm)
    plain = replace(base, knobs={**base.knobs, "n_step": 3})
    run_once(tmp_path / "uniform", plain)
    run_once(tmp_path / "prioritised", replace(plain, priority_exponent=0.6))
    run_once(tmp_path / "again", replace(plain, priority_exponent=0.6))
    uniform, prioritised = parameters(tmp_path / "uniform"), parameters(tmp_path / "prioritised")
    assert any(uniform[name].tobytes() != prioritised[name].tobytes() for name in uniform)
    assert_same_parameters(tmp_path / "prioritised", tmp_path / "again")
