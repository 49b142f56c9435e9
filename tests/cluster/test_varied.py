"""Observations that are no plain array: recorded, learned from, evaluated and fine-tuned by one form, without Ray."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import learners
import replay
from cluster import checkpoint, cli
from cluster.errors import RunError
from cluster.policy import acting, load_policy
from envs import EnvSpec, make
from replay import images
from replay.spaces import Box, Dict, Discrete, Image, Spaces
from tests import varied_envs
from tests.varied_envs import id_of

SMALL = ["--hidden", "8", "--serial"]


@pytest.fixture(autouse=True, scope="module")
def _register() -> None:
    varied_envs.register()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("varied")


def quiver(*words: Any) -> int:
    return cli.main([str(word) for word in words])


def collect(out: Path, name: str, *words: Any, policy: Any = "random") -> int:
    return quiver("collect", "--env", id_of(name), "--policy", policy, "--episodes", 4, "--out", out, *words)


@pytest.fixture(scope="module")
def run_of(root: Path) -> Any:
    """The run that was trained on random episodes of an environment, once for all tests."""

    def make(name: str) -> Path:
        data, run = root / name, root / f"run-{name}"
        if not run.exists():
            assert collect(data, name, "--validation-fraction", 0) == 0
            words = ["--steps", 2, "--batch-size", 4, "--chunk-steps", 2, "--eval-episodes", 1, *SMALL]
            words += ["--encoder-width", 8] if name == "Picture" else []
            assert quiver("train", "--dataset", data, "--algo", "bc", "--run", run, "--env", id_of(name), *words) == 0
        return run

    return make


PARTS = {
    "arm.angle": Box((2,), "float32", (-1.0,), (1.0,)),
    "arm.held": Box((3,), "int8", (0.0,), (1.0,)),
    "gear.0": Discrete(3),
    "gear.1": Discrete(4, start=5),
    "pair.0": Discrete(2),
    "pair.1": Box((2,), "float32", (-1.0,), (1.0,)),
}


@pytest.mark.parametrize(
    ("name", "space", "inputs"),
    [
        ("Choice", Discrete(5, start=2), 5),
        ("Nested", Dict.of(PARTS), 2 + 3 + 3 + 4 + 2 + 2),
        ("Picture", Image((32, 40, 3)), 8),
    ],
)
def test_what_is_recorded_is_learned_from_and_acted_on(
    name: str, space: Any, inputs: int, root: Path, run_of: Any, tmp_path: Path
) -> None:
    run = run_of(name)
    assert replay.open(root / name).spaces.observation == space
    algorithm, _ = load_policy(run)
    assert algorithm.state_dict()["policy.net.layers.0.weight"].shape == (8, inputs)
    assert quiver("evaluate", run, "--env", id_of(name), "--episodes", 1) == 0
    assert collect(tmp_path / "again", name, policy=run) == 0
    tuned = tmp_path / "tuned"
    words = ["--env-steps", 6, "--batch-size", 4, "--eval-episodes", 0, "--serial"]
    assert quiver("finetune", "--from", run, "--env", id_of(name), "--run", tuned, *words) == 0
    assert replay.open(tuned / "online").spaces.observation == space


def test_a_picture_in_data_is_the_environments_turned(root: Path, run_of: Any) -> None:
    run_of("Picture")
    dataset = replay.open(root / "Picture")
    shown = make(EnvSpec(id_of("Picture"))).reset(seed=0)[0]
    stored = images.decode(dataset.episode(0).observation[0], (32, 40, 3), "")
    np.testing.assert_array_equal(stored, np.moveaxis(shown, 0, -1))
    assert dataset.provenance["notes"] == [
        "observation: pictures come channels first, (3, 32, 40); kept as (32, 40, 3)"
    ]


@pytest.mark.parametrize(
    ("name", "key", "kept", "note"),
    [
        ("Camera", "state", Box((2,), "float32", (-1.0,), (1.0,)), "pictures that are not recorded: eye;"),
        ("Partly", "state", Box((2,), "float32", (-1.0,), (1.0,)), "not recorded: words;"),
        (
            "Nested",
            "gear",
            Dict.of({"0": Discrete(3), "1": Discrete(4, start=5)}),
            "not recorded: arm.angle, arm.held,",
        ),
    ],
)
def test_one_part_is_kept_and_the_others_are_named(
    name: str, key: str, kept: Any, note: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert collect(tmp_path / "out", name, "--observation-key", key) == 0
    assert replay.open(tmp_path / "out").spaces.observation == kept
    assert f"note: {note}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Partly", "observation words: Text(1, 5,"),
        ("Text", "observation: Text(1, 5,"),
        ("Sequence", "observation: Sequence("),
        ("Graph", "observation: Graph("),
        ("Empty", "is a dictionary without parts"),
        ("Clash", "are called 'arm.angle' once nested keys are joined"),
        ("Pairs", "action: MultiDiscrete([3 3]) is not supported, expected Box or Discrete"),
        ("Switches", "action: MultiBinary(3) is not supported"),
        ("Both", "action: Tuple("),
        ("Named", "action: Dict("),
    ],
)
def test_what_cannot_be_kept_is_refused_before_it_is_recorded(
    name: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["--algo", "bc", "--run", out, "--env-steps", 6, "--eval-episodes", 0, *SMALL]
    assert collect(out, name) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert quiver("finetune", "--env", id_of(name), *words) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["evaluate", "collect", "finetune", "train"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Choice", "observes observation: Discrete(5) from 2, the data holds observation: Box (2,) float32"),
        ("Camera", "name it with --observation-key"),
        ("Text", "observes observation: Text("),
        ("Few", "takes actions Discrete(2) from 0, the data holds Box (2,) float32 from -1 to 1"),
        ("Pairs", "takes actions MultiDiscrete"),
    ],
)
def test_an_environment_of_other_spaces_is_refused_before_a_step(
    command: str, name: str, message: str, root: Path, run_of: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = run_of("Numbers"), tmp_path / "out"
    capsys.readouterr()
    words = {
        "evaluate": ["evaluate", run, "--env", id_of(name), "--episodes", 1],
        "collect": ["collect", "--env", id_of(name), "--policy", run, "--episodes", 1, "--out", out],
        "finetune": ["finetune", "--from", run, "--env", id_of(name), "--run", out, "--env-steps", 6, "--serial"],
        "train": ["train", "--dataset", root / "Numbers", "--algo", "bc", "--run", out, "--env", id_of(name), *SMALL],
    }
    assert quiver(*words[command]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert said.startswith(f"error: --env {id_of(name)}: ")
    assert message in said
    assert not out.exists()


def test_other_bounds_of_actions_are_told_of(run_of: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert quiver("evaluate", run_of("Numbers"), "--env", id_of("Wide"), "--episodes", 1) == 0
    assert "takes actions Box (2,) float32 from -2 to 2, and the policy those of the data" in caplog.text


@pytest.mark.parametrize("broken", [np.nan, -np.inf, 1e39])
def test_a_policy_sees_zero_in_the_place_of_what_float32_cannot_hold(
    run_of: Any, caplog: pytest.LogCaptureFixture, broken: float
) -> None:
    algorithm, _ = load_policy(run_of("Numbers"))
    act, first = acting(algorithm, seed=0), np.array([True])
    expected = act(np.array([[0.0, 0.5]]), None, first)[0]
    assert caplog.text == ""
    for _ in range(2):
        np.testing.assert_array_equal(act(np.array([[broken, 0.5]]), None, first)[0], expected)
    assert caplog.text.count("the policy is shown 0 in their place") == 1


def test_a_checkpoint_of_choices_as_numbers_is_refused_with_the_reason(tmp_path: Path) -> None:
    action = Box((2,), "float32", (-1.0,), (1.0,))
    now = learners.create("bc", Spaces(Discrete(5), action), hidden=(8,))
    before = learners.create("bc", Spaces(Box(()), action), hidden=(8,))
    state = {name: tensor.numpy() for name, tensor in before.state_dict().items() if name.startswith("normaliser.")}
    whole = {name: tensor.numpy() for name, tensor in now.state_dict().items()}
    with pytest.raises(
        RunError, match=r"'normaliser\..*is float32 \(1,\), expected float32 \(5,\)\. .*train such a policy"
    ):
        checkpoint.check_layout(tmp_path, {**whole, **state}, now)
