"""Observations with those before them: joined as networks read them, and the same in a batch as in acting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import learners
from learners.base.footprint import _batch, footprint_of
from learners.errors import LearnerError
from learners.networks.encoders import VECTOR
from learners.networks.history import History
from replay.batch import Batch
from replay.spaces import Box, Dict, Discrete, Image, Spaces
from tests.learners.batches import random_batch, sample

ACTION = Box((2,), low=(-2.0, 0.0), high=(2.0, 1.0))
NUMBERS = Spaces(Box((3,)), ACTION)
PIXELS = Spaces(Dict.of({"camera": Image((9, 8, 3)), "arm": Box((2,))}), ACTION)
CAMERA = Spaces(Image((9, 8, 3)), ACTION)
CHOICES = Spaces(Discrete(4), Discrete(3))
SPACES = {"numbers": NUMBERS, "pixels": PIXELS, "camera": CAMERA, "choices": CHOICES}
SMALL: dict[str, Any] = {"hidden": (8,)}
PICTURES: dict[str, Any] = {**SMALL, "encoder_width": 4, "random_crop": 1}
STATISTICS = {
    "observation": {"mean": [1.0, 0.0, 0.0], "std": [2.0, 1.0, 1.0], "min": [-4] * 3, "max": [4] * 3},
    "action": {"mean": [0.0, 0.5], "std": [1.0, 0.3], "min": [-2, 0], "max": [2, 1]},
}


# --- What networks read ---


def test_numbers_are_joined_oldest_first_with_the_mask_behind_them() -> None:
    observation = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [5.0, 6.0]]])
    joined = History(1).joined(observation, torch.tensor([[1, 1], [0, 1]], dtype=torch.uint8))
    assert joined.tolist() == [[1, 2, 3, 4, 1, 1], [5, 6, 5, 6, 0, 1]]  # type: ignore[union-attr]


def test_pictures_are_joined_along_their_channels() -> None:
    observation = {"camera": torch.arange(24, dtype=torch.uint8).reshape(1, 2, 2, 2, 3), VECTOR: torch.ones(1, 2, 1)}
    joined = History(1).joined(observation, torch.tensor([[0, 1]], dtype=torch.uint8))
    assert isinstance(joined, dict)
    assert joined["camera"].tolist() == [
        [[[0, 1, 2, 12, 13, 14], [3, 4, 5, 15, 16, 17]], [[6, 7, 8, 18, 19, 20], [9, 10, 11, 21, 22, 23]]]
    ]
    assert joined[VECTOR].tolist() == [[1, 1, 0, 1]]
    assert joined["camera"].dtype == torch.uint8


def test_numbers_are_normalised_before_they_are_joined() -> None:
    bc = learners.create("bc", NUMBERS, history=1, statistics=STATISTICS, hidden=())
    observation = np.array([[[3.0, 0.0, 0.0], [5.0, 1.0, 0.0]]], np.float32)
    features = bc._encoding.features(observation, np.array([[1, 1]], np.uint8))
    assert features.tolist() == [[1, 0, 0, 2, 1, 0, 1, 1]]


# --- Training and acting ---


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize(("name", "knobs"), [("bc", {}), ("iql", {"encoder": "shared"}), ("iql", {"action_chunk": 2})])
def test_acting_sees_what_a_batch_of_the_same_episode_holds(kind: str, name: str, knobs: dict[str, Any]) -> None:
    spaces = SPACES[kind]
    knobs = {} if kind == "choices" else knobs
    if kind not in ("pixels", "camera"):
        knobs = {knob: value for knob, value in knobs.items() if knob != "encoder"}
    small = PICTURES if kind in ("pixels", "camera") else SMALL
    algorithm = learners.create(name, spaces, history=2, seed=1, **small, **knobs)
    assert algorithm.requires.history == 2
    for sequence in range(2):
        metrics = algorithm.update(random_batch(spaces, algorithm.requires, 8, sequence))
        assert all(torch.isfinite(value).all() for value in metrics.values())

    episode = sample(spaces.observation, (4,), np.random.default_rng(0))
    rows = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3]])
    masks = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 1], [1, 1, 1]], np.uint8)
    chunk = knobs.get("action_chunk", 1)
    state = None
    for step in range(4):
        one = {key: part[step] for key, part in episode.items()} if isinstance(episode, dict) else episode[step]
        action, state = algorithm.act(one, state, step == 0)
        if step % chunk:
            continue
        seen = (
            {key: part[rows[step]][None] for key, part in episode.items()}
            if isinstance(episode, dict)
            else episode[rows[step]][None]
        )
        with torch.no_grad():
            features = algorithm._encoding.embedded(algorithm._encoding.features(seen, masks[step][None]))
            found = algorithm.policy_action(features, None)[:, : algorithm.normaliser.action_size]
        expected = algorithm.normaliser.environment_action(found).numpy()[0]
        np.testing.assert_allclose(action, expected, atol=1e-5)


def test_the_past_matters_and_what_the_mask_says_of_it() -> None:
    bc = learners.create("bc", NUMBERS, history=1, **SMALL)
    present = np.ones((1, 3), np.float32)
    _, moved = bc.act(np.zeros((1, 3), np.float32))
    _, still = bc.act(present)
    alone, beside_zero, beside_itself = (bc.act(present, state)[0].tolist() for state in (None, moved, still))
    assert len({str(action) for action in (alone, beside_zero, beside_itself)}) == 3


def test_halves_of_a_batch_and_labels_from_elsewhere_make_the_same_step() -> None:
    knobs: dict[str, Any] = {"history": 2, "action_chunk": 3, **PICTURES}
    whole, other = (learners.create("iql", PIXELS, seed=3, **knobs) for _ in range(2))
    batch = random_batch(PIXELS, whole.requires, 8)
    labels = {name: label.numpy() for name, label in other.targets(batch).items()}
    whole.update(batch)
    other.update(batch, labels)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key

    gradients: list[torch.Tensor] = []
    for rank in range(2):
        half = learners.create("iql", PIXELS, seed=3, **knobs)
        half.distribute(rank, 2, lambda gradient: gradients.append(gradient.clone()))
        half.update(batch.rows(4 * rank, 4 * rank + 4))
    one = learners.create("iql", PIXELS, seed=3, **knobs)
    one.distribute(0, 1, lambda gradient: gradients.append(gradient.clone()))
    one.update(batch)
    torch.testing.assert_close((gradients[0] + gradients[1]) / 2, gradients[2], atol=1e-5, rtol=1e-4)


def test_a_step_takes_the_memory_that_is_known_before() -> None:
    knobs: dict[str, Any] = {"history": 2, "action_chunk": 3, **SMALL}
    algorithm = learners.create("iql", NUMBERS, **knobs)
    twin = type(algorithm)(NUMBERS, algorithm.config, seed=0, device="meta")
    found = footprint_of(twin, _batch(NUMBERS, twin.requires, 8))
    expected = footprint_of(algorithm, random_batch(NUMBERS, algorithm.requires, 8).map(torch.from_numpy))
    assert found.built == expected.built
    assert found.activations == expected.activations


@pytest.mark.parametrize("knobs", [{"history": 1}, {"action_chunk": 2}])
def test_one_action_has_no_density_of_its_own(knobs: dict[str, Any]) -> None:
    bc = learners.create("bc", NUMBERS, **SMALL, **knobs)
    assert bc.log_prob(np.zeros(3), np.zeros(2)) is None
    assert learners.create("bc", NUMBERS, **SMALL).log_prob(np.zeros(3), np.zeros(2)) is not None


def test_a_batch_without_its_history_is_refused() -> None:
    bc = learners.create("bc", NUMBERS, history=2, **SMALL)
    columns = dict(random_batch(NUMBERS, bc.requires, 4).columns())
    with pytest.raises(LearnerError, match=r"batch.observation: found shape \(4, 3\), expected shape \(4, 3, 3\)"):
        bc.update(Batch.of(columns | {"observation": columns["observation"][:, 0]}))
    with pytest.raises(LearnerError, match=r"batch.history_mask: found .*, expected shape \(4, 3\)"):
        bc.update(Batch.of({name: array for name, array in columns.items() if name != "history_mask"}))
