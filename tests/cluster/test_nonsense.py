"""Commands in environments that do what none may: one line, status 2, and what was saved stays."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import replay
from cluster import cli, runner_pool
from cluster.errors import RunError
from cluster.options import OnlineRecipe
from cluster.run_folder import RunFolder
from replay.online.store import OnlineReader
from tests.cluster.online_runs import ONLINE, QUIET, online_recipe, run_online
from tests.cluster.processes import wait_until
from tests.cluster.runs import recipe, run_once
from tests.nonsense_envs import ID, SHORT, NonsenseReach

NONSENSE = {
    "raises OSError": r"raised OSError: [Errno 5] the robot is gone at step 2",
    "raises SystemExit": "raised SystemExit: 3 at step 2",
    "raises KeyboardInterrupt": "raised KeyboardInterrupt: not yours at step 2",
    "observation another shape": "observation is an array (3,) of float32, expected (4,) of float32 at step 2",
    "reward None": "reward None at step 2, expected one",
    "info raising": "raised LookupError: the info is gone at step 2",
    "success an array": "at step 2: info['success'] is an array (2,) of bool",
    "raises hang": "step 2 has not come back for 0.3 s (--env-timeout",
}
HASTY = ("--env-timeout", "0.3")


@pytest.fixture(scope="module")
def offline(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("offline") / "run"
    run_once(run, recipe(dataset, fused=True))
    return run


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_pool, "FIRST_PAUSE", 0.01)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says that ends with status 2 and one line."""
    assert cli.main(arguments) == 2
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    assert not told.out
    errors = [line for line in told.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


def put_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NonsenseReach, "_misbehave", lambda env, found: found)


def environment(what: str, **more: Any) -> list[str]:
    return ["--env", SHORT, "--env-kwargs", json.dumps({"what": what, **more})]


def evaluating(offline: Path, where: Path) -> list[str]:
    return ["evaluate", str(offline), "--episodes", "2", "--json"]


def collecting(offline: Path, where: Path) -> list[str]:
    return ["collect", "--policy", str(offline), "--episodes", "2", "--out", str(where / "made")]


def training(offline: Path, where: Path) -> list[str]:
    (logs, _), *_ = RunFolder(offline).read_config()["recipe"]["datasets"]
    small = ["--hidden", "16", "16", "--batch-size", "16", "--chunk-steps", "4", "--steps", "24"]
    evaluated = ["--eval-every", "8", "--eval-episodes", "2", "--checkpoint-every", "4", "--serial"]
    return ["train", "--dataset", logs, "--algo", "iql", "--run", str(where / "made"), *small, *evaluated]


def finetuning(offline: Path, where: Path) -> list[str]:
    quick = ["--env-steps", "60", "--rollout-steps", "5", "--chunk-steps", "4", "--eval-episodes", "0", "--serial"]
    return ["finetune", "--from", str(offline), "--run", str(where / "made"), *quick]


@pytest.mark.parametrize("command", [evaluating, collecting, training])
@pytest.mark.parametrize("what", NONSENSE)
def test_whatever_an_environment_does_is_one_line_and_nothing_is_left(
    what: str, command: Any, offline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refused([*command(offline, tmp_path), *environment(what), *HASTY], capsys)
    assert told.startswith(f"error: environment {SHORT}, seed 0")
    assert NONSENSE[what] in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["raises OSError", "raises KeyboardInterrupt", "reward None", "raises hang"])
def test_a_serial_fine_tuning_keeps_what_was_acknowledged_and_goes_on(
    what: str, offline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = finetuning(offline, tmp_path)
    counted = {"counter": str(tmp_path / "episodes")}
    told = refused([*arguments, *environment(what, after=2, **counted), *HASTY], capsys)
    assert told.startswith("error: no environment runner is left: the last one ")
    # Side by side, all of their steps are counted.
    assert (NONSENSE[what] if what != "raises hang" else "step 26 has not come back for 0.3 s") in told
    made = tmp_path / "made"
    assert f"Go on with: quiver finetune --run {made} --resume --env {SHORT}" in told
    kept = replay.open(made / "online", verify=True).num_episodes
    assert kept >= 2
    # The robot is put right.
    put_right(monkeypatch)
    assert cli.main(["finetune", "--run", str(made), "--resume", *environment(what, after=2, **counted)]) == 0
    stored = replay.open(made / "online", verify=True)
    assert stored.num_transitions == 60
    assert stored.num_episodes > kept


def test_a_serial_training_goes_on_from_the_checkpoint_that_was_due(
    offline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first evaluation is sound; the second fails, at step 8, where a checkpoint is due."""
    told = refused([*training(offline, tmp_path), *environment("raises OSError", after=1)], capsys)
    made = tmp_path / "made"
    assert f"environment {SHORT}, seed 0: raised OSError: [Errno 5] the robot is gone at step 2." in told
    assert f"Go on with: quiver train --run {made} --resume --env {SHORT}" in told
    assert (made / "checkpoints" / "LATEST").read_text().strip() == "step-000000008"
    put_right(monkeypatch)
    assert cli.main(["train", "--run", str(made), "--resume", *environment("raises OSError", after=1)]) == 0
    records = [json.loads(line) for line in (made / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if record["kind"] == "evaluation"] == [0, 8, 16, 24]


@pytest.mark.parametrize(
    ("what", "number", "status", "told"),
    [
        ("raises hang", signal.SIGINT, 130, "quiver collect: interrupted"),
        ("raises exit", None, 3, f"error: environment {SHORT}, seed 0: step 2 ended the process"),
    ],
)
def test_a_process_that_is_interrupted_or_ends_is_told_of(
    what: str, number: int | None, status: int, told: str, tmp_path: Path
) -> None:
    counter, out = tmp_path / "episodes", tmp_path / "made"
    words = ["collect", *environment(what, counter=str(counter)), "--policy", "random", "--episodes", "1"]
    command = [sys.executable, "-m", "cluster.cli", *words, "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if number is not None:
        wait_until(counter.exists, "the episode")
        time.sleep(0.5)
        process.send_signal(number)
    assert told in process.communicate(timeout=60)[1]
    assert process.returncode == status
    assert not out.exists()
    if number is not None:
        assert list(tmp_path.iterdir()) == [counter]


# --- Waits without end ---


@pytest.mark.parametrize("learning_starts", [0, 60])
def test_a_return_that_nothing_reaches_ends_the_run(learning_starts: int, tmp_path: Path) -> None:
    online = OnlineRecipe(**{**vars(ONLINE), "min_return": 1e6, "learning_starts": learning_starts})
    message = (
        r"--min-return 1e\+06: leaves nothing to learn from\. Of \d+ episodes, \d+ environment steps, the best of "
        r"which returned -\d.*, none may be sampled, and no more come before the first gradient step"
    )
    with pytest.raises(RunError, match=message) as refusal:
        run_online(tmp_path / "run", online_recipe(None, "sac"), online)
    # What was gathered is kept, all of it.
    stored = OnlineReader(tmp_path / "run" / "online")
    told = re.search(r"Of (\d+) episodes, (\d+) environment steps", str(refusal.value))
    assert told is not None
    assert (stored.episodes, stored.transitions) == (int(told[1]), int(told[2]))


def test_all_environment_steps_may_be_gathered_in_vain(tmp_path: Path) -> None:
    online = replace(ONLINE, min_return=1e6, env_steps=40, slack=100.0)
    with pytest.raises(RunError, match=r"none may be sampled, and no more come after --env-steps\."):
        run_online(tmp_path / "run", online_recipe(None, "sac"), online)


def test_logs_are_learned_from_where_no_fresh_episode_is(dataset: Path, tmp_path: Path) -> None:
    result = run_online(tmp_path / "run", online_recipe(dataset), replace(ONLINE, min_return=1e6, env_steps=40))
    assert result.steps == 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"updates_per_step": 0.001}, r"--updates-per-step: 0\.001 for each of 120 environment steps make 0 gradient"),
        (
            {"learning_starts": 119, "updates_per_step": 0.5},
            r"0\.5 for each of 1 environment steps make 0 gradient",
        ),
    ],
)
def test_a_run_without_a_gradient_step_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=message):
        run_online(tmp_path / "run", online_recipe(None, "sac"), replace(ONLINE, **change), cadence=QUIET)
    assert not (tmp_path / "run").exists()


def test_an_episode_without_end_is_cut_by_the_budget(dataset: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from envs import EnvSpec
    from tests.cluster import online_runs

    monkeypatch.setattr(online_runs, "REACH", EnvSpec(ID, {"what": "reward None", "at": 10_000}))
    assert run_online(tmp_path / "run", online_recipe(dataset)).summary["env_steps"] >= 120
