"""`--init NAME=RUN`: a run begins with parts of others, trained on or frozen, and says which they were."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster import cli
from cluster.errors import RunError
from cluster.run_folder import RunFolder
from cluster.settings import INIT, init_of
from cluster.stages import Stage, asked, recorded
from cluster.train import train
from tests.cluster.runs import QUIET, SERIAL, assert_same_parameters, make_dataset, parameters, recipe


@pytest.fixture(scope="module")
def first(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An IQL run of 8 steps."""
    run = tmp_path_factory.mktemp("stages") / "first"
    train(recipe(dataset, fused=True, steps=8), SERIAL, QUIET, run=run)
    return run


def begun(run: Path, dataset: Path, *init: Stage, **changes: Any) -> dict[str, np.ndarray]:
    """What a run of 12 steps ends with that begins so."""
    train(recipe(dataset, **{"fused": True, "steps": 12, "seed": 5, **changes}), SERIAL, QUIET, run=run, init=init)
    return parameters(run)


def of(state: dict[str, np.ndarray], module: str) -> bytes:
    return b"".join(state[name].tobytes() for name in sorted(state) if name.startswith(f"{module}."))


def test_a_frozen_critic_ends_as_it_began(first: Path, dataset: Path, tmp_path: Path) -> None:
    before = parameters(first)
    after = begun(tmp_path / "run", dataset, Stage("critic", str(first), frozen=True))
    assert of(after, "critic") == of(before, "critic")
    assert of(after, "target_critic") == of(before, "critic")
    assert of(after, "policy") != of(before, "policy")
    moved = begun(tmp_path / "trained", dataset, Stage("critic", str(first)))
    assert of(moved, "critic") != of(before, "critic")
    # With updaters, too: what labels is published by the learner that begins so.
    apart = begun(tmp_path / "apart", dataset, Stage("critic", str(first), frozen=True), fused=False)
    assert of(apart, "critic") == of(before, "critic")


def test_the_configuration_says_which_checkpoint_it_was(first: Path, dataset: Path, tmp_path: Path) -> None:
    begun(tmp_path / "run", dataset, Stage("critic", str(first), frozen=True))
    config = RunFolder(tmp_path / "run").read_config()
    (stage,) = recorded(config)
    file = first / "checkpoints" / "step-000000008" / "learner.safetensors"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert stage == Stage("critic", str(first), "step-000000008", digest, frozen=True)
    # What an earlier version wrote of fine-tuning.
    assert recorded({"from": {"run": "/off", "checkpoint": "step-000000004"}}) == (
        Stage("all", "/off", "step-000000004"),
    )


def test_a_run_that_goes_on_needs_the_other_no_more(first: Path, dataset: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    train(recipe(dataset, fused=True, steps=8), SERIAL, QUIET, run=other)
    stage = Stage("critic", str(other), frozen=True)
    begun(tmp_path / "run", dataset, stage)
    begun(tmp_path / "whole", dataset, stage, steps=24)
    other.rename(tmp_path / "gone")
    longer = recipe(dataset, fused=True, steps=24, seed=5)
    with pytest.raises(
        RunError, match=r"--init critic=.*first@latest: the run began from critic=.*other@step-0+8:froz"
    ):
        train(longer, SERIAL, QUIET, run=tmp_path / "run", resume=True, init=[Stage("critic", str(first))])
    train(longer, SERIAL, QUIET, run=tmp_path / "run", resume=True)
    assert_same_parameters(tmp_path / "run", tmp_path / "whole")


def test_all_of_a_run_is_its_whole_state(first: Path, dataset: Path, tmp_path: Path) -> None:
    after = begun(tmp_path / "run", dataset, Stage("all", str(first)), steps=4)
    assert after["step"] == 12
    # Observations stay normalised as they were, whatever the data is now.
    other = make_dataset(tmp_path / "other", episodes=12, seed=9)
    again = begun(tmp_path / "elsewhere", other, Stage("all", str(first)), steps=4)
    assert of(again, "normaliser") == of(parameters(first), "normaliser")
    config = RunFolder(tmp_path / "elsewhere").read_config()
    assert config["statistics"] == RunFolder(first).read_config()["statistics"]


def test_from_the_command_line(first: Path, dataset: Path, tmp_path: Path) -> None:
    words = ["train", "--dataset", str(dataset), "--algo", "iql", "--run", str(tmp_path / "run"), "--steps", "12"]
    rest = ["--seed", "5", "--batch-size", "16", "--chunk-steps", "4", "--hidden", "16", "16", "--serial"]
    assert cli.main([*words, *rest, "--init", f"critic={first}@step-8:frozen"]) == 0
    begun(tmp_path / "python", dataset, Stage("critic", str(first), "step-8", frozen=True))
    assert_same_parameters(tmp_path / "run", tmp_path / "python")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("critic=run", ("critic", "run", "latest", False)),
        ("all=a/b@best", ("all", "a/b", "best", False)),
        ("policy=run@step-8:frozen", ("policy", "run", "step-8", True)),
        ("policy=me@home:frozen", ("policy", "me@home", "latest", True)),
        ("policy=a=b", ("policy", "a=b", "latest", False)),
        ("critic", None),
        ("=run", None),
        ("critic=", None),
        ("a b=run", None),
    ],
)
def test_what_init_says(text: str, parts: Any) -> None:
    assert init_of(text) == parts
    assert INIT.fits(text) == (parts is not None)


def test_the_whole_comes_before_its_parts() -> None:
    assert [stage.name for stage in asked(["critic=a", "all=b"])] == ["all", "critic"]
    with pytest.raises(RunError, match=r"--init critic=b: critic is given twice"):
        asked(["critic=a", "critic=b"])


def test_what_does_not_fit_is_refused(first: Path, dataset: Path, tmp_path: Path) -> None:
    def refused(message: str, *init: Stage, **changes: Any) -> None:
        with pytest.raises(RunError, match=message):
            begun(tmp_path / "run", dataset, *init, **changes)
        assert not (tmp_path / "run").exists()

    at = str(first)
    refused(
        r"--init dynamics: no such module; this algorithm has critic, policy, target_critic, value",
        Stage("dynamics", at),
    )
    refused(
        r"--init value: no such module; .*first has critic, policy",
        Stage("value", str(_without_value(tmp_path, first))),
    )
    refused(
        r"--init critic: .*step-0+8: module 'critic': .*: found shape \(.*16.*\), expected \(.*8.*\)",
        Stage("critic", at),
        knobs={"hidden": (8, 8)},
    )
    refused(r"nothing is left to train", Stage("all", at, frozen=True))
    refused(
        r"--init: freeze: found all of .*, which leaves nothing to train",
        *(Stage(name, at, frozen=True) for name in ("critic", "policy", "value")),
    )
    refused(r"--algo bc: .*first, with all of which it is to begin, trained iql", Stage("all", at), algorithm="bc")
    refused(
        r"--init critic: .*first was trained on other numbers than this run would show it \(normaliser\.",
        Stage("critic", at),
        knobs={"hidden": (16, 16), "normalise_observation": False},
    )
    refused(r"no checkpoint 'step-99'", Stage("critic", at, "step-99"))
    refused(r"absent/config.json: not found", Stage("critic", str(tmp_path / "absent")))


def _without_value(tmp_path: Path, first: Path) -> Path:
    """A run of an algorithm that has no value function: AWAC's critic and policy."""
    config = json.loads((first / "config.json").read_text())
    run = tmp_path / "awac-first"
    train(recipe(Path(config["datasets"][0]["path"]), "awac", fused=True, steps=4), SERIAL, QUIET, run=run)
    return run


def test_modules_of_runs_that_see_differently_do_not_go_together(first: Path, dataset: Path, tmp_path: Path) -> None:
    other = make_dataset(tmp_path / "other", episodes=12, seed=9)
    train(recipe(other, fused=True, steps=4), SERIAL, QUIET, run=tmp_path / "second")
    stages = Stage("critic", str(first)), Stage("policy", str(tmp_path / "second"))
    with pytest.raises(
        RunError, match=r"--init policy: .*second normalised observations by other statistics than .*first"
    ):
        begun(tmp_path / "run", dataset, *stages)


def test_a_damaged_checkpoint_is_refused(first: Path, dataset: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    train(recipe(dataset, fused=True, steps=4), SERIAL, QUIET, run=other)
    file = other / "checkpoints" / "step-000000004" / "learner.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(RunError, match=r"step-000000004: not a whole checkpoint \(learner.safetensors: its content"):
        begun(tmp_path / "run", dataset, Stage("critic", str(other)))
