"""`--device` is for every role: what each asks for, before anything is started."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from cluster import process
from cluster.backends import placement
from cluster.backends.placement import settle_devices
from cluster.backends.room import Place, check_this_machine, fit
from cluster.build import AlgorithmSpec
from cluster.errors import RunError
from cluster.options import Recipe, Role, Topology
from cluster.roles.bellman_updater import BellmanUpdater
from cluster.roles.learner import Learner
from cluster.topology import read_topology
from tests.cluster.online_runs import online_recipe, run_online
from tests.cluster.runs import SPACES

SHIPPED = Path(__file__).parents[2] / "ray_config.yaml"
ROLES = ("replay_shards", "bellman_updaters", "learners", "evaluators", "env_runners", "online_writers")


def settled(
    device: str, topology: Topology, *, gpu_here: bool, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, Topology]:
    monkeypatch.setattr(process, "gpu_present", lambda: gpu_here)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    recipe, found = settle_devices(Recipe(datasets=(), algorithm="iql", device=device), topology)
    return recipe.device, found


def gpus(topology: Topology) -> dict[str, float]:
    found = {name: getattr(topology, name).num_gpus for name in ROLES}
    return {name: amount for name, amount in found.items() if amount}


def test_with_cpu_no_role_of_the_shipped_file_asks_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = read_topology(SHIPPED)
    topology = replace(shipped, evaluators=Role(1, num_gpus=0.5), env_runners=Role(2, num_gpus=1.0))
    device, found = settled("cpu", topology, gpu_here=True, monkeypatch=monkeypatch)
    assert device == "cpu"
    assert gpus(found) == {}
    assert found.bellman_updaters == replace(shipped.bellman_updaters, num_gpus=0.0)


def test_auto_takes_the_shipped_file_as_it_is_on_a_driver_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = replace(read_topology(SHIPPED), address="auto")
    assert settled("auto", shipped, gpu_here=False, monkeypatch=monkeypatch) == ("cuda", shipped)


UPDATERS = Topology(bellman_updaters=Role(3))
JOINING = replace(UPDATERS, address="auto")


@pytest.mark.parametrize(
    ("device", "topology", "gpu_here", "expected"),
    [
        ("auto", UPDATERS, False, {}),
        ("auto", UPDATERS, True, {"learners": 0.6, "bellman_updaters": 0.1333}),
        ("auto", JOINING, True, {}),  # what the driver's machine has says nothing about the cluster
        ("cuda", JOINING, False, {"learners": 0.6, "bellman_updaters": 0.1333}),
        ("cuda", Topology(), False, {"learners": 1.0}),
        ("cuda", replace(UPDATERS, learners=Role(2)), False, {"learners": 0.6, "bellman_updaters": 0.2}),
        (
            "cuda",
            replace(JOINING, learners=Role(1, num_gpus=1.0)),
            False,
            {"learners": 1.0, "bellman_updaters": 0.3333},
        ),
        # Updaters that may differ from the learner stay where the topology has them.
        ("cuda", replace(JOINING, allow_mixed=True), False, {"learners": 1.0}),
        ("auto", replace(JOINING, bellman_updaters=Role(2, num_gpus=0.5)), False, {"bellman_updaters": 0.5}),
        ("auto", replace(JOINING, bellman_updaters=Role(0, num_gpus=0.5)), False, {"bellman_updaters": 0.5}),
    ],
)
def test_learners_and_updaters_share_what_there_is(
    device: str, topology: Topology, gpu_here: bool, expected: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    found_device, found = settled(device, topology, gpu_here=gpu_here, monkeypatch=monkeypatch)
    assert gpus(found) == pytest.approx(expected)
    assert found_device == ("cuda" if "learners" in expected else "cpu")
    assert replace(found, learners=topology.learners, bellman_updaters=topology.bellman_updaters) == topology


@pytest.mark.parametrize("updaters", [1, 3, 7, 4000, 10_000])
def test_no_gpu_is_promised_twice(updaters: int, monkeypatch: pytest.MonkeyPatch) -> None:
    topology = Topology(bellman_updaters=Role(updaters), learners=Role(2))
    _, found = settled("cuda", topology, gpu_here=False, monkeypatch=monkeypatch)
    each = found.bellman_updaters.num_gpus
    assert each >= 0.0001  # what Ray counts in
    if updaters <= 4000:
        assert found.learners.num_gpus + math.ceil(updaters / 2) * each <= 1.0


def test_an_address_in_the_environment_is_a_cluster_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "gpu_present", lambda: True)
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    recipe, _ = settle_devices(Recipe(datasets=(), algorithm="iql", device="auto"), UPDATERS)
    assert recipe.device == "cpu"


@pytest.mark.parametrize("gpu_here", [False, True])
def test_a_serial_run_looks_at_this_machine_alone(gpu_here: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = replace(read_topology(SHIPPED), serial=True)
    device, found = settled("auto", shipped, gpu_here=gpu_here, monkeypatch=monkeypatch)
    assert device == ("cuda" if gpu_here else "cpu")
    assert gpus(found) == ({"learners": 1.0, "bellman_updaters": 0.125} if gpu_here else {})


def test_a_device_that_is_none_or_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match="--device: found 'gpu', expected auto, cpu or cuda"):
        settled("gpu", Topology(), gpu_here=True, monkeypatch=monkeypatch)
    with pytest.raises(RunError, match="--device cuda: PyTorch finds no GPU on this machine"):
        settled("cuda", Topology(serial=True), gpu_here=False, monkeypatch=monkeypatch)


def test_a_driver_without_a_gpu_prepares_for_roles_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.torch.cuda, "init", lambda: pytest.fail("it touched CUDA"))
    process.prepare(1, "cuda")


def test_a_role_that_finds_no_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "gpu_present", lambda: False)
    monkeypatch.setattr(process.platform, "node", lambda: "node-3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    expected = (
        r"^bellman_updater on node node-3: is to compute on a GPU, .*CUDA_VISIBLE_DEVICES is '0'.*--device cpu\.$"
    )
    spec = AlgorithmSpec("iql", {"hidden": (16, 16)}, SPACES, None, 0)
    with pytest.raises(RunError, match=expected):
        BellmanUpdater(spec, 1, "cuda")
    with pytest.raises(RunError, match=expected.replace("bellman_updater", "learner")):
        Learner(spec, Recipe(datasets=(), algorithm="iql"), "cuda")


def test_a_role_that_asks_for_nothing_is_placed_all_the_same() -> None:
    """Ray refuses to place nothing; `--device cpu` may leave a role with nothing."""
    assert placement._asking(Role(num_cpus=0.0)) == Role(num_cpus=0.0001)
    assert placement._asking(Role(num_cpus=0.0, resources={"replay": 1})).num_cpus == 0.0


def test_no_runner_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="--runners: found 0, expected 1 to 10,000"):
        run_online(tmp_path / "run", online_recipe(None), topology=Topology(serial=True, env_runners=Role(0)))
    assert not (tmp_path / "run").exists()


def test_what_no_node_will_bring_is_refused_at_once() -> None:
    """Nodes come to a cluster, and the run waits for them; none come to a Ray on this machine alone."""
    present = {"CPU": 2.0, "replay": 1.0}
    shard, learner = Role(resources={"replay": 1.0}), Role(num_gpus=1.0)
    places = [Place("replay_shard-0", shard), Place("replay_shard-1", shard)]
    check_this_machine(places[:1], present)

    places.append(Place("learner-0", learner))
    lacking = r"replay \(2 wanted, 1 there\), GPU \(1 wanted, 0 there\)"
    with pytest.raises(RunError, match=f"{lacking}.*--address.*--config.*--device cpu"):
        check_this_machine(places, present)


def shares(places: list[Place], nodes: list[dict[str, float]]) -> list[float]:
    return [place.role.num_cpus for place in fit(places, nodes)]


def test_roles_that_fit_keep_their_cpus() -> None:
    places = [Place("learner-0", Role(num_cpus=4.0)), Place("updater-0", Role(num_cpus=2.0))]
    assert shares(places, [{"CPU": 4.0}, {"CPU": 2.0}]) == [4.0, 2.0]


def test_roles_that_do_not_fit_share_what_there_is() -> None:
    places = [Place(f"updater-{number}", Role(num_cpus=1.0)) for number in range(4)]
    assert sum(shares(places, [{"CPU": 2.0}])) <= 2.0


def test_a_role_larger_than_any_node_shares_though_the_nodes_together_have_enough() -> None:
    """A learner of four CPUs does not go on two nodes of two."""
    places = [Place("learner-0", Role(num_cpus=4.0, resources={"learner": 1.0})), Place("updater-0", Role())]
    learner, _ = shares(places, [{"CPU": 2.0, "learner": 1.0}, {"CPU": 4.0}])
    assert learner <= 2.0


def test_a_role_that_waits_for_another_kind_of_node_takes_nothing_from_the_others() -> None:
    places = [Place("learner-0", Role(num_cpus=8.0, num_gpus=1.0)), Place("updater-0", Role(num_cpus=2.0))]
    assert shares(places, [{"CPU": 2.0}]) == [8.0, 2.0]
