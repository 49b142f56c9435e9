"""The files that start a cluster: that Ray, KubeRay and bash take them, and that they agree with each other."""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
import stat
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cluster.options import Topology
from cluster.topology import parse_topology, read_topology

ROOT = Path(__file__).parents[2]
AWS, GCP, OWN = ROOT / "ray_config.yaml", ROOT / "deploy/gcp.yaml", ROOT / "deploy/own_machines.yaml"
RAYCLUSTER, RAYJOB, SHARED = (ROOT / f"deploy/kuberay/{name}.yaml" for name in ("raycluster", "rayjob", "shared"))
COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)


def read(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))


def name_of(path: Path) -> str:
    return path.name


# --- Ray: `ray up` ---


def prepared(config: dict[str, Any]) -> dict[str, Any]:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(copy.deepcopy(config))
    validate_config(config)
    return config


@pytest.mark.parametrize("path", [AWS, GCP, OWN], ids=name_of)
def test_ray_takes_the_file(path: Path):
    config = prepared(read(path))
    assert config["metadata"] == read(path)["metadata"]
    # Ray's own defaults would install a development build, and open the dashboard to the world.
    everything = str({key: value for key, value in config.items() if "command" in key})
    assert "dev0" not in everything
    assert not re.search(r"(?<!\d)0\.0\.0\.0", everything)
    assert "--dashboard-host=127.0.0.1" in everything
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        started = " ".join(config[commands])
        assert "RAY_AUTH_MODE=token ray start" in started
        assert "--metrics-export-port=8080" in started


def test_ray_would_refuse_our_keys_at_the_top():
    """Why the topology stands under `metadata`."""
    config = read(AWS)
    config["quiver"] = config.pop("metadata")["quiver"]
    with pytest.raises(jsonschema.ValidationError, match="Additional properties"):
        prepared(config)


def test_every_machine_names_its_image():
    """Ray's own default has glibc 2.27 and Python 3.10 at most; a machine with a GPU needs a driver in its image."""
    for node in read(AWS)["available_node_types"].values():
        image = node["node_config"]["ImageId"]
        assert image.startswith("resolve:ssm:/aws/service/")
        assert "24.04" in image
        assert ("nvidia-driver" in image) == ("GPU" in node["resources"])
    for node in read(GCP)["available_node_types"].values():
        (disk,) = node["node_config"]["disks"]
        image = disk["initializeParams"]["sourceImage"]
        assert "ubuntu-2404" in image
        assert ("nvidia-580" in image) == ("GPU" in node["resources"])


@pytest.mark.parametrize("path", [AWS, GCP, OWN], ids=name_of)
def test_bash_takes_every_command(path: Path):
    # As Ray runs them: in parentheses, after what it exports.
    commands = [command for key in COMMANDS for command in prepared(read(path))[key]]
    for command in commands:
        subprocess.run(["bash", "-n", "-c", f"export RAY_HEAD_IP=192.0.2.1; ({command})"], check=True)


@pytest.mark.parametrize("path", [AWS, GCP, OWN], ids=name_of)
def test_the_token_is_for_its_owner_alone_and_the_environment_is_on_the_path(path: Path, tmp_path: Path):
    (tmp_path / ".ray").mkdir(mode=0o755)
    (tmp_path / ".ray/auth_token").write_text("secret")
    (tmp_path / ".ray/auth_token").chmod(0o644)
    (tmp_path / ".bashrc").touch()
    setup = read(path)["setup_commands"]
    for command in [c for c in setup if "auth_token" in c or ".bashrc" in c] * 2:  # `ray up` may be run again.
        subprocess.run(["bash", "-c", command], env={**os.environ, "HOME": str(tmp_path)}, check=True)
    assert stat.S_IMODE((tmp_path / ".ray").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / ".ray/auth_token").stat().st_mode) == 0o600
    assert (tmp_path / ".bashrc").read_text() == 'export PATH="$HOME/quiver-env/bin:$PATH" RAY_AUTH_MODE=token\n'
    assert read(path)["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


@pytest.mark.parametrize("path", [AWS, GCP, OWN], ids=name_of)
def test_data_and_runs_stay_at_home_but_folders_of_their_name_travel(path: Path):
    """`ray rsync-up` heeds the same list: without its first slash, `runs/` would be left out of whatever it copies."""
    excluded = read(path)["rsync_exclude"]
    assert {"/data/", "/runs/", ".venv/"} <= set(excluded)
    assert not {"data/", "runs/"} & set(excluded)


def started(command: str, addresses: str, folder: Path) -> list[str]:
    """The arguments that `ray` would be given by `command` on a machine with these addresses."""
    folder.mkdir(exist_ok=True)
    for name, script in {"ray": 'printf "%s\\n" "$@"', "hostname": f'echo "{addresses} "'}.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
    command = f"export RAY_HEAD_IP=192.0.2.1; ({command})"
    done = subprocess.run(["bash", "-c", command], env=environment, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("addresses", "resources"),
    [
        ("192.0.2.2", {"learner": 1}),
        ("172.17.0.1 192.0.2.2 fd00::2", {"learner": 1}),
        ("192.0.2.3", {"updater": 8}),
        ("192.0.2.20", {"updater": 8}),
    ],
)
def test_own_machines_are_told_apart_by_address(addresses: str, resources: dict[str, int], tmp_path: Path):
    arguments = started(read(OWN)["worker_start_ray_commands"][1], addresses, tmp_path)
    assert arguments[:2] == ["start", "--address=192.0.2.1:6379"]
    assert json.loads(arguments[-1].removeprefix("--resources=")) == resources


# --- the roles, on the nodes of each file ---

Node = dict[str, float]


def cloud_nodes(path: Path) -> list[Node]:
    """The head and the machines that are there from the beginning."""
    config = read(path)
    kinds = config["available_node_types"]
    counts = {kind: 1 if kind == config["head_node_type"] else node["min_workers"] for kind, node in kinds.items()}
    return [dict(kinds[kind]["resources"]) for kind, count in counts.items() for _ in range(count)]


def own_nodes(folder: Path) -> list[Node]:
    """The machines that the file's first lines speak of."""
    config = read(OWN)

    def resources(commands: list[str], address: str) -> Node:
        (found,) = [a for a in started(commands[1], address, folder) if a.startswith("--resources=")]
        return json.loads(found.removeprefix("--resources="))

    head = {"CPU": 8, **resources(config["head_start_ray_commands"], config["provider"]["head_ip"])}
    workers = config["provider"]["worker_ips"]
    return [
        head,
        *({"CPU": 8, "GPU": 1, **resources(config["worker_start_ray_commands"], address)} for address in workers),
    ]


def pods(path: Path) -> list[Node]:
    spec = read(path)["spec"]
    spec = spec.get("rayClusterSpec", spec)
    nodes = []
    for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        node = {"CPU": float(limits["cpu"]), "GPU": float(limits.get("nvidia.com/gpu", 0))}
        node |= {name: float(amount) for name, amount in group["resources"].items()}
        nodes += [dict(node) for _ in range(group.get("replicas", 1))]
    return nodes


def nodes_of(path: Path, folder: Path) -> list[Node]:
    return own_nodes(folder) if path == OWN else cloud_nodes(path) if path in (AWS, GCP) else pods(path)


def topology_of(path: Path) -> Topology:
    if path in (AWS, GCP, OWN):
        return read_topology(path)
    _, topology = yaml.safe_load_all(SHARED.read_text())
    return parse_topology(yaml.safe_load(topology["data"]["topology.yaml"])["metadata"]["quiver"], "shared.yaml")


@pytest.mark.parametrize("path", [AWS, GCP, OWN, RAYCLUSTER, RAYJOB], ids=name_of)
def test_the_nodes_hold_the_roles(path: Path, tmp_path: Path):
    """Every role finds room on one of the nodes that are there from the beginning, the greediest first."""
    topology, free = topology_of(path), nodes_of(path, tmp_path / "bin")
    roles = {name: value for name, value in vars(topology).items() if hasattr(value, "num_cpus")}
    assert len(roles) == 6
    asked = [
        (name, {"CPU": role.num_cpus, "GPU": role.num_gpus, **role.resources})
        for name, role in roles.items()
        for _ in range(role.count)
    ]
    for name, wanted in sorted(asked, key=lambda pair: (pair[1]["GPU"], pair[1]["CPU"]), reverse=True):
        room = [node for node in free if all(node.get(key, 0) >= amount for key, amount in wanted.items())]
        assert room, f"no node has room for {name}, which asks for {wanted}; free is {free}"
        for key, amount in wanted.items():
            room[0][key] = room[0].get(key, 0) - amount


@pytest.mark.parametrize("path", [GCP, OWN, RAYCLUSTER], ids=name_of)
def test_one_topology_everywhere(path: Path):
    assert topology_of(path) == read_topology(AWS)


# --- Kubernetes ---


@pytest.fixture(scope="module")
def kuberay() -> dict[str, Any]:
    return dict(json.loads((ROOT / "tests/data/kuberay/schema.json").read_text()))


def mistakes(schema: dict[str, Any], document: dict[str, Any]) -> list[str]:
    validator = jsonschema.Draft202012Validator({"$ref": f"#/$defs/{document['kind']}", **schema})
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


FREE = {"resources", "requests", "limits", "rayStartParams", "labels"}
"""Fields whose keys are the author's own. (A container's `resources` is not among them, but for this.)"""


def misspelt(node: Any, free: bool = False) -> Iterator[tuple[str, Any]]:
    """`node` with one key misspelt, for each key."""
    if isinstance(node, list):
        for place, part in enumerate(node):
            for key, changed in misspelt(part):
                yield f"[{place}].{key}", [*node[:place], changed, *node[place + 1 :]]
    if isinstance(node, dict):
        for name, part in node.items():
            if not free:
                yield name, {**{k: v for k, v in node.items() if k != name}, name + "s": part}
            for key, changed in misspelt(part, free=name in FREE):
                yield f"{name}.{key}", {**node, name: changed}


@pytest.mark.parametrize("path", [RAYCLUSTER, RAYJOB], ids=name_of)
def test_kuberay_takes_the_file_and_would_refuse_each_misspelt_field(path: Path, kuberay: dict[str, Any]):
    document = read(path)
    assert mistakes(kuberay, document) == []
    wrong = {key: changed for key, changed in misspelt(document) if key != "kind"}
    assert len(wrong) > 80
    assert [key for key, changed in wrong.items() if not mistakes(kuberay, changed)] == []


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("workerGroupSpecs", 0, "replicas"), "1", "is not of type 'integer'"),
        (("workerGroupSpecs", 0, "resources", "learner"), 1, "is not of type 'string'"),
        (("authOptions", "mode"), "tokens", "is not one of"),
        (
            ("headGroupSpec", "template", "spec", "containers", 0, "resources", "limits", "cpu"),
            "many",
            "does not match",
        ),
        (("headGroupSpec", "template", "spec", "containers", 0, "ports", 0, "containerPort"), "80", "'integer'"),
    ],
)
def test_kuberay_would_refuse_a_value_of_another_kind(
    place: tuple[Any, ...], value: Any, message: str, kuberay: dict[str, Any]
):
    document = read(RAYCLUSTER)
    node = document["spec"]
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    (told,) = mistakes(kuberay, document)
    assert message in told


def test_the_job_brings_the_same_cluster_and_ends_it():
    job = read(RAYJOB)["spec"]
    assert job["rayClusterSpec"] == read(RAYCLUSTER)["spec"]
    assert job["shutdownAfterJobFinishes"] is True
    assert 0 < job["ttlSecondsAfterFinished"] <= 600


def test_the_pods_fit_the_image_the_volume_and_the_topology():
    volume, topology = yaml.safe_load_all(SHARED.read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    spec = read(RAYCLUSTER)["spec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert f"ray=={spec['rayVersion']}" in (ROOT / "constraints.txt").read_text().splitlines()
    for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["image"] == f"quiver:{project['version']}"
        assert {"name": "metrics", "containerPort": 8080} in container["ports"]
        assert f"USER {pod['securityContext']['runAsUser']}" in (ROOT / "Dockerfile").read_text()
        assert pod["volumes"] == [
            {"name": "shared", "persistentVolumeClaim": {"claimName": volume["metadata"]["name"]}},
            {"name": "topology", "configMap": {"name": topology["metadata"]["name"]}},
        ]
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/mnt/quiver", "/etc/quiver"]


def test_the_job_s_command_is_one_of_quiver_s():
    program, command, *options = shlex.split(read(RAYJOB)["spec"]["entrypoint"])
    assert (program, command) == ("quiver", "train")
    assert options[options.index("--config") + 1] == "/etc/quiver/topology.yaml"
    from cluster.commands import train

    parsed = train.parse([str(AWS) if option.startswith("/etc/") else option for option in options])
    assert (parsed.topology.address, parsed.recipe.algorithm) == ("auto", "iql")


# --- what the page and the files tell people to type ---


def ray_commands() -> list[str]:
    """Every `ray …` of docs/cluster.md's blocks, of the files' first lines, and of their start commands."""
    texts = re.findall(r"^```\n(.*?)^```", (ROOT / "docs/cluster.md").read_text(), flags=re.DOTALL | re.MULTILINE)
    for path in (AWS, GCP, OWN):
        comment = re.match(r"(#.*\n)+", path.read_text())
        assert comment
        texts.append(re.sub(r"^# *", "", comment[0], flags=re.MULTILINE))
    lines = [line for text in texts for line in re.sub(r" *\\\n *", " ", text).splitlines()]
    found = [re.sub(r"^\(umask 077; ", "", line) for line in lines]
    # What follows the command is redirected, or is its explanation.
    found = [re.split(r"  +| [>|]", line)[0] for line in found if line.startswith("ray ")]
    starts = [c for path in (AWS, GCP, OWN) for key in COMMANDS[-2:] for c in read(path)[key] if "ray start" in c]
    return found + [command[command.index("ray start") :] for command in starts]


def test_ray_has_every_command_and_option_that_people_are_told_to_type():
    from ray.scripts.scripts import cli

    commands = ray_commands()
    assert len(commands) > 20
    for line in commands:
        _, name, *arguments = shlex.split(line)
        command: Any = cli
        command = command.commands[name]
        while hasattr(command, "commands"):
            command = command.commands[arguments.pop(0)]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        own = arguments[: arguments.index("--")] if "--" in arguments else arguments
        used = {argument.split("=")[0] for argument in own if argument.startswith("-")}
        assert used <= known, f"{line}: `ray {name}` has no {used - known}"


def test_every_file_that_the_page_names_is_there():
    text = (ROOT / "docs/cluster.md").read_text()
    named = set(re.findall(r"(?:deploy/[\w./-]+\.(?:ya?ml|json)|ray_config\.yaml|Dockerfile)", text))
    assert len(named) >= 8
    assert [name for name in named if not (ROOT / name).is_file()] == []
