"""Resumed with the options of before, with its data elsewhere, or with its data grown, a run is the same run."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import replay
from cluster import cli
from cluster.errors import RunError
from cluster.run_folder import RunFolder
from cluster.train import train
from replay.episode import Episode
from replay.errors import DataError
from replay.online.store import OnlineStore
from tests.cluster.online_runs import ONLINE, REACH, beginning_of, online_recipe, run_online
from tests.cluster.runs import QUIET, SERIAL, SPACES, assert_same_parameters, make_dataset, recipe, run_once

# --- The same options ---

SMALL = ["--hidden", "16", "16", "--expectile", "0.8", "--batch-size", "16", "--chunk-steps", "4", "--seed", "3"]
WHICH = ["--split", "all", "--where", "return > 0", "--algo", "iql"]
QUICKLY = ["--serial", "--checkpoint-every", "8", "--log-every", "8", "--eval-episodes", "0"]


def quiver(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command that works says."""
    capsys.readouterr()
    code = cli.main(list(arguments))
    said = capsys.readouterr().err
    assert code == 0, said
    return said


def test_train_resumes_with_every_option_of_before(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_dataset(tmp_path / "other", episodes=12, seed=1)
    monkeypatch.chdir(tmp_path)
    data = ["--dataset", f"{dataset}=0.5", "--dataset", "other=1.5"]
    rest = ["--updaters", "1", "--depth", "1", *SMALL, *WHICH, *QUICKLY]
    quiver(capsys, "train", *data, "--run", "run", "--steps", "16", *rest)
    begun = RunFolder(Path("run")).read_config()
    assert begun["recipe"]["datasets"] == [[str(dataset), 0.5], [str(other), 1.5]]
    quiver(capsys, "train", *data, "--run", "run", "--steps", "24", *rest, "--resume")
    quiver(capsys, "train", "--run", "run", "--steps", "32", "--resume")
    otherwise = [f"--dataset={tmp_path}/../{tmp_path.name}/other=1.5", "--dataset", f"{dataset}=0.5"]
    quiver(capsys, "train", *otherwise, "--run", "run", "--steps", "40", *rest, "--resume")
    quiver(capsys, "train", *data, "--run", "whole", "--steps", "40", *rest)
    assert_same_parameters(Path("run"), Path("whole"))
    ended = RunFolder(Path("run")).read_config()
    assert ended["recipe"]["knobs"] == begun["recipe"]["knobs"]


def test_finetune_resumes_with_every_option_of_before(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    quiver(capsys, "train", "--dataset", str(dataset), "--run", "off", "--steps", "16", *SMALL, *WHICH, *QUICKLY)
    begun = ["--from", "off", "--checkpoint", "latest", "--dataset", str(dataset), "--env", REACH.id]
    way = ["--share", "0.5", "--rollout-steps", "5", "--noise", "0.1", "--no-stochastic", *SMALL, *WHICH, *QUICKLY]
    quiver(capsys, "finetune", *begun, "--run", "run", "--env-steps", "40", *way)
    recorded = RunFolder(Path("run")).read_config()
    (stage,) = recorded["init"]
    assert (stage["name"], stage["run"], stage["checkpoint"]) == ("all", str(tmp_path / "off"), "step-000000016")
    quiver(capsys, "finetune", *begun, "--run", "run", "--env-steps", "60", *way, "--resume")
    ended = RunFolder(Path("run")).read_config()
    assert ended["init"] == recorded["init"]
    assert ended["recipe"] == {**recorded["recipe"], "steps": 60}
    assert cli.main(["finetune", "--run", "run", "--resume", "--from", "run"]) == 2
    assert f"the run began from all={tmp_path / 'off'}@step-000000016" in " ".join(capsys.readouterr().err.split())
    assert cli.main(["finetune", "--run", "run", "--resume", "--env", "Pendulum-v1"]) == 2


def test_fine_tuning_goes_on_in_the_environment_it_began_in(dataset: Path, tmp_path: Path) -> None:
    from cluster.finetune import finetune
    from envs import EnvSpec
    from tests.cluster.online_runs import QUIET as QUIET_ONLINE
    from tests.point_reach import FRAGILE

    run, short = tmp_path / "run", replace(ONLINE, env_steps=40)
    run_online(run, online_recipe(dataset), short)
    with pytest.raises(RunError, match=r"the run began with environment = .*PointReach.*now it is .*FragileReach"):
        finetune(
            online_recipe(dataset),
            short,
            SERIAL,
            QUIET_ONLINE,
            run=run,
            environment=EnvSpec(FRAGILE, {"folder": str(tmp_path)}),
            resume=True,
        )


def test_knobs_left_at_their_defaults_need_not_be_on_record(dataset: Path, tmp_path: Path) -> None:
    run_once(tmp_path / "run", recipe(dataset))
    spelled = recipe(dataset, steps=48, knobs={"hidden": (16, 16), "expectile": 0.7})
    train(spelled, SERIAL, QUIET, run=tmp_path / "run", resume=True)
    with pytest.raises(RunError, match=r"knobs = .*'expectile': 0\.7.* now it is .*'expectile': 0\.8"):
        train(
            replace(spelled, knobs={"hidden": (16, 16), "expectile": 0.8}),
            SERIAL,
            QUIET,
            run=tmp_path / "run",
            resume=True,
        )


# --- Datasets elsewhere ---


def test_a_dataset_that_was_renamed_is_found_by_its_hash(tmp_path: Path) -> None:
    old, new = make_dataset(tmp_path / "old", episodes=12), tmp_path / "new"
    run_once(tmp_path / "run", recipe(old))
    run_once(tmp_path / "whole", recipe(old, steps=48))
    old.rename(new)
    with pytest.raises(
        DataError,
        match=r"old: is no dataset.*`quiver train --run .*run --resume --dataset NEW`: it is known by its hash",
    ):
        train(recipe(old, steps=48), SERIAL, QUIET, run=tmp_path / "run", resume=True)
    train(recipe(new, steps=48), SERIAL, QUIET, run=tmp_path / "run", resume=True)
    assert_same_parameters(tmp_path / "run", tmp_path / "whole")
    config = RunFolder(tmp_path / "run").read_config()
    assert config["recipe"]["datasets"] == [[str(new), None]]
    assert config["datasets"][0]["path"] == str(new)


def test_several_datasets_are_told_apart_by_hash_and_weight(tmp_path: Path) -> None:
    one, two = (make_dataset(tmp_path / name, episodes=12, seed=seed) for seed, name in enumerate(("one", "two")))
    begun = recipe(one, datasets=((str(one), 0.5), (str(two), 1.5)))
    run = tmp_path / "run"
    run_once(run, begun)
    run_once(tmp_path / "whole", replace(begun, steps=48))
    one.rename(tmp_path / "uno")
    two.rename(tmp_path / "dos")

    def resumed(*datasets: tuple[str, float | None]) -> None:
        found = tuple((str(tmp_path / name), weight) for name, weight in datasets)
        train(replace(begun, steps=48, datasets=found), SERIAL, QUIET, run=run, resume=True)

    with pytest.raises(DataError, match=rf"one: is no dataset.*--dataset NEW=0\.5 --dataset {two}=1\.5`"):
        resumed(("one", 0.5), ("two", 1.5))
    with pytest.raises(RunError, match=r"uno has that hash, and the weight 1\.5 where the run has 0\.5"):
        resumed(("uno", 1.5), ("dos", 0.5))
    with pytest.raises(RunError, match=r"--dataset: the run began with 2 \(.*one, .*two\), now there are 1"):
        resumed(("uno", 0.5))
    resumed(("dos", 1.5), ("uno", 0.5))
    assert_same_parameters(run, tmp_path / "whole")
    recorded = [[str(tmp_path / "uno"), 0.5], [str(tmp_path / "dos"), 1.5]]
    assert RunFolder(run).read_config()["recipe"]["datasets"] == recorded


def test_another_dataset_is_not_taken_for_it(dataset: Path, tmp_path: Path) -> None:
    old, other = make_dataset(tmp_path / "old", episodes=12), make_dataset(tmp_path / "other", episodes=12, seed=1)
    run_once(tmp_path / "run", recipe(old))
    with pytest.raises(RunError, match=r"the run began with .*old, whose hash is .*other has the hash"):
        train(recipe(other), SERIAL, QUIET, run=tmp_path / "run", resume=True)
    shutil.rmtree(old)
    other.rename(old)
    with pytest.raises(DataError, match=r"old: the dataset changed since the run began"):
        train(recipe(old), SERIAL, QUIET, run=tmp_path / "run", resume=True)


# --- Datasets that grow ---


def grow(store: Path, episodes: int, *, create: bool = False) -> None:
    """So many more random episodes in an online store, each a record of its journal."""
    opened = OnlineStore.create(store, SPACES, provenance={"source": "tests"}) if create else OnlineStore(store)
    with opened:
        for _ in range(episodes):
            number = opened.snapshot
            rng = np.random.default_rng(number)
            flags = np.zeros(20, np.uint8)
            episode = Episode(
                observation=rng.standard_normal((21, 4)).astype(np.float32),
                action=rng.uniform(-1, 1, (20, 2)).astype(np.float32),
                reward=rng.uniform(0, 1, 20).astype(np.float32),
                terminated=flags,
                truncated=np.concatenate([flags[1:], [1]]).astype(np.uint8),
            )
            opened.insert([(str(number), episode)])


def test_a_run_on_an_online_store_resumes_at_its_snapshot_however_the_store_has_grown(tmp_path: Path) -> None:
    store, run = tmp_path / "store", tmp_path / "run"
    grow(store, 12, create=True)
    run_once(run, recipe(store))
    run_once(tmp_path / "whole", recipe(store, steps=48))
    assert RunFolder(run).read_config()["datasets"][0]["snapshot"] == 12
    grow(store, 5)
    assert replay.open(store).snapshot == 17
    train(recipe(store, steps=48), SERIAL, QUIET, run=run, resume=True)
    assert_same_parameters(run, tmp_path / "whole")
    config = RunFolder(run).read_config()
    assert (config["datasets"][0]["snapshot"], config["datasets"][0]["episodes"]) == (12, 12)
    store.rename(tmp_path / "moved")
    train(recipe(tmp_path / "moved", steps=48), SERIAL, QUIET, run=run, resume=True)


def test_a_store_that_lost_what_the_run_saw_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "store"
    grow(store, 4, create=True)
    run_once(tmp_path / "run", recipe(store))
    journal = store / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:3]))
    with pytest.raises(DataError, match=r"store: its journal has 3 records, and had 4 when the run began"):
        train(recipe(store, steps=48), SERIAL, QUIET, run=tmp_path / "run", resume=True)


def test_fine_tuning_on_a_stores_logs_resumes_at_its_snapshot(tmp_path: Path) -> None:
    store, run = tmp_path / "store", tmp_path / "run"
    grow(store, 12, create=True)
    run_once(tmp_path / "offline", recipe(store, fused=True))
    start = beginning_of(tmp_path / "offline")
    run_online(run, online_recipe(store), replace(ONLINE, env_steps=40), init=start)
    grow(store, 3)
    run_online(run, online_recipe(store), replace(ONLINE, env_steps=60), init=start, resume=True)
    config = json.loads((run / "config.json").read_text())
    assert config["datasets"][0]["snapshot"] == 12
    assert config["online"]["env_steps"] == 60
