"""A dataset or a run from somebody else runs no code here, and joins no cluster."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from cluster import cli
from cluster.commands import train
from cluster.commands.run_options import resume_command
from cluster.errors import RunError
from cluster.options import OnlineRecipe, as_json
from tests.cluster.run_folders import config, write_run
from tests.cluster.runs import make_dataset, recipe, run_once

ID = "planted:Planted-v0"
MODULE = """
import gymnasium as gym
import numpy as np

open({mark!r}, "w").close()


class Planted(gym.Env):
    observation_space = gym.spaces.Box(-np.inf, np.inf, (4,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        return np.zeros(4, np.float32), {{}}

    def step(self, action):
        return np.zeros(4, np.float32), 1.0, True, False, {{}}


gym.register("Planted-v0", entry_point=Planted)
"""


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module on the path whose environment could be used; the file is there once it has been imported."""
    mark = tmp_path / "imported"
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "planted.py").write_text(MODULE.format(mark=str(mark)))
    monkeypatch.syspath_prepend(folder)
    assert "planted" not in sys.modules
    yield mark
    sys.modules.pop("planted", None)
    gym.registry.pop("Planted-v0", None)


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained, and whose configuration then names the module."""
    folder = tmp_path_factory.mktemp("hostile")
    run_once(folder / "run", recipe(make_dataset(folder / "logs"), "bc", fused=True, steps=4))
    edit(folder / "run", environment={"id": ID})
    return folder / "run"


def edit(run: Path, **changes: Any) -> None:
    file = run / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_environment_that_a_dataset_names_is_left_out(
    tmp_path: Path, planted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = {"id": ID, "entry_point": ID, "kwargs": {}}
    data, run = str(make_dataset(tmp_path / "data", env_spec=spec)), str(tmp_path / "run")
    training = ["train", "--dataset", data, "--algo", "bc", "--serial", "--hidden", "8", "8", "--steps", "8"]
    assert cli.main([*training, "--run", run]) == 0
    assert f"note: no evaluation in {ID}, where the data comes from" in capsys.readouterr().err
    assert cli.main(["train", "--run", run, "--resume", "--steps", "16"]) == 0
    assert cli.main(["inspect", data, "--verify"]) == 0
    assert cli.main(["report", run]) == 0
    assert cli.main(["finetune", "--from", run, "--run", f"{run}-2", "--env-steps", "1"]) == 2
    assert "--env: is missing" in capsys.readouterr().err
    assert not planted.exists()

    assert cli.main([*training, "--run", f"{run}-3", "--trust-env", "--eval-episodes", "1"]) == 0
    assert f"evaluating in {ID}" in capsys.readouterr().err
    assert planted.exists()


@pytest.mark.parametrize(
    "spec", ["planted", ["planted:Planted-v0"], {"kwargs": {}}, {"id": ["a"]}, {"id": "A", "kwargs": 1}]
)
def test_an_environment_that_is_none_is_left_out(tmp_path: Path, spec: Any, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(make_dataset(tmp_path / "data", episodes=4, env_spec=spec))
    options = train.parse(["--dataset", data, "--algo", "bc", "--run", str(tmp_path / "run"), "--split", "all"])
    found, _, _ = train.settle(options)
    from cluster.commands.output import error_console

    assert train.evaluation_environment(options, found, error_console()) is None
    assert "note: no evaluation" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "train --resume", "finetune --from", "finetune --resume"])
def test_an_environment_that_a_run_names_is_refused(
    command: str, hostile_run: Path, planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(hostile_run)
    arguments = {
        "evaluate": ["evaluate", run, "--episodes", "1"],
        "train --resume": ["train", "--run", run, "--resume", "--steps", "8"],
        "finetune --from": ["finetune", "--from", run, "--run", str(tmp_path / "run2"), "--env-steps", "1"],
        "finetune --resume": ["finetune", "--run", run, "--resume"],
    }[command]
    if command == "finetune --resume":
        edit(hostile_run, online=as_json(OnlineRecipe(env_steps=10)), **{"from": None})
    before = files(hostile_run)
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert f"error: environment {ID}: {run}/config.json names it" in said
    assert f"--env {ID}, or add --trust-env" in said
    assert files(hostile_run) == before
    assert not (tmp_path / "run2").exists()
    assert not planted.exists()


@pytest.mark.parametrize("named", [["--env", ID], [f"--env={ID}"], ["--trust-env"]])
def test_an_environment_that_a_person_names_is_made(
    named: list[str], hostile_run: Path, planted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["evaluate", str(hostile_run), "--episodes", "2", *named]) == 0
    assert "return 1.00" in capsys.readouterr().out
    assert planted.exists()


def test_a_resumed_run_goes_on_where_a_person_names_its_environment(
    tmp_path: Path, dataset: Path, planted: Path
) -> None:
    run = str(tmp_path / "run")
    beginning = ["train", "--dataset", str(dataset), "--algo", "bc", "--run", run, "--steps", "8", "--hidden", "8", "8"]
    assert cli.main([*beginning, "--serial", "--env", ID, "--eval-episodes", "1"]) == 0
    planted.unlink()
    sys.modules.pop("planted")
    going_on = ["train", "--run", run, "--resume", "--steps"]
    assert cli.main([*going_on, "16"]) == 2
    assert not planted.exists()
    assert cli.main([*going_on, "16", "--env", ID]) == 0
    assert planted.exists()
    assert cli.main([*going_on, "24"]) == 2
    assert cli.main([*going_on, "24", "--trust-env"]) == 0


def test_naming_an_environment_is_not_naming_its_arguments(tmp_path: Path) -> None:
    environment = {"id": "HalfCheetah-v5", "kwargs": {"xml_file": "/etc/passwd"}}
    run = str(write_run(tmp_path / "run", environment=environment))
    for arguments, left in (
        ([], {"id", "kwargs", "reset_options"}),
        (["--env", "HalfCheetah-v5"], {"kwargs", "reset_options"}),
        (["--env", "HalfCheetah-v5", "--env_kwargs", "{}"], {"reset_options"}),
        (["--trust-env"], set()),
    ):
        options = train.parse(["--run", run, "--resume", *arguments])
        spec = train.evaluation_environment(options, train.settle(options)[0], None)  # type: ignore[arg-type]
        assert set(spec.recorded) == left  # type: ignore[union-attr]


def test_a_run_does_not_choose_the_cluster_that_is_joined(tmp_path: Path) -> None:
    """Ray imports the module before `://`, and runs what a cluster sends."""
    for name, value in (("address", "antigravity://x"), ("address", "203.0.113.9:6379"), ("stage", "/home/me/.ssh")):
        topology = {**config()["topology"], name: value}
        run = str(write_run(tmp_path / value.replace("/", "_"), topology=topology))
        with pytest.raises(RunError, match=rf"config\.json: topology\.{name} is '{value}'.*add --{name} {value}"):
            train.settle(train.parse(["--run", run, "--resume"]))
        chosen = train.settle(train.parse(["--run", run, "--resume", f"--{name}", value]))[1]
        assert getattr(chosen, name) == value
    run = str(write_run(tmp_path / "local", topology={**config()["topology"], "address": "auto"}))
    assert train.settle(train.parse(["--run", run, "--resume"]))[1].address == "auto"


@pytest.mark.parametrize(
    ("given", "again"),
    [
        ([], ""),
        (["--env", "Pendulum-v1", "--address", "auto"], ""),
        (["--address", "192.0.2.1:6379"], " --address 192.0.2.1:6379"),
        (["--address", "192.0.2.1:6379", "--serial"], ""),
        (["--stage", "/local/quiver"], " --stage /local/quiver"),
        (["--env", "robots:Arm-v0"], " --env robots:Arm-v0"),
        (["--env", "robots:Arm-v0", "--trust-env"], " --trust-env"),
        (
            ["--env", "Ant-v5", "--env-kwargs", '{"xml_file": "a.xml"}'],
            ' --env Ant-v5 --env-kwargs \'{"xml_file": "a.xml"}\'',
        ),
    ],
)
def test_an_interrupted_run_tells_all_that_resuming_it_takes(given: list[str], again: str) -> None:
    """What its configuration is not to set by itself."""
    options = train.parse(["--dataset", "logs", "--algo", "iql", "--run", "runs/the arm", *given])
    assert resume_command("train", options) == f"quiver train --run 'runs/the arm' --resume{again}"
