"""Images: shapes, crops by hand, and whose gradients train what."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import learners
from learners.errors import LearnerError
from learners.networks.encoders import VECTOR, ImpalaEncoder, random_crop
from replay.spaces import Box, Dict, Image, Spaces
from tests.learners.batches import random_batch

SPACES = Spaces(Dict.of({"arm": Box((2,)), "camera": Image((9, 8, 3))}), Box((2,), low=(-1.0,), high=(1.0,)))
SMALL = {"hidden": (16,), "encoder_width": 8, "encoder": "shared"}


# --- Encoder ---


def test_numbers_are_joined_after_the_embeddings_of_all_images():
    encoder = ImpalaEncoder({"left": (9, 8, 3), "right": (5, 5, 1)}, 2, width=6)
    observation = {
        "left": torch.zeros(4, 9, 8, 3, dtype=torch.uint8),
        "right": torch.zeros(4, 5, 5, 1, dtype=torch.uint8),
        VECTOR: torch.tensor([[1.0, 2.0]]).expand(4, 2),
    }
    assert encoder.size == 6 + 6 + 2
    embedding = encoder(observation)
    assert embedding.shape == (4, 14)
    assert embedding[:, 12:].tolist() == [[1.0, 2.0]] * 4


def test_a_stage_halves_the_resolution_and_rounds_up():
    tower = ImpalaEncoder({"camera": (9, 8, 3)}, 0).towers[0]
    assert tower.stages(torch.zeros(1, 3, 9, 8)).shape == (1, 32, 2, 1)  # 9, 5, 3, 2 and 8, 4, 2, 1


def test_steps_of_episodes_are_encoded_one_by_one():
    encoder = ImpalaEncoder({"camera": (9, 8, 3)}, 0, width=6)
    images = torch.randint(0, 256, (4, 5, 9, 8, 3), dtype=torch.uint8)
    embedding = encoder({"camera": images})
    assert embedding.shape == (4, 5, 6)
    torch.testing.assert_close(embedding[1], encoder({"camera": images[1]}))


# --- Random crops ---


def test_a_crop_moves_each_image_by_its_own_offset_and_repeats_the_edge():
    image = torch.arange(9, dtype=torch.uint8).view(1, 3, 3, 1).expand(2, 3, 3, 1)
    # With a padding of 1 the thirds of [0, 1) mean −1, 0 and 1.
    moved = random_crop(image, torch.tensor([[0.9, 0.5], [0.5, 0.0]]), padding=1)
    assert moved[0, :, :, 0].tolist() == [[3, 4, 5], [6, 7, 8], [6, 7, 8]]  # one row down
    assert moved[1, :, :, 0].tolist() == [[0, 0, 1], [3, 3, 4], [6, 6, 7]]  # one column to the left


def test_crops_are_for_training_only_and_addressed_by_the_batch():
    plain, cropped = (learners.create("bc", SPACES, random_crop=padding, **SMALL) for padding in (0, 2))
    batch = random_batch(SPACES, plain.requires)
    same = {name: metric.item() for name, metric in plain.diagnostics(batch).items()}
    assert {name: metric.item() for name, metric in cropped.diagnostics(batch).items()} == same
    losses = [cropped._losses_of(cropped._loss_inputs(batch, {}))[0].item() for _ in range(2)]
    assert losses[0] == losses[1] != plain._losses_of(plain._loss_inputs(batch, {}))[0].item()


# --- Shared and separate encoders ---


def gradients(name: str, **knobs):
    """Of each group, after one step."""
    algorithm = learners.create(name, SPACES, **SMALL, **knobs)
    algorithm.update(random_batch(SPACES, algorithm.requires))
    return {group: algorithm.optimiser.gradient[part].clone() for group, part in algorithm.optimiser.groups.items()}


def test_values_train_the_shared_encoder_and_the_policy_does_not():
    mild, sharp = gradients("iql", temperature=0.0), gradients("iql", temperature=5.0)
    assert not torch.equal(mild["policy"], sharp["policy"])  # the temperature is of the policy's loss
    assert torch.equal(mild["encoder"], sharp["encoder"])
    assert mild["encoder"].abs().max() > 0


def test_a_method_without_values_trains_the_encoder_by_its_policy():
    assert gradients("bc")["encoder"].abs().max() > 0


def test_separate_encoders_belong_to_their_networks():
    iql = learners.create("iql", SPACES, **SMALL | {"encoder": "separate"})
    assert "encoder" not in iql.modules
    for name in ("value", "critic", "policy", "target_critic"):
        assert any(key.startswith("encoder.towers") for key in iql.modules[name].state_dict()), name


def test_the_shared_encoder_travels_with_both_kinds_of_weights():
    iql = learners.create("iql", SPACES, **SMALL)
    sizes = {name: sum(parameter.numel() for parameter in module.parameters()) for name, module in iql.modules.items()}
    assert iql.target_weights().size == sizes["value"] + sizes["encoder"]
    assert iql.policy_weights().size == sizes["policy"] + sizes["encoder"]


def test_the_image_is_encoded_once_however_many_actions_are_tried():
    qtopt = learners.create("qtopt", SPACES, **SMALL)
    seen = []
    qtopt.modules["encoder"].towers[0].register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    qtopt.targets(random_batch(SPACES, qtopt.requires))
    assert seen == [8]  # 128 actions were tried in each of the 8 states


def test_pixels_alone_are_learned_from():
    # The action is written into the picture: bright is 1, dark is -1.
    spaces = Spaces(Image((8, 8, 1)), Box((1,), low=(-1.0,), high=(1.0,)))
    bc = learners.create("bc", spaces, loss="mse", learning_rate=3e-3, random_crop=1, **SMALL)
    for sequence in range(150):
        batch = random_batch(spaces, bc.requires, 32, sequence)
        bright = (np.arange(32) % 2).astype(np.uint8)
        batch.observation[:] = (bright * 200 + 20)[:, None, None, None]
        batch.action[:] = (2.0 * bright - 1.0)[:, None]
        bc.update(batch)
    dark, bright = (bc.act(np.full((8, 8, 1), level, np.uint8))[0].item() for level in (20, 220))
    assert dark < -0.8
    assert bright > 0.8


def test_wrong_knobs_are_refused():
    with pytest.raises(LearnerError, match="encoder: found 'none', expected 'separate' or 'shared'"):
        learners.create("iql", SPACES, encoder="none")
    with pytest.raises(LearnerError, match="encoder_width: found 0"):
        learners.create("iql", SPACES, encoder_width=0)
    with pytest.raises(LearnerError, match="random_crop: found -1"):
        learners.create("iql", SPACES, random_crop=-1)
