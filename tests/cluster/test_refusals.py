"""What does not fit is refused before work starts: by name, with the remedy, and with nothing left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cluster.errors import RunError
from cluster.options import Recipe, Role, Topology
from cluster.train import train
from envs import EnvError, EnvSpec
from learners import LearnerError
from replay.errors import DataError
from tests.cluster.runs import QUIET, SERIAL, make_dataset, recipe, run_once


def refused(run: Path, recipe: Recipe, kind: type[Exception], message: str, environment: EnvSpec | None = None) -> None:
    with pytest.raises(kind, match=message):
        train(recipe, SERIAL, QUIET, run=run, environment=environment)
    assert not run.exists(), "a refused run leaves no folder"


def test_an_unknown_algorithm_is_answered_with_the_nearest(dataset: Path, tmp_path: Path) -> None:
    bad = Recipe(datasets=((str(dataset), None),), algorithm="iqn")
    refused(tmp_path / "run", bad, LearnerError, "found 'iqn', expected one of .*Did you mean 'iql'")


def test_an_unknown_knob(dataset: Path, tmp_path: Path) -> None:
    bad = recipe(dataset, knobs={"expectil": 0.9})
    refused(tmp_path / "run", bad, LearnerError, "unknown knob 'expectil'.*Did you mean 'expectile'")


def test_an_unknown_environment(dataset: Path, tmp_path: Path) -> None:
    refused(tmp_path / "run", recipe(dataset), EnvError, "Pendulam-v1", EnvSpec("Pendulam-v1"))


def test_an_environment_of_another_shape(dataset: Path, tmp_path: Path) -> None:
    message = r"--env Pendulum-v1: observes .*\(3,\).*the data holds .*\(4,\)"
    refused(tmp_path / "run", recipe(dataset), RunError, message, EnvSpec("Pendulum-v1"))


def test_a_missing_dataset(tmp_path: Path) -> None:
    refused(tmp_path / "run", recipe(tmp_path / "nowhere"), DataError, "nowhere: not a dataset")


def test_an_unknown_split_and_an_unknown_column_in_where(dataset: Path, tmp_path: Path) -> None:
    refused(tmp_path / "run", recipe(dataset, split="tain"), DataError, "no episodes in split 'tain'")
    refused(tmp_path / "run", recipe(dataset, where="retrun > 0"), DataError, "retrun")


def test_datasets_of_different_shapes_do_not_mix(dataset: Path, tmp_path: Path) -> None:
    from replay.episode import Episode
    from replay.spaces import Box, Spaces
    from replay.writer import DatasetWriter

    spaces = Spaces(Box((5,)), Box((2,), low=(-1.0,), high=(1.0,)))
    with DatasetWriter(tmp_path / "other", spaces, provenance={}) as writer:
        flags = np.zeros(3, np.uint8)
        writer.add(
            Episode(np.zeros((4, 5), np.float32), np.zeros((3, 2), np.float32), np.zeros(3, np.float32), flags, flags)
        )
        writer.finish()
    both = recipe(dataset, datasets=((str(dataset), None), (str(tmp_path / "other"), None)))
    refused(tmp_path / "run", both, DataError, r"other: observation is Box \(5,\)")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    damaged = make_dataset(tmp_path / "damaged", episodes=12)
    victim = sorted((damaged / "shards").iterdir())[0]
    victim.unlink()
    refused(tmp_path / "run", recipe(damaged), DataError, f"{victim.name}: the file is missing")


def test_updaters_for_an_algorithm_without_targets(dataset: Path, tmp_path: Path) -> None:
    refused(tmp_path / "run", recipe(dataset, "bc"), RunError, "bc has no targets to compute")


def test_rewards_that_cross_entropy_cannot_take(tmp_path: Path) -> None:
    from replay.episode import Episode
    from replay.writer import DatasetWriter
    from tests.cluster.runs import SPACES

    with DatasetWriter(tmp_path / "logs", SPACES, provenance={}) as writer:
        flags = np.zeros(3, np.uint8)
        reward = np.array([0.0, -1.0, 0.0], np.float32)
        writer.add(Episode(np.zeros((4, 4), np.float32), np.zeros((3, 2), np.float32), reward, flags, flags))
        writer.finish()
    refused(tmp_path / "run", recipe(tmp_path / "logs", "qtopt"), Exception, r"reward.*-1")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "--batch-size: found 0"),
        ({"depth": -1}, "--depth: found -1"),
        ({"label_reuse": 3}, "--label-reuse: 3 does not divide --chunk-steps 4"),
        ({"label_reuse": 2, "fused": True}, "--label-reuse: a fused run has no labels"),
    ],
)
def test_options_out_of_range(dataset: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(RunError, match=message):
        recipe(dataset, **changes)


def test_several_learners_need_processes() -> None:
    with pytest.raises(RunError, match="--learners"):
        Topology(serial=True, learners=Role(2))


@pytest.mark.parametrize("changes", [{"priority_exponent": 0.6}, {"shards_per_draw": 2}])
def test_whole_episodes_are_not_drawn_like_transitions(
    dataset: Path, tmp_path: Path, changes: dict[str, float]
) -> None:
    refused(tmp_path / "run", recipe(dataset, "awr", **changes), RunError, "awr learns from whole episodes")


def test_a_gpu_that_is_not_there(dataset: Path, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    refused(tmp_path / "run", recipe(dataset, device="cuda"), RunError, "finds no GPU on this machine")


def test_a_run_that_diverges_says_where(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"_loss became (nan|inf) in steps .* diverged"):
        run_once(tmp_path / "run", recipe(dataset, knobs={"reward_scale": 1e30}))


FULL = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.cluster.runs import recipe, SERIAL
from cluster.options import Cadence
from cluster.train import train
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # as on a full disk, large files can no longer grow
train(recipe(Path({dataset!r})), SERIAL, Cadence(log_every=0, validate_every=0, checkpoint_every=8), run=Path({run!r}))
"""


@pytest.mark.slow
def test_a_full_disk_leaves_no_half_checkpoint(dataset: Path, tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    run = tmp_path / "run"
    program = FULL.format(root=root, dataset=str(dataset), run=str(run))
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "step-000000008: could not be written" in result.stderr
    assert "--resume" in result.stderr
    assert list((run / "checkpoints").iterdir()) == []
