"""Imagining is labelling: whoever imagines, and whenever it comes, a run trains on the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import learners
import replay
from cluster import train as train_module
from cluster.errors import RunError
from cluster.options import Cadence, Recipe, Role, Topology
from cluster.roles.bellman_updater import check_imagined
from cluster.roles.imagined_rows import ImaginedRows
from cluster.roles.learner import Learner
from cluster.train import train
from learners.catalogue import CATALOGUE
from learners.errors import LearnerError
from replay.batch import Batch
from replay.episode import Episode
from replay.writer import DatasetWriter
from tests.cluster.processes import actor_processes, kill
from tests.cluster.runs import QUIET, SERIAL, assert_same_parameters, on_ray, parameters, run_once
from tests.cluster.test_faults import during
from tests.learners.discrete_tabular import ACTIONS, SPACES, STATES, move
from tests.learners.tabular_model import ENTRY, NAME, RegisteredSpec

EACH = 8
"""Steps: with chunks of four, every second chunk."""


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CATALOGUE, NAME, ENTRY)
    monkeypatch.setattr(train_module, "AlgorithmSpec", RegisteredSpec)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random walks in a chain of six states, until its end or for eight steps."""
    rng, one_hot = np.random.default_rng(0), np.eye(STATES + 1, dtype=np.float32)
    path = tmp_path_factory.mktemp("chain") / "logs"
    with DatasetWriter(path, SPACES, provenance={"source": "tests"}, shard_bytes=4_000) as writer:
        for _ in range(60):
            states, actions, rewards, ended = [int(rng.integers(STATES))], [], [], False
            while len(actions) < 8 and not ended:
                actions.append(int(rng.choice(ACTIONS)))
                reward, after, ended = move(states[-1], actions[-1])
                rewards.append(reward)
                states.append(after)
            ends = np.eye(len(actions), dtype=np.uint8)[-1]
            writer.add(
                Episode(
                    observation=one_hot[states],
                    action=np.array(actions, np.int64),
                    reward=np.array(rewards, np.float32),
                    terminated=ends * ended,
                    truncated=ends * (not ended),
                )
            )
        writer.finish()
    return path


def imagining(chain: Path, **changes: Any) -> Recipe:
    """An imagination of 40 rows, in three calls, before every second chunk; a third of each batch is imagined."""
    base = Recipe(
        datasets=((str(chain), None),),
        algorithm=NAME,
        batch_size=16,
        steps=48,
        chunk_steps=4,
        depth=1,
        fused=True,
        imagine_every=EACH,
        imagine_starts=40,
        imagined_capacity=100,
        imagined_share=1 / 3,
    )
    return replace(base, **changes)


def rows(*numbers: int) -> Batch[np.ndarray]:
    """Transitions that are told apart by their rewards."""
    count = len(numbers)
    return Batch(
        observation=np.zeros((count, 2), np.float32),
        action=np.zeros((count, 1), np.float32),
        reward=np.array(numbers, np.float32),
        discount=np.ones(count, np.float32),
        next_observation=np.zeros((count, 2), np.float32),
        terminated=np.zeros(count, np.uint8),
        truncated=np.zeros(count, np.uint8),
        index=np.full(count, -1),
    )


# --- The ring ---


def test_the_ring_is_bounded_and_the_oldest_rows_leave() -> None:
    ring = ImaginedRows(5)
    for batch in (rows(0, 1, 2), rows(3, 4, 5), rows(6)):
        ring.enter(batch)
    assert ring.state()["reward"].tolist() == [2, 3, 4, 5, 6]
    ring.enter(rows(*range(10, 17)))
    assert ring.state()["reward"].tolist() == [12, 13, 14, 15, 16]
    assert len(ring) == 5


def test_draws_are_by_step_alone_and_every_row_is_as_likely() -> None:
    ring = ImaginedRows(4)
    ring.enter(rows(0, 1, 2, 3, 4, 5))
    drawn = ring.draw(0, 7, 4_000).reward
    assert np.bincount(drawn.astype(int), minlength=6)[:2].tolist() == [0, 0]
    np.testing.assert_allclose(np.bincount(drawn.astype(int))[2:], 1_000, atol=100)
    again = ImaginedRows(4)
    again.restore(ring.state())
    np.testing.assert_array_equal(again.draw(0, 7, 4_000).reward, drawn)
    assert not np.array_equal(again.draw(0, 8, 4_000).reward, drawn)
    assert ImaginedRows(4).state() == {}


def test_what_is_imagined_must_have_the_columns_of_what_is_logged() -> None:
    wrong = replace(rows(1), reward=np.zeros(1))
    with pytest.raises(LearnerError, match=r"^imagine: reward is float64 \(B\), expected float32 \(B\)\.$"):
        check_imagined(rows(1), wrong)
    with pytest.raises(LearnerError, match=r"^imagine: extras.x is missing, expected float32 \(B, 3\)\.$"):
        check_imagined(replace(rows(1), extras={"x": np.zeros((1, 3), np.float32)}), rows(1))


# --- A run ---


def test_the_shares_are_exact_and_rows_enter_by_step(chain: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """A third of sixteen is five, five and six, in turn; 16, 16 and 8 rows enter before every second chunk."""
    told: list[tuple[str, int, int]] = []
    step, remember, draw = Learner._step, Learner.remember, ImaginedRows.draw

    def stepping(self: Learner, batch: Batch[Any], targets: Any) -> Any:
        assert len(batch) == 16
        np.testing.assert_array_equal(batch.observation[16 - told[-1][2] :], drawn[-1].observation)
        return step(self, batch, targets)

    def drawing(self: ImaginedRows, seed: int, number: int, count: int) -> Batch[Any]:
        told.append(("drawn", number, count))
        drawn.append(draw(self, seed, number, count))
        return drawn[-1]

    def entering(self: Learner, *imagined: Batch[Any]) -> None:
        told.extend(("entered", -1, len(batch)) for batch in imagined)
        remember(self, *imagined)

    drawn: list[Batch[Any]] = []
    monkeypatch.setattr(Learner, "_step", stepping)
    monkeypatch.setattr(ImaginedRows, "draw", drawing)
    monkeypatch.setattr(Learner, "remember", entering)
    result = run_once(tmp_path / "run", imagining(chain, steps=24))
    expected: list[tuple[str, int, int]] = []
    for number in range(24):
        if number % EACH == 0:
            expected += [("entered", -1, count) for count in (16, 16, 8)]
        expected.append(("drawn", number, (5, 5, 6)[number % 3]))
    assert told == expected
    assert result.summary["updaters"] == [{"name": "bellman_updater-0", "chunks": 9}]
    logged, held, starts = 24 * 16 * 2 // 3, 2 * 4 * 16, 3 * 40
    assert result.summary["shards"][0]["rows"] == logged + held + starts


def test_the_ring_is_in_the_checkpoint_and_bounded(chain: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    run_once(tmp_path / "run", imagining(chain, steps=24))
    pipeline = load_file(tmp_path / "run" / "checkpoints" / "step-000000024" / "pipeline.safetensors")
    assert pipeline["imagined.batch.reward"].shape == (100,)  # of the 120 that entered
    assert pipeline["imagined.batch.observation"].shape == (100, STATES + 1)
    # Chunk 6 imagines by version 5, which was published; version 6 labels nothing.
    assert sorted(name for name in pipeline if name.startswith("weights.")) == ["weights.5"]


def test_what_is_imagined_follows_the_model_and_changes_the_result(chain: Path, tmp_path: Path) -> None:
    run_once(tmp_path / "run", imagining(chain))
    run_once(tmp_path / "stale", imagining(chain, depth=2))
    run_once(tmp_path / "more", imagining(chain, imagined_share=0.5))
    ours = parameters(tmp_path / "run")
    for other in ("stale", "more"):
        assert any(ours[name].tobytes() != array.tobytes() for name, array in parameters(tmp_path / other).items())


def test_resumed_is_never_stopped(chain: Path, tmp_path: Path) -> None:
    """Stopped after three chunks of which the second imagined, before the third that imagines."""
    run_once(tmp_path / "whole", imagining(chain))
    for stop in (12, 16):
        run = tmp_path / f"stopped-{stop}"
        run_once(run, imagining(chain, steps=stop))
        train(imagining(chain), SERIAL, QUIET, run=run, resume=True)
        assert_same_parameters(tmp_path / "whole", run)


def test_a_trained_model_imagines_what_the_chain_does(chain: Path) -> None:
    dataset = replay.open(chain)
    algorithm = learners.create(NAME, dataset.spaces, discount=0.9)
    for number in range(300):
        algorithm.update(dataset.sample(seed=0, sequence=number, count=64, request=algorithm.requires))
    batch = dataset.sample(seed=0, sequence=1_000, count=256, request=algorithm.requires)
    imagined = algorithm.imagine(batch)
    check_imagined(batch, imagined)
    starts, ends = batch.observation.argmax(-1), imagined.next_observation.argmax(-1)
    truth = [move(int(state), int(action))[1] for state, action in zip(starts, imagined.action, strict=True)]
    assert np.mean(ends == np.array(truth)) > 0.95


# --- Refused ---


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"imagine_every": None}, "--imagine-starts: found 40, but nothing is imagined without --imagine-every"),
        ({"imagined_share": None}, "--imagined-share: not given, expected with --imagine-every 8"),
        ({"imagine_every": 6}, "--imagine-every: found 6, expected a multiple of --chunk-steps 4"),
        ({"fused": False}, "--imagine-every: expected a fused run"),
        ({"priority_exponent": 0.5}, "--imagine-every: expected a fused run without --priority-exponent"),
        ({"imagined_share": 0.97}, "--imagined-share: 0.97 of --batch-size 16 leaves no logged transitions"),
        ({"imagined_share": 1.0}, "--imagined-share: found 1.0, expected a number, above 0, below 1"),
        ({"imagined_capacity": 0}, "--imagined-capacity: found 0, expected a whole number, 1 to 1e9"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(chain: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError, match=message):
        imagining(chain, **changes)


def test_imagining_without_a_model_or_with_two_learners_is_refused(chain: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="--imagine-every: bc has no model to imagine by"):
        run_once(tmp_path / "run", imagining(chain, algorithm="bc", fused=True))
    with pytest.raises(RunError, match="--learners: imagined transitions are one learner's"):
        run_once(tmp_path / "run", imagining(chain), Topology(learners=Role(2)))
    assert not (tmp_path / "run").exists()


# --- Over Ray ---


@pytest.fixture(scope="module")
def session() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("session")
def test_one_and_three_updaters_and_one_killed_give_the_serial_run(chain: Path, tmp_path: Path) -> None:
    long = imagining(chain, steps=400, depth=2)
    run_once(tmp_path / "serial", long)
    cadence = Cadence(log_every=4, validate_every=0, checkpoint_every=0)
    one = train(long, on_ray(updaters=1, shards=2), cadence, run=tmp_path / "one")
    assert one.summary["updaters"] == [{"name": "bellman_updater-0", "chunks": 150}]
    assert_same_parameters(tmp_path / "serial", tmp_path / "one")

    killed: list[int] = []

    def harm() -> None:
        killed.append(actor_processes("BellmanUpdater")[0])
        kill(killed[0])

    thread = during(tmp_path / "three", 10, harm)
    three = train(long, on_ray(updaters=3, shards=2), cadence, run=tmp_path / "three")
    thread.join()
    assert len(killed) == 1
    assert all(updater["chunks"] > 0 for updater in three.summary["updaters"])
    assert_same_parameters(tmp_path / "serial", tmp_path / "three")
