"""`quiver finetune`: whose options, knobs and defaults a run gets."""

from __future__ import annotations

import json
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import learners
from cluster import cli
from cluster.commands import finetune
from cluster.commands.finetune import Finetune, Start
from cluster.commands.run_options import Environment
from cluster.errors import RunError
from cluster.options import Cadence, OnlineRecipe, Recipe, Topology, as_json
from cluster.report import reproduce
from cluster.run_folder import RunFolder
from tests.cluster.online_runs import REACH
from tests.cluster.run_folders import config, write_run
from tests.cluster.runs import recipe, run_once

NEEDED = ["--run", "run", "--env-steps", "1000"]


def parsed(*arguments: str) -> Finetune:
    return finetune.parse([*NEEDED, *arguments])


# --- Defaults ---


def test_an_offline_run_gives_its_data_algorithm_and_environment(tmp_path: Path) -> None:
    offline = write_run(tmp_path / "offline")
    options = parsed("--from", str(offline))
    assert options.recipe.algorithm == "iql"
    assert options.recipe.datasets == (("/data/umaze-far", None),)
    assert options.recipe.seed == 3
    assert options.knobs.expectile == 0.9
    assert options.environment.env == "PointMaze_UMaze-v3"
    assert json.loads(str(options.environment.reset_options)) == {"goal_cell": [3, 1]}


def test_learning_rates_no_longer_fall_unless_asked_to(tmp_path: Path) -> None:
    recorded = config()
    recorded["recipe"]["knobs"] = {"cosine_steps": 50_000}
    offline = write_run(tmp_path / "offline", recipe=recorded["recipe"])
    assert parsed("--from", str(offline)).knobs.cosine_steps == 0
    assert parsed("--from", str(offline), "--cosine-steps", "700").knobs.cosine_steps == 700


@pytest.mark.parametrize(
    ("algorithm", "share", "final_share", "updates_per_step", "stochastic", "noise"),
    [
        ("iql", None, None, 1.0, True, 0.0),
        ("awac", None, None, 1.0, True, 0.0),
        ("calql", 0.5, None, 1.0, True, 0.0),
        ("rlpd", 0.5, None, 20.0, True, 0.0),
        ("td3", None, None, 1.0, False, 0.1),
        ("qtopt", 0.01, 0.5, 1.0, False, 0.0),
    ],
)
def test_each_method_goes_online_in_its_own_way(
    algorithm: str,
    share: float | None,
    final_share: float | None,
    updates_per_step: float,
    stochastic: bool,
    noise: float,
) -> None:
    found = parsed("--algo", algorithm).online
    assert (found.share, found.final_share) == (share, final_share)
    assert (found.updates_per_step, found.stochastic, found.noise) == (updates_per_step, stochastic, noise)


def test_options_go_over_the_methods_way() -> None:
    options = parsed("--algo", "rlpd", "--share", "all", "--updates-per-step", "2", "--no-stochastic", "--noise", "0.3")
    found = options.online
    assert found == OnlineRecipe(1_000, updates_per_step=2.0, stochastic=False, noise=0.3)


@pytest.mark.parametrize("name", learners.names())
def test_knobs_and_options_never_share_a_name(name: str) -> None:
    knobs = {entry.name for entry in fields(learners.config_class(name))}
    groups = (Start, Environment, Recipe, OnlineRecipe, Topology, Cadence)
    assert not knobs & {entry.name for group in groups for entry in fields(group)}


def test_the_topology_file_says_how_many_runners() -> None:
    shipped = str(Path(__file__).parents[2] / "ray_config.yaml")
    assert parsed("--algo", "iql", "--config", shipped).topology.env_runners.count == 2
    assert parsed("--algo", "iql", "--config", shipped, "--runners", "5").topology.env_runners.count == 5


# --- Going on, and doing it again ---


def online_config(**changes: Any) -> dict[str, Any]:
    online = OnlineRecipe(1_000, share=0.5, noise=0.2, stochastic=False, capacity=500)
    begun = {"run": "/runs/offline", "checkpoint": "step-000004000"}
    return {**config(**changes), "online": as_json(online), "from": begun}


def test_resuming_takes_everything_from_the_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "config.json").write_text(json.dumps(online_config()))
    options = finetune.parse(["--run", str(run), "--resume"])
    assert options.online == OnlineRecipe(1_000, share=0.5, noise=0.2, stochastic=False, capacity=500)
    assert options.knobs.expectile == 0.9
    assert finetune.parse(["--run", str(run), "--resume", "--env-steps", "2000"]).online.env_steps == 2_000


def test_the_command_in_a_report_gives_the_same_run(tmp_path: Path) -> None:
    offline = write_run(tmp_path / "offline")
    recorded = online_config()
    recorded["from"]["run"] = str(offline)
    words = shlex.split(reproduce.train_command(recorded, "again"))
    assert words[:2] == ["quiver", "finetune"]
    options = finetune.parse(words[2:])
    assert as_json(options.online) == recorded["online"]
    assert options.place.checkpoint == "step-000004000"
    assert options.recipe.datasets == (("/data/umaze-far", None),)


def test_a_training_run_is_not_resumed_as_another(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    with pytest.raises(RunError, match=r"is no fine-tuning run; go on with `quiver train"):
        finetune.parse(["--run", str(run), "--resume"])


# --- Refusals ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], r"--from: is missing; name an offline run, or give --algo"),
        (["--algo", "sac"], r"--env: is missing"),
        (["--algo", "sac", "--env", "X-v0", "--share", "half"], r"--share: found 'half', expected a number"),
        (["--algo", "sac", "--env", "X-v0", "--final-share", "0.5"], r"--final-share: needs a --share"),
    ],
)
def test_what_is_missing_or_means_nothing_is_said(arguments: list[str], message: str) -> None:
    with pytest.raises(RunError, match=message):
        finetune.run(parsed(*arguments))


def test_another_algorithms_checkpoint_is_refused(tmp_path: Path) -> None:
    offline = write_run(tmp_path / "offline")
    options = parsed("--from", str(offline), "--algo", "awac")
    with pytest.raises(RunError, match=r"--algo awac: .*offline, with all of which it is to begin, trained iql"):
        finetune.run(options)


# --- The whole way ---


@pytest.mark.slow
def test_from_an_offline_run_to_a_report(tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_once(tmp_path / "offline", recipe(dataset, fused=True))
    arguments = ["finetune", "--from", str(tmp_path / "offline"), "--run", str(tmp_path / "run"), "--env", REACH.id]
    quick = ["--env-steps", "60", "--rollout-steps", "5", "--eval-episodes", "2", "--serial", "--log-every", "20"]
    assert cli.main([*arguments, *quick]) == 0
    assert "60 environment steps in" in capsys.readouterr().err
    # Its environment is a module's, which a run folder alone cannot have run.
    going_on = ["finetune", "--run", str(tmp_path / "run"), "--resume", "--env-steps", "90"]
    assert cli.main(going_on) == 2
    assert f"name it yourself with --env {REACH.id}" in capsys.readouterr().err
    assert cli.main([*going_on, "--env", REACH.id]) == 0
    assert cli.main(["report", str(tmp_path / "run")]) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Interaction" in page
    assert "quiver finetune --dataset" in page
    assert RunFolder(tmp_path / "run").read_config()["online"]["env_steps"] == 90
    capsys.readouterr()
    assert cli.main(["evaluate", str(tmp_path / "run"), "--env", REACH.id, "--episodes", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["episodes"] == 2
    assert cli.main(["inspect", str(tmp_path / "run" / "online"), "--verify"]) == 0
