"""The shipped topology on nodes as `ray_config.yaml` names them: GPUs elsewhere than at the driver, or nowhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from cluster import process
from cluster.cli import main
from cluster.reporter import labels_of
from tests.cluster import fake_gpu
from tests.cluster.runs import assert_same_parameters
from tests.point_reach import ID

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("devices")]

ray = pytest.importorskip("ray")

SHIPPED = Path(__file__).parents[2] / "ray_config.yaml"
QUICK = ["--steps", "24", "--batch-size", "16", "--chunk-steps", "4", "--log-every", "8", "--hidden", "16", "16"]


def resources(node_type: str) -> dict[str, Any]:
    """What a node of the shipped file tells Ray that it has, without its GPU: numbers in Ray's books."""
    offered = dict(yaml.safe_load(SHIPPED.read_text())["available_node_types"][node_type]["resources"])
    offered.pop("GPU", None)
    return {"num_cpus": offered.pop("CPU"), "resources": offered}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that has what the shipped file names on any node, and no GPU."""
    from ray.cluster_utils import Cluster

    nodes = [resources(kind) for kind in ("head", "learner", "updater")]
    offered: dict[str, float] = {}
    for node in nodes:
        offered |= node["resources"]
    started = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": sum(node["num_cpus"] for node in nodes), "num_gpus": 0, "resources": offered},
    )
    yield started
    started.shutdown()


def train(run: Path, dataset: Path, cluster: Any, *options: str) -> dict[str, Any]:
    """`quiver train` with the shipped topology: the run's configuration, and its summary."""
    command = ["train", "--dataset", str(dataset), "--algo", "iql", "--run", str(run), *QUICK, *options]
    assert main([*command, "--config", str(SHIPPED), "--address", cluster.address]) == 0
    return {name: json.loads((run / f"{name}.json").read_text()) for name in ("config", "summary")}


def evaluations(run: Path) -> list[dict[str, Any]]:
    """What the evaluations of a run found, without the seconds."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{**record, "seconds": 0.0} for record in records if record["kind"] == "evaluation"]


class Gauge:
    """In the place of Ray's: what was set, and with which labels."""

    shown: ClassVar[dict[str, dict[str, str]]] = {}

    def __init__(self, name: str, *, description: str, tag_keys: tuple[str, ...]) -> None:
        self._name, self._keys = name, tag_keys

    def set(self, value: float, *, tags: dict[str, str]) -> None:
        assert tuple(tags) == self._keys
        self.shown[self._name] = tags


def test_with_cpu_the_shipped_topology_runs_without_a_gpu(
    cluster: Any, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All roles, pinned as shipped; fewer of some, for two cores, and one evaluator more."""
    monkeypatch.setattr("cluster.backends.ray_backend.Gauge", Gauge)
    scored = ["--env", ID, "--eval-episodes", "2", "--eval-every", "4"]
    counts = ["--shards", "2", "--updaters", "2", "--evaluators", "2"]
    told = train(tmp_path / "run", dataset, cluster, "--device", "cpu", *counts, *scored)
    assert told["config"]["recipe"]["device"] == told["config"]["machine"]["device"] == "cpu"
    topology = told["config"]["topology"]
    assert topology["bellman_updaters"] == {"count": 2, "num_cpus": 1.0, "num_gpus": 0.0, "resources": {"updater": 1.0}}
    assert topology["learners"] == {"count": 1, "num_cpus": 4.0, "num_gpus": 0.0, "resources": {"learner": 1.0}}
    summary = told["summary"]
    for role, work in (("shards", "rows"), ("updaters", "chunks"), ("evaluators", "evaluations")):
        assert len(summary[role]) == 2
        assert all(actor[work] for actor in summary[role])

    assert {"quiver_step", "quiver_steps_total", "quiver_success_rate"} <= Gauge.shown.keys()
    assert all(tags == labels_of(tmp_path / "run") for tags in Gauge.shown.values())

    # Neither the machines nor the number of evaluators changes a result.
    command = ["train", "--dataset", str(dataset), "--algo", "iql", "--run", str(tmp_path / "serial"), *QUICK, *scored]
    assert main([*command, "--serial", "--updaters", "1"]) == 0
    assert evaluations(tmp_path / "run") == evaluations(tmp_path / "serial")
    assert_same_parameters(tmp_path / "serial", tmp_path / "run")


def test_with_gpus_elsewhere_the_learners_is_on_record(cluster: Any, dataset: Path, tmp_path: Path) -> None:
    """The driver has none, as on the shipped head: what it is like is nobody's business."""
    for kind in ("learner", "updater"):
        cluster.add_node(num_gpus=1, **resources(kind))
    # The hook runs before a worker knows the driver's path of modules.
    found = {"env_vars": {"PYTHONPATH": str(SHIPPED.parent)}, "worker_process_setup_hook": fake_gpu.install}
    ray.init(address=cluster.address, log_to_driver=False, runtime_env=found)
    try:
        told = train(tmp_path / "run", dataset, cluster, "--shards", "1", "--updaters", "1")
    finally:
        ray.shutdown()
    assert told["config"]["recipe"]["device"] == "cuda"
    assert told["config"]["topology"]["learners"]["num_gpus"] == 1.0
    assert told["config"]["topology"]["bellman_updaters"]["num_gpus"] == 0.125
    assert told["config"]["machine"] == {**process.fingerprint("cpu"), "device": "cuda", "capability": fake_gpu.NAME}
