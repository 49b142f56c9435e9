"""Ray's own processes killed, on two nodes: a run goes on, or ends with the reason and how to go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.processes import alive, children, command_of, descendants, kill, records, wait_until
from tests.cluster.runs import assert_same_parameters, recipe, run_once

pytestmark = pytest.mark.slow

ray = pytest.importorskip("ray")

PROGRAM = Path(__file__).with_name("impatient_cli.py")
STEPS = 6_000
TOPOLOGY = """
metadata:
  quiver:
    max_restarts: 5
    roles:
      replay_shards: {count: 1, num_cpus: 0.1}
      bellman_updaters: {count: 1, num_cpus: 0.1}
      learners: {num_cpus: 0.1, resources: {robot: 1}}
"""
"""The learner is where a node has the resource `robot`, and nowhere else."""
FAST = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1_000,
    "health_check_failure_threshold": 3,
}
"""How soon the GCS takes a node for dead that says nothing."""


def training(dataset: Path) -> list[str]:
    """Options of a small run: chunks of four steps, each of which leaves a record."""
    return [
        *("--dataset", str(dataset), "--algo", "iql", "--hidden", "16", "16", "--batch-size", "16"),
        *("--chunk-steps", "4", "--steps", str(STEPS), "--updaters", "1", "--shards", "1"),
        *("--log-every", "4", "--validate-every", "0", "--checkpoint-every", "100"),
    ]


class Driver:
    """`quiver train` on a cluster, as a process of its own."""

    def __init__(self, run: Path, address: str | None, *options: str) -> None:
        self.run = run
        self._told = open(run.with_suffix(".err"), "a+")  # noqa: SIM115
        self._told.truncate(0)
        at = ["--address", address] if address else []
        command = [sys.executable, str(PROGRAM), "train", "--run", str(run), *at, *options]
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        self.process = subprocess.Popen(command, stdout=self._told, stderr=self._told, env=environment)

    def trains_on(self, records_more: int = 40) -> None:
        """Wait until the run has that much more to show."""
        before = records(self.run)
        self.wait_until(lambda: records(self.run) >= before + records_more, f"{records_more} more records")

    def says(self, text: str) -> None:
        self.wait_until(lambda: text in self.told(), f"{text!r}")

    def wait_until(self, condition: Any, what: str) -> None:
        wait_until(lambda: condition() or self.process.poll() is not None, what, seconds=90.0)
        assert self.process.poll() is None, self.told()

    def told(self) -> str:
        return self.run.with_suffix(".err").read_text()

    def ends(self, seconds: float) -> tuple[int, str]:
        """Its exit status, and the last line it said: never a trace."""
        status = self.process.wait(timeout=seconds)
        self._told.close()
        told = self.told()
        assert "Traceback" not in told, told
        assert "***" not in told, told
        return status, told.strip().splitlines()[-1]


def agent(node: Any, name: str) -> int:
    """The process id of one of a node's agents."""
    found = [process for process in children(raylet(node)) if command_of(process).startswith(f"ray::{name}")]
    assert len(found) == 1, found
    return found[0]


def raylet(node: Any) -> int:
    return server(node, "raylet")


def server(node: Any, name: str) -> int:
    """The process id of one of a node's processes."""
    return node.all_processes[name][0].process.pid


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head, to which the test adds nodes."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 2, "include_dashboard": True, "_system_config": FAST}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster
    cluster.shutdown()


@pytest.mark.timeout(600)
def test_each_of_rays_processes_killed_ends_a_run_with_a_reason_or_not_at_all(
    dataset: Path, tmp_path: Path, cluster: Any
) -> None:
    run, topology = tmp_path / "run", tmp_path / "topology.yaml"
    topology.write_text(TOPOLOGY)
    head = cluster.head_node

    # Nobody has what it asks for: it says so, and SIGTERM ends it with nothing left behind.
    driver = Driver(tmp_path / "elsewhere", cluster.address, *training(dataset), "--config", str(topology))
    driver.says("robot: 1 wanted, 0 in the cluster; waited")
    driver.process.send_signal(signal.SIGTERM)
    status, told = driver.ends(30)
    assert status == 143
    assert told.startswith("quiver train: ended by SIGTERM. Nothing had begun, and nothing is left behind")
    assert not (tmp_path / "elsewhere").exists()

    # A node that no other can stand in for: the run waits, and goes on when there is another.
    worker = cluster.add_node(num_cpus=2, resources={"robot": 1})
    driver = Driver(run, cluster.address, *training(dataset), "--config", str(topology))
    driver.trains_on()
    for name in ("monitor", "dashboard", "log_monitor"):
        kill(server(head, name))
    driver.trains_on()
    kill(raylet(worker))
    driver.says("waiting up to 15 s for places for all roles (robot: 1 wanted, 0 in the cluster)")
    worker = cluster.add_node(num_cpus=2, resources={"robot": 1})
    driver.trains_on()
    kill(agent(worker, "RuntimeEnvAgent"))
    worker = cluster.add_node(num_cpus=2, resources={"robot": 1})
    driver.says("runtime_env_agent failed")
    driver.trains_on()
    # None comes: the run ends, and can be resumed.
    kill(agent(worker, "DashboardAgent"))
    status, told = driver.ends(60)
    assert status == 2
    assert "was lost: dashboard_agent failed and raylet fate-shares with it" in told
    assert "No other node had room for its roles within 15 s (robot: 1 wanted, 0 in the cluster)" in told
    assert "go on with --resume" in told

    # The driver's own node: its agent, and in the next run its raylet.
    worker = cluster.add_node(num_cpus=2, resources={"robot": 1})
    driver = Driver(run, cluster.address, "--resume")
    driver.trains_on()
    kill(agent(head, "DashboardAgent"))
    status, told = driver.ends(40)
    assert status == 2
    assert "Ray on the machine of this process ended: node" in told
    assert "dashboard_agent failed" in told
    assert "Start Ray again first, then go on with --resume." in told

    driver = Driver(run, cluster.address, "--resume")
    driver.trains_on()
    kill(raylet(worker))
    status, told = driver.ends(40)
    assert status == 2
    assert "Ray on the machine of this process ended: node" in told
    assert "Start Ray again first, then go on with --resume." in told

    # The GCS, whose loss would let Ray abort the process.
    cluster.add_node(num_cpus=2, resources={"robot": 1})
    driver = Driver(run, cluster.address, "--resume")
    driver.trains_on()
    kill(server(head, "gcs_server"))
    status, told = driver.ends(20)
    assert status == 2
    assert f"Ray's GCS at {cluster.address} has not answered for 6 s" in told
    assert "gcs_server.out" in told
    assert "Start Ray again first, then go on with --resume." in told

    run_once(tmp_path / "unharmed", recipe(dataset, steps=STEPS))
    last = Driver(run, None, "--resume", "--serial")
    assert last.ends(120)[0] == 0
    assert_same_parameters(run, tmp_path / "unharmed")


def test_ray_that_the_run_started_ends_with_it(dataset: Path, tmp_path: Path) -> None:
    """Where its GCS is lost, and where SIGTERM ends the run."""
    run = tmp_path / "run"
    driver = Driver(run, None, *training(dataset))
    driver.trains_on(10)
    (gcs,) = [process for process in children(driver.process.pid) if "gcs_server" in command_of(process)]
    started = descendants(driver.process.pid)
    kill(gcs)
    status, told = driver.ends(20)
    assert status == 2
    assert "has not answered for 6 s" in told
    assert "Go on with --resume: it starts Ray anew." in told
    wait_until(lambda: not alive(started), "Ray's processes to end", 20.0)

    driver = Driver(run, None, "--resume")
    driver.trains_on(10)
    started = descendants(driver.process.pid)
    driver.process.send_signal(signal.SIGTERM)
    status, told = driver.ends(30)
    assert status == 143
    assert told == f"quiver train: ended by SIGTERM. Go on with: quiver train --run {run} --resume"
    wait_until(lambda: not alive(started), "Ray's processes to end", 20.0)
