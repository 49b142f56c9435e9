"""The shipped topology on nodes as `ray_config.yaml` starts them: a driver without a GPU, and GPUs elsewhere, or none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import process
from cluster.cli import main
from tests.cluster import fake_gpu
from tests.cluster.runs import assert_same_parameters
from tests.point_reach import ID

pytestmark = pytest.mark.slow

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


def test_with_cpu_the_shipped_topology_runs_without_a_gpu(cluster: Any, dataset: Path, tmp_path: Path) -> None:
    """All roles, pinned as shipped; fewer of some, for two cores, and one evaluator more."""
    scored = ["--env", ID, "--eval-episodes", "2", "--eval-every", "4"]
    counts = ["--shards", "2", "--updaters", "2", "--evaluators", "2"]
    told = train(tmp_path / "run", dataset, cluster, "--device", "cpu", *counts, *scored)
    assert told["config"]["recipe"]["device"] == told["config"]["machine"]["device"] == "cpu"
    topology = told["config"]["topology"]
    assert topology["bellman_updaters"] == {"count": 2, "num_cpus": 1.0, "num_gpus": 0.0, "resources": {"updater": 1.0}}
    assert topology["learners"] == {"count": 1, "num_cpus": 4.0, "num_gpus": 0.0, "resources": {"learner": 1.0}}
    summary = told["summary"]
    assert len(summary["shards"]) == 2 and all(shard["rows"] for shard in summary["shards"])
    assert len(summary["updaters"]) == 2 and all(updater["chunks"] for updater in summary["updaters"])
    assert len(summary["evaluators"]) == 2 and all(evaluator["evaluations"] for evaluator in summary["evaluators"])

    # Neither the machines nor the number of evaluators changes a result.
    command = ["train", "--dataset", str(dataset), "--algo", "iql", "--run", str(tmp_path / "serial"), *QUICK, *scored]
    assert main([*command, "--serial", "--updaters", "1"]) == 0
    assert evaluations(tmp_path / "run") == evaluations(tmp_path / "serial")
    assert_same_parameters(tmp_path / "serial", tmp_path / "run")


def test_with_gpus_elsewhere_the_learners_is_on_record(cluster: Any, dataset: Path, tmp_path: Path) -> None:
    """The driver has none, as on the shipped head: what it is like is nobody's business."""
    for kind in ("learner", "updater"):
        cluster.add_node(num_gpus=1, **resources(kind))
    ray.init(address=cluster.address, log_to_driver=False, runtime_env={"worker_process_setup_hook": fake_gpu.install})
    try:
        told = train(tmp_path / "run", dataset, cluster, "--shards", "1", "--updaters", "1")
    finally:
        ray.shutdown()
    assert told["config"]["recipe"]["device"] == "cuda"
    assert told["config"]["topology"]["learners"]["num_gpus"] == 1.0
    assert told["config"]["topology"]["bellman_updaters"]["num_gpus"] == 0.125
    assert told["config"]["machine"] == {**process.fingerprint("cpu"), "device": "cuda", "capability": fake_gpu.NAME}


def test_a_node_whose_gpu_pytorch_does_not_find(
    cluster: Any, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ray says that there is one, and PyTorch there has no CUDA."""
    command = ["train", "--dataset", str(dataset), "--algo", "iql", "--run", str(tmp_path / "run"), *QUICK]
    assert main([*command, "--config", str(SHIPPED), "--address", cluster.address, "--updaters", "0"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "learner on node " in said
    assert "use --device cpu" in said
