"""The number of updaters, shard actors and nodes changes speed, not results: bit for bit, on the CPU.

The serial run of the same recipe is the oracle. Every level of every factor, in one Ray session of one node and one of
two.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.runs import KNOBS, assert_all_worked, assert_same_parameters, on_ray, recipe, run_once

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("same_everywhere")]

ray = pytest.importorskip("ray")

OTHERS = ["awr", "calql", "lspi", "msg", "qtopt", "rebrac"]
"""Every kind of label and of request; `test_serial` compares the fused and the labelled run of all methods."""

GOALS = {"goal_future": 0.5, "goal_final": 0.25, "goal_random": 0.25}
CLONED: dict[str, Any] = {"bc": {}, "gcbc": {"knobs": {**KNOBS["gcbc"], **GOALS}}}


@pytest.fixture(scope="module")
def oracle(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The serial run of those algorithms, and of the variants of IQL."""
    where = tmp_path_factory.mktemp("serial")
    for algorithm in ("iql", *OTHERS):
        run_once(where / algorithm, recipe(dataset, algorithm))
    run_once(where / "prioritised", recipe(dataset, priority_exponent=0.6))
    run_once(where / "reused", recipe(dataset, label_reuse=2))
    run_once(where / "fused", recipe(dataset, fused=True))
    for name, changes in CLONED.items():
        run_once(where / name, recipe(dataset, name, fused=True, **changes))
    return {path.name: path for path in where.iterdir()}


@pytest.fixture(scope="class")
def one_node() -> Iterator[None]:
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="class")
def two_nodes() -> Iterator[None]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    cluster.add_node(num_cpus=2)
    ray.init(address=cluster.address, log_to_driver=False)
    yield
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.usefixtures("one_node")
class TestOneNode:
    @pytest.mark.parametrize(("updaters", "shards"), [(1, 1), (3, 3)])
    def test_iql(self, dataset: Path, oracle: dict[str, Path], tmp_path: Path, updaters: int, shards: int) -> None:
        result = run_once(tmp_path / "run", recipe(dataset), on_ray(updaters=updaters, shards=shards))
        assert_all_worked(result, updaters=updaters, shards=shards)
        assert result.summary["nodes"] == 1
        assert_same_parameters(oracle["iql"], tmp_path / "run")

    @pytest.mark.parametrize("algorithm", OTHERS)
    def test_others(self, dataset: Path, oracle: dict[str, Path], tmp_path: Path, algorithm: str) -> None:
        result = run_once(tmp_path / "run", recipe(dataset, algorithm), on_ray(updaters=1, shards=3))
        assert_all_worked(result, updaters=1, shards=3)
        assert_same_parameters(oracle[algorithm], tmp_path / "run")

    def test_prioritised(self, dataset: Path, oracle: dict[str, Path], tmp_path: Path) -> None:
        topology = on_ray(updaters=2, shards=2)
        result = run_once(tmp_path / "run", recipe(dataset, priority_exponent=0.6), topology)
        assert_all_worked(result, updaters=2, shards=2)
        assert_same_parameters(oracle["prioritised"], tmp_path / "run")

    @pytest.mark.parametrize(("name", "algorithm"), [("fused", "iql"), ("bc", "bc")])
    def test_fused(self, dataset: Path, oracle: dict[str, Path], tmp_path: Path, name: str, algorithm: str) -> None:
        topology = on_ray(updaters=0, shards=2)
        result = run_once(tmp_path / "run", recipe(dataset, algorithm, fused=True), topology)
        assert_all_worked(result, updaters=0, shards=2)
        assert_same_parameters(oracle[name], tmp_path / "run")


@pytest.mark.usefixtures("two_nodes")
class TestTwoNodes:
    @pytest.mark.parametrize(("updaters", "shards"), [(1, 3), (3, 1)])
    def test_iql(self, dataset: Path, oracle: dict[str, Path], tmp_path: Path, updaters: int, shards: int) -> None:
        result = run_once(tmp_path / "run", recipe(dataset), on_ray(updaters=updaters, shards=shards))
        assert_all_worked(result, updaters=updaters, shards=shards)
        assert result.summary["nodes"] == 2
        assert_same_parameters(oracle["iql"], tmp_path / "run")

    def test_whole_episodes(self, dataset: Path, oracle: dict[str, Path], tmp_path: Path) -> None:
        result = run_once(tmp_path / "run", recipe(dataset, "awr"), on_ray(updaters=3, shards=1))
        assert_all_worked(result, updaters=3, shards=1)
        assert result.summary["nodes"] == 2
        assert_same_parameters(oracle["awr"], tmp_path / "run")

    def test_goals_on_another_node(self, dataset: Path, oracle: dict[str, Path], tmp_path: Path) -> None:
        cloned = recipe(dataset, "gcbc", fused=True, **CLONED["gcbc"])
        result = run_once(tmp_path / "run", cloned, on_ray(updaters=0, shards=2))
        assert_all_worked(result, updaters=0, shards=2)
        assert result.summary["nodes"] == 2
        assert_same_parameters(oracle["gcbc"], tmp_path / "run")

    def test_label_reuse(self, dataset: Path, oracle: dict[str, Path], tmp_path: Path) -> None:
        result = run_once(tmp_path / "run", recipe(dataset, label_reuse=2), on_ray(updaters=2, shards=2))
        assert_all_worked(result, updaters=2, shards=2)
        assert_same_parameters(oracle["reused"], tmp_path / "run")
