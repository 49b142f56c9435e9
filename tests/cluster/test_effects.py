"""Nothing is ignored: an option that is given and has no effect in a run is refused, by its name, with the reason."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from cluster import cli
from cluster.commands import finetune, train
from cluster.commands.run_options import RunOptions
from cluster.effects import RULES, Situation, idle, refuse_idle
from cluster.errors import RunError
from cluster.options import Cadence, OnlineRecipe, Recipe, Role, Topology, as_json
from cluster.report import reproduce
from tests.cluster.run_folders import config

TRAIN = "train --dataset logs --algo iql --run run"
ONLINE = "finetune --dataset logs --algo iql --run run --env-steps 10 --env Pendulum-v1"
FRESH = "finetune --algo iql --run run --env-steps 10 --env Pendulum-v1"
LABELS = "a run without updaters labels nothing ahead"
UNIFORM = "sampling is uniform"
SERIAL = "everything happens in this process with --serial"
NOWHERE = "there is no environment"
OFF = "nothing is evaluated with --eval-episodes 0 or --evaluators 0"
LATE = "where there is no second updater"


def options_of(line: str) -> RunOptions:
    name, *words = shlex.split(line)
    return (train if name == "train" else finetune).parse(words)


IDLE = [
    (f"{TRAIN} --depth 3", "--depth", LABELS),
    (f"{ONLINE} --depth 3", "--depth", LABELS),
    (f"{TRAIN} --label-reuse 1", "--label-reuse", LABELS),
    (f"{TRAIN} --late-chunk-seconds 9", "--late-chunk-seconds", LATE),
    (f"{TRAIN} --updaters 1 --late-chunk-seconds 9", "--late-chunk-seconds", LATE),
    (f"{TRAIN} --updaters 2 --serial --late-chunk-seconds 9", "--late-chunk-seconds", LATE),
    (f"{TRAIN} --importance-exponent 0.5", "--importance-exponent", UNIFORM),
    (f"{TRAIN} --serial --address auto", "--address", SERIAL),
    (f"{TRAIN} --serial --max-restarts 1", "--max-restarts", SERIAL),
    (f"{TRAIN} --serial --max_restarts=1", "--max-restarts", SERIAL),
    (f"{TRAIN} --serial --allow-mixed", "--allow-mixed", SERIAL),
    (f"{ONLINE} --serial --stalled-seconds 9", "--stalled-seconds", SERIAL),
    (f"{TRAIN} --eval-episodes 0 --evaluators 2", "--evaluators", "with --eval-episodes 0"),
    (f"{TRAIN} --eval-episodes 5 --evaluators 0", "--eval-episodes", "with --evaluators 0"),
    (f"{TRAIN} --env A-v0 --eval-episodes 0", "--env", OFF),
    (f"{TRAIN} --eval-episodes 0 --eval-every 10", "--eval-every", OFF),
    (f"{TRAIN} --eval-episodes 0 --env-timeout 10", "--env-timeout", OFF),
    (f"{ONLINE} --eval-episodes 0 --eval-stochastic", "--eval-stochastic", OFF),
    (f"{TRAIN} --eval-every 10", "--eval-every", NOWHERE),
    (f"{TRAIN} --no-eval-stochastic", "--eval-stochastic", NOWHERE),
    (f"{TRAIN} --eval-episodes 3", "--eval-episodes", NOWHERE),
    (f"{TRAIN} --evaluators 2", "--evaluators", NOWHERE),
    (f"{TRAIN} --env-timeout 3", "--env-timeout", NOWHERE),
    (f"{TRAIN} --trust-env", "--trust-env", NOWHERE),
    (f"{TRAIN} --env A-v0 --trust-env", "--trust-env", "what you name yourself is trusted"),
    (f"{ONLINE} --checkpoint best", "--checkpoint", "goes with --from"),
    (f"{FRESH} --share 0.5", "--share", "there are no logs"),
    (f"{FRESH} --share 0.5 --final-share 0.6", "--share", "there are no logs"),
    (f"{FRESH} --split all", "--split", "there are no logs"),
    (f"{FRESH} --where return>0", "--where", "there are no logs"),
    (f"{FRESH} --validate-every 3", "--validate-every", "there are no logs"),
]
USED = [
    f"{TRAIN} --updaters 1 --depth 3 --label-reuse 2",
    f"{TRAIN} --priority-exponent 0.6 --importance-exponent 0.5 --depth 3",
    f"{TRAIN} --updaters 2 --late-chunk-seconds 9 --max-restarts 1 --allow-mixed --address auto",
    f"{TRAIN} --env A-v0 --eval-every 10 --eval-episodes 3 --eval-stochastic --evaluators 2 --env-timeout 3",
    f"{TRAIN} --eval-episodes 0",
    f"{TRAIN} --evaluators 0",
    f"{TRAIN} --serial --shards 2 --updaters 2 --stage disk --threads 2 --compile --keep 2",
    f"{ONLINE} --share 0.5 --final-share 0.6 --split all --where return>0 --env-timeout 3 --stalled-seconds 9",
    f"{ONLINE} --eval-episodes 0 --env-timeout 3",
]


def evaluates(options: RunOptions) -> bool:
    """Whether there is an environment: here, only where one is named."""
    return options.environment.env is not None


@pytest.mark.parametrize(("line", "option", "why"), IDLE, ids=[line for line, _, _ in IDLE])
def test_an_option_without_effect_is_refused(line: str, option: str, why: str) -> None:
    options = options_of(line)
    with pytest.raises(RunError, match=rf"^{option}: has no effect in this run: .*{why}.*; .*leave (it|one)"):
        refuse_idle(options.given, options.situation(evaluates=evaluates(options)))


@pytest.mark.parametrize("line", USED)
def test_an_option_with_an_effect_is_taken(line: str) -> None:
    options = options_of(line)
    refuse_idle(options.given, options.situation(evaluates=evaluates(options)))


def test_every_rule_is_in_the_table() -> None:
    fields = {name for rule in RULES for name in rule.fields}
    seen = {option[2:].replace("-", "_") for _, option, _ in IDLE}
    # Of the environment's options, --env stands for all; --final-share is told of by --share.
    assert fields - seen == {"env_kwargs", "reset_options", "observation_key", "final_share"}


def test_nothing_is_written_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert cli.main([*shlex.split(ONLINE.replace("--run run", f"--run {run}")), "--depth", "3"]) == 2
    assert capsys.readouterr().err.startswith("error: --depth: has no effect in this run")
    assert not run.exists()


def test_what_a_file_or_a_configuration_says_is_not_given() -> None:
    shipped = Path(__file__).parents[2] / "ray_config.yaml"
    options = options_of(f"{TRAIN} --config {shipped} --serial --updaters 0 --eval-episodes 0")
    assert set(options.given) >= {"config", "serial", "bellman_updaters", "eval_episodes", "datasets"}
    assert "max_restarts" not in options.given
    refuse_idle(options.given, options.situation(evaluates=False))


def test_a_report_s_command_has_no_idle_option(tmp_path: Path) -> None:
    """A recorded depth may lie idle; given to another run it would be refused."""
    recorded = config()
    recipe = replace(Recipe(**{**recorded["recipe"], "datasets": (("/data/x", None),)}), depth=7, fused=True)
    topology = Topology(serial=True, max_restarts=9)
    recorded |= {"recipe": as_json(recipe), "topology": as_json(topology), "environment": None}
    line = reproduce.train_command(recorded, "again")
    assert "--depth" not in line
    assert "--max-restarts" not in line
    assert "--eval-every" not in line
    options = options_of(line.removeprefix("quiver "))
    refuse_idle(options.given, options.situation(evaluates=False))


def test_depth_changes_no_fused_run(dataset: Path, tmp_path: Path) -> None:
    from tests.cluster.runs import assert_same_parameters, recipe, run_once

    for depth in (0, 5):
        run_once(tmp_path / str(depth), recipe(dataset, fused=True, depth=depth))
    assert_same_parameters(tmp_path / "0", tmp_path / "5")


def test_the_situation_is_of_records_alone() -> None:
    now = Situation(Recipe((), "iql", fused=True), Topology(bellman_updaters=Role(0)), Cadence(), OnlineRecipe(1))
    assert {"depth", "label_reuse", "share"} <= idle(now).keys()
