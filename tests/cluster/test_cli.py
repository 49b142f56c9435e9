"""The command line: what it says, what it refuses and how, and the whole way from an environment to a report."""

from __future__ import annotations

import errno
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import learners
from cluster import cli
from cluster.commands import collect, evaluate, ingest, train
from cluster.commands.options import recorded_environment
from cluster.commands.run_options import Environment, Place, weighted_datasets
from cluster.errors import RunError
from cluster.options import Cadence, Recipe, Role, Topology
from cluster.report import reproduce
from envs import EnvSpec
from tests.cluster.run_folders import config, write_run

SHIPPED = Path(__file__).parents[2] / "ray_config.yaml"
NEEDED = ["--dataset", "logs", "--run", "run"]


def parsed(*arguments: str) -> Any:
    return train.parse([*NEEDED, "--algo", "iql", *arguments])


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command that fails says: one line on standard error, nothing on standard output, exit code 2."""
    capsys.readouterr()
    assert cli.main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    return said.err.removeprefix("error: ").strip()


def plain(value: Any) -> Any:
    """As it comes back from JSON: tuples as lists."""
    return json.loads(json.dumps(value))


# --- Help ---


def test_help_names_every_command_and_imports_nothing_slow():
    program = (
        "import sys; from cluster import cli; assert cli.main(['--help']) == 0; "
        "print(sorted({'torch', 'ray', 'minari', 'gymnasium', 'pyarrow', 'pydantic'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *lines, imported = result.stdout.splitlines()
    assert imported == "[]"
    for name, command in cli.COMMANDS.items():
        assert any(line.split()[:1] == [name] and command.does in line for line in lines)


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        cli.main([name, "--help"])
    assert end.value.code == 0
    assert f"usage: quiver {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", learners.names())
def test_the_help_of_an_algorithm_shows_its_knobs(name: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        cli.main(["train", "--algo", name, "--help"])
    shown = capsys.readouterr().out
    for knob in learners.config_class(name).__dataclass_fields__:
        assert f"--{knob.replace('_', '-')}" in shown


def test_help_tells_what_a_knob_is_for(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        cli.main(["train", "--algo", "iql", "--help"])
    assert ".5 is the mean, towards 1 the maximum" in " ".join(capsys.readouterr().out.replace("│", " ").split())


# --- Options of train ---


@pytest.mark.parametrize("name", learners.names())
def test_knobs_and_options_never_share_a_name(name: str):
    knobs = set(learners.config_class(name).__dataclass_fields__)
    groups = (Place, Environment, Recipe, Topology, Cadence)
    assert not knobs & {entry for group in groups for entry in group.__dataclass_fields__}


def test_a_knob_is_an_option():
    recipe, _, _ = train.settle(parsed("--expectile", "0.9", "--hidden", "32", "32", "--no-normalise-observation"))
    assert recipe.knobs["expectile"] == 0.9
    assert recipe.knobs["hidden"] == (32, 32)
    assert recipe.knobs["normalise_observation"] is False
    assert recipe.knobs["temperature"] == learners.config_class("iql")().temperature


def test_updaters_make_a_run_that_is_not_fused():
    assert train.settle(parsed())[0].fused
    recipe, topology, _ = train.settle(parsed("--updaters", "3", "--shards", "2", "--evaluators", "4"))
    assert topology.evaluators.count == 4
    assert not recipe.fused
    assert topology.bellman_updaters.count == 3
    assert topology.replay_shards.count == 2


def test_updaters_auto_is_at_least_one_and_leaves_the_learner_its_processor(monkeypatch: pytest.MonkeyPatch):
    for processors, expected in ((1, 1), (2, 1), (8, 7)):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, n=processors: set(range(n)))
        assert train.settle(parsed("--updaters", "auto"))[1].bellman_updaters.count == expected
    with pytest.raises(RunError, match=r"--updaters auto: .*cluster"):
        train.settle(parsed("--updaters", "auto", "--address", "auto"))
    with pytest.raises(RunError, match="--updaters: found 'many'"):
        train.settle(parsed("--updaters", "many"))
    for option, count in (("--evaluators", "-1"), ("--updaters", "10001"), ("--shards", "1000000000")):
        with pytest.raises(RunError, match=f"{option}: found '?{count}'?, expected a whole number, [01] to 10,000"):
            train.settle(parsed(option, count))


def test_the_topology_file_comes_first_and_options_go_over_it():
    _, topology, _ = train.settle(parsed("--config", str(SHIPPED)))
    assert topology.bellman_updaters == Role(8, 1.0, 0.125, {"updater": 1})
    _, topology, _ = train.settle(parsed("--config", str(SHIPPED), "--updaters", "2", "--max-restarts", "0"))
    assert topology.bellman_updaters == Role(2, 1.0, 0.125, {"updater": 1})
    assert topology.max_restarts == 0


def test_an_algorithm_without_targets_runs_fused_on_a_cluster_made_for_updaters():
    recipe, topology, _ = train.settle(train.parse([*NEEDED, "--algo", "bc", "--config", str(SHIPPED)]))
    assert recipe.fused
    assert topology.bellman_updaters.count == 0


def test_weights_of_datasets(tmp_path: Path):
    (tmp_path / "a=1").mkdir()
    here = str(Path.cwd())
    assert weighted_datasets(["x=2", "y=0.5"]) == ((f"{here}/x", 2.0), (f"{here}/y", 0.5))
    # A folder of that very name is meant, not a weight.
    assert weighted_datasets([f"{tmp_path}/a=1"]) == ((f"{tmp_path}/a=1", None),)
    for bad in ("x=0", "x=-1", "x=lots", "x=nan", "x=inf"):
        with pytest.raises(RunError, match=f"--dataset {bad}: the weight is"):
            weighted_datasets([bad])
    with pytest.raises(RunError, match="some have a weight and some have none"):
        weighted_datasets(["x=1", "y"])


def test_a_missing_dataset_option():
    with pytest.raises(RunError, match="--dataset: is missing"):
        train.settle(train.parse(["--run", "run", "--algo", "iql"]))


def test_resuming_takes_everything_from_the_run(tmp_path: Path):
    run = write_run(tmp_path / "run")
    recipe, topology, cadence = train.settle(train.parse(["--run", str(run), "--resume"]))
    before = config()
    knobs = learners.config_class("iql")(expectile=0.9)
    assert plain(recipe.__dict__) == plain({**before["recipe"], "knobs": knobs.__dict__})
    assert cadence.eval_every == 2_000
    assert topology.replay_shards.count == 2
    options = train.parse(["--run", str(run), "--resume", "--steps", "9000", "--serial", "--updaters", "2"])
    recipe, topology, _ = train.settle(options)
    assert recipe.steps == 9_000
    assert topology.serial
    assert topology.bellman_updaters.count == 2
    assert options.environment.env == "PointMaze_UMaze-v3"
    assert json.loads(options.environment.reset_options) == {"goal_cell": [3, 1]}


def test_the_command_in_a_report_gives_the_same_run(tmp_path: Path):
    before = config()
    words = shlex.split(reproduce.train_command(before, "again"))
    assert words[:2] == ["quiver", "train"]
    options = train.parse(words[2:])
    recipe, topology, cadence = train.settle(options)
    again = plain(recipe.__dict__)
    assert again["knobs"].items() >= plain(before["recipe"]["knobs"]).items()
    # `auto` settles on the processor when the run begins.
    assert {**again, "knobs": 0, "device": 0} == {**plain(before["recipe"]), "knobs": 0, "device": 0}
    assert topology.replay_shards.count == 2
    assert topology.bellman_updaters.count == 1
    assert cadence.__dict__ == before["cadence"]
    spec = EnvSpec("PointMaze_UMaze-v3", reset_options={"goal_cell": [3, 1]})
    assert train.evaluation_environment(options, recipe, None) == spec


def test_evaluation_can_be_left_out():
    options = parsed("--env", "Pendulum-v1", "--eval-episodes", "0")
    assert train.evaluation_environment(options, train.settle(options)[0], None) is None


def test_the_environment_a_dataset_was_recorded_in():
    recorded = {"env_spec": {"id": "A-v0", "kwargs": {"x": 1}, "max_episode_steps": 9}, "observation_key": "o"}
    assert recorded_environment(recorded) == EnvSpec("A-v0", {"x": 1, "max_episode_steps": 9}, None, "o")
    assert recorded_environment({"env_spec": {"id": "A-v0", "max_episode_steps": None}}) == EnvSpec("A-v0")
    assert recorded_environment({}) is None


# --- Errors ---


def test_what_can_be_put_right_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert complaint(capsys, "inspect", str(tmp_path / "x")).startswith(f"{tmp_path / 'x'}: not a dataset")
    assert "not a run folder" in complaint(capsys, "report", str(tmp_path))
    assert "did you mean train?" in complaint(capsys, "trian")
    assert "Did you mean 'iql'" in complaint(capsys, "train", *NEEDED, "--algo", "iqn")
    assert "no scripted controller" in complaint(
        capsys, *shlex.split(f"collect --env Pendulum-v1 --policy scripted --episodes 1 --out {tmp_path / 'd'}")
    )
    assert "--env-kwargs: found '[1]', expected a JSON object" in complaint(
        capsys,
        *shlex.split(f"collect --env Pendulum-v1 --env-kwargs [1] --policy random --episodes 1 --out {tmp_path}/d"),
    )
    assert list(tmp_path.iterdir()) == []


def test_the_traceback_is_there_for_who_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("QUIVER_TRACEBACK", "1")
    with pytest.raises(RunError):
        cli.main(["report", str(tmp_path)])


def test_a_full_disk_is_one_line(capsys: pytest.CaptureFixture[str]):
    def work() -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "/runs/a/metrics.jsonl")

    assert cli.guarded(work, "train") == 2
    assert "/runs/a/metrics.jsonl: No space left on device. Free some space" in capsys.readouterr().err


def test_a_mistake_of_ours_keeps_its_traceback():
    def work() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli.guarded(work, "train")


def test_an_interruption_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    import cluster.train

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster.train, "train", interrupted)
    assert cli.main(["train", *NEEDED, "--algo", "iql", "--eval-episodes", "0"]) == 130
    assert "Go on with: quiver train --run run --resume" in capsys.readouterr().err


# --- Functions that ingest calls ---


def test_a_file_named_as_a_module_does_not_take_its_place(tmp_path: Path):
    file = tmp_path / "json.py"
    file.write_text("def same(episode):\n    return episode\n")
    ingest.load_function(f"{file}:same", "--reward")
    assert sys.modules["json"] is json
    file.write_text("import nothing_of_this_name")
    before = set(sys.modules)
    with pytest.raises(RunError, match="cannot be imported"):
        ingest.load_function(f"{file}:same", "--reward")
    assert set(sys.modules) <= before


def test_a_reward_function_is_named_by_file_and_name(tmp_path: Path):
    file = tmp_path / "rewards.py"
    file.write_text("def good(episode):\n    return episode\n")
    assert ingest.load_function(f"{file}:good", "--reward")(3) == 3
    for where, message in (
        (f"{file}:bad", "has no function 'bad'; it has good"),
        (f"{tmp_path}/absent.py:good", "no such file"),
        ("good", "expected FILE.py:FUNCTION"),
    ):
        with pytest.raises(RunError, match=f"--reward: .*{message}"):
            ingest.load_function(where, "--reward")
    file.write_text("import nothing_of_that_name\n")
    with pytest.raises(RunError, match=r"cannot be imported .*nothing_of_that_name"):
        ingest.load_function(f"{file}:good", "--reward")


# --- The whole way ---


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """The one object a command prints with --json."""
    capsys.readouterr()
    assert cli.main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_from_an_environment_to_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    logs, data, run = (str(tmp_path / name) for name in ("logs", "data", "run"))
    reward = tmp_path / "rewards.py"
    reward.write_text(
        "from dataclasses import replace\n\n"
        "def ones(episode):\n    return replace(episode, reward=episode.reward * 0 + 1)\n"
    )
    limit = '{"max_episode_steps": 20}'
    collecting = ["collect", "--env", "Pendulum-v1", "--env-kwargs", limit, "--policy", "random"]
    assert cli.main([*collecting, "--episodes", "12", "--out", logs, "--validation-fraction", "0.25"]) == 0
    assert "240 transitions in 12 episodes" in capsys.readouterr().out
    assert cli.main(["ingest", logs, "--out", data, "--reward", f"{reward}:ones"]) == 0
    # What is on record of it is a name: from here on nothing runs the file again.
    reward.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    told = answer(capsys, "inspect", data, "--verify")
    assert (told["transitions"], told["episodes"], told["verified"]) == (240, 12, True)
    assert told["splits"] == {"train": 9, "validation": 3}
    assert told["return"]["min"] == told["return"]["max"] == 20
    assert told["provenance"]["collected_by"] == "random"
    assert told["spaces"]["action"]["low"] == [-2.0]

    training = ["train", "--dataset", data, "--algo", "iql", "--run", run, "--serial", "--hidden", "16", "16"]
    assert cli.main([*training, "--steps", "16", "--eval-episodes", "3"]) == 0
    said = capsys.readouterr()
    assert "evaluating in Pendulum-v1, where the data comes from" in said.err
    # A longer run, from where that one ended: everything else stays as it was.
    assert cli.main(["train", "--run", run, "--resume", "--steps", "32"]) == 0
    steps = [json.loads(line)["step"] for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert steps[0] == 0
    assert steps[-1] == 32

    found = answer(capsys, "evaluate", run, "--episodes", "2", "--seed", "7")
    assert found["episodes"] == 2
    assert set(found) == {"episodes", "return_mean", "return_std", "discounted_return"}  # Pendulum tells of no success
    assert answer(capsys, "evaluate", run, "--episodes", "2", "--seed", "7") == found
    assert answer(capsys, "evaluate", run, "--episodes", "2", "--seed", "7", "--stochastic") != found
    assert "expected" in complaint(capsys, "collect", "--env", "Pendulum-v1", "--policy", "nobody", "--episodes", "1",
                                   "--out", f"{tmp_path}/more")  # fmt: skip
    assert cli.main(["report", run]) == 0
    assert capsys.readouterr().out.strip() == f"{run}/report.html"
    assert "IQL on data" in (tmp_path / "run/report.html").read_text()
    assert not (tmp_path / "ran").exists()

    more = ["collect", "--env", "Pendulum-v1", "--env-kwargs", limit, "--policy", run, "--noise", "0.1"]
    assert cli.main([*more, "--episodes", "2", "--out", str(tmp_path / "more")]) == 0
    provenance = answer(capsys, "inspect", str(tmp_path / "more"))["provenance"]
    assert (provenance["collected_by"], provenance["noise"]) == ("policy", 0.1)


def test_other_spaces_are_refused_before_anything_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    import gymnasium as gym

    from cluster.recording import spaces_of

    env = gym.make("CartPole-v1")
    assert spaces_of(env, "CartPole-v1").action.shape == ()
    env.unwrapped.action_space = gym.spaces.MultiBinary(3)
    with pytest.raises(RunError, match="CartPole-v1, action: MultiBinary"):
        spaces_of(env.unwrapped, "CartPole-v1")


def test_evaluating_a_run_that_knows_no_environment(tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]):
    from tests.cluster.runs import recipe, run_once

    run_once(tmp_path / "run", recipe(dataset, "bc", fused=True, steps=4))
    assert "--env: is missing" in complaint(capsys, "evaluate", str(tmp_path / "run"))
    assert evaluate.parse([str(tmp_path / "run"), "--checkpoint", "best"]).checkpoint == "best"
    assert "no checkpoint 'best'" in complaint(
        capsys, "evaluate", str(tmp_path / "run"), "--checkpoint", "best", "--env", "Pendulum-v1"
    )


def test_collect_asks_for_what_it_needs(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        collect.parse(["--env", "Pendulum-v1"])
    assert end.value.code == 2
    said = capsys.readouterr()
    assert all(option in said.out + said.err for option in ("--policy", "--episodes", "--out"))
