"""What an algorithm is made for and fed with from Python is refused by name where it cannot be what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import learners
from learners.errors import LearnerError
from replay.spaces import Box, Dict, Discrete, Image, Spaces
from tests.learners.batches import random_batch
from tests.learners.test_contract import CHOICES, NUMBERS, PIXELS, STATISTICS

ACTION = NUMBERS.action


def make(name="iql", spaces=NUMBERS, **options):
    return learners.create(name, spaces, hidden=(4,), **options)


# --- Names, seeds and devices ---


@pytest.mark.parametrize("name", [None, 5, ["iql"], b"iql", "", "IQL", "iql\n", "x" * 10_000])
def test_what_names_no_algorithm_is_refused(name):
    for ask in (learners.algorithm_class, learners.config_class, make):
        with pytest.raises(LearnerError, match=r"^algorithm: found .*expected one of awac, awr"):
            ask(name)


def test_a_near_name_is_suggested():
    with pytest.raises(LearnerError, match="Did you mean 'rebrac'"):
        make("rebra")
    with pytest.raises(LearnerError, match=r"unknown knob 'expectle'.*Did you mean 'expectile'"):
        make(expectle=0.5)


@pytest.mark.parametrize("seed", [-1, 2**63, 10**400, 0.5, 1.0, "0", None, True])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(LearnerError, match=r"seed: found .*expected a whole number, 0 to"):
        make(seed=seed)


@pytest.mark.parametrize(
    "device", ["gpu", "tpu", "", "meta", "cuda:", "cuda:-1", "cuda:²", "cuda:9999999999", "cpu:1", 0, None]
)
def test_what_is_no_device_is_refused(device):
    with pytest.raises(LearnerError, match=r"device: found .*expected cpu, cuda, or cuda:N"):
        make(device=device)


def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(LearnerError, match=r"device: found 'cuda:99', but PyTorch .* finds .* here"):
        make(device="cuda:99")
    assert make(device="cpu:0").device.type == "cpu"
    assert make(device=torch.device("cpu")).device.type == "cpu"


# --- Spaces ---


@pytest.mark.parametrize(
    ("spaces", "words"),
    [
        (None, "spaces: found None"),
        ((Box((3,)), ACTION), "spaces: found .*expected replay.spaces.Spaces"),
        (Spaces(None, ACTION), "observation space: found None"),
        (Spaces(Box((0,)), ACTION), "observation space: .*at least one element"),
        (Spaces(Dict(()), ACTION), "observation space: .*at least one element"),
        (Spaces(Box((-3,)), ACTION), "observation space: found"),
        (Spaces(Box((3.0,)), ACTION), "observation space: found"),
        (Spaces(Box((3,), dtype="words"), ACTION), "a dtype of numbers"),
        (Spaces(Box((3,), dtype="complex64"), ACTION), "a dtype of numbers"),
        (Spaces(Image((8, 8)), ACTION), "observation space: .*height, width and channels"),
        (Spaces(Dict.of({"eye": Image((8, 0, 3))}), ACTION), "observation space.eye: .*height, width and channels"),
        (Spaces(Dict.of({"arm": "Box"}), ACTION), "observation space.arm: found 'Box'"),
        (Spaces(Box((3,)), None), "action space: found None"),
        (Spaces(Box((3,)), Box((0,), low=(0.0,), high=(1.0,))), "action space: .*at least one element"),
        (Spaces(Box((3,)), Box((2,), low=(0.0,) * 3, high=(1.0,))), "action space: found 3 bounds as low"),
        (Spaces(Box((3,)), Box((2,), low=(2.0,), high=(1.0,))), "no low above its high"),
        (Spaces(Box((3,)), Box((2,), low=(np.nan,), high=(1.0,))), "none of them NaN"),
        (Spaces(Box((3,)), Box((2,), low=(-1e39,), high=(1e39,))), "bounds that a float32 can hold"),
        (Spaces(Box((3,)), Discrete(0)), "action space: .*at least one action"),
        (Spaces(Box((3,)), Discrete(-2)), "action space: .*at least one action"),
        (Spaces(Box((3,)), Discrete(4, start=2**63 - 1)), "numbers of 64 bits"),
        (Spaces(Box((3,)), Image((8, 8, 3))), "IQL is for continuous"),
    ],
    ids=str,
)
def test_spaces_that_cannot_be_are_refused(spaces, words):
    with pytest.raises(LearnerError, match=words):
        make(spaces=spaces)


@pytest.mark.parametrize("bound", [1e12, -3e38])
def test_an_action_that_never_varies_has_a_radius_however_large_it_is(bound):
    bc = make("bc", Spaces(Box((3,)), Box((1,), low=(bound,), high=(bound,))))
    batch = random_batch(bc.spaces, bc.requires, 8)
    assert torch.isfinite(bc.update(batch)["policy_loss"])
    assert np.isfinite(bc.act(batch.observation)[0]).all()


# --- Statistics ---


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ([], r"statistics: found \[\], expected them by column"),
        ({"observation": [0, 1]}, r"statistics of 'observation': found \[0, 1\]"),
        ({"observation": {"mean": "abc", "std": [1] * 3}}, "found 'abc' as mean, expected numbers"),
        ({"observation": {"mean": [0, [1], 2], "std": [1] * 3}}, "as mean, expected numbers"),
        ({"observation": {"mean": [0, np.nan, 0], "std": [1] * 3}}, "found nan as mean of element 1"),
        ({"observation": {"mean": [0] * 3, "std": [1, 1, np.inf]}}, "found inf as std of element 2"),
        ({"observation": {"mean": [0] * 3, "std": [-1, 1, 1]}}, "found -1 as std of element 0"),
        ({"observation": {"mean": [1e39] * 3, "std": [1] * 3}}, "float32 can hold"),
        ({"observation": {"mean": [0] * 2, "std": [1] * 2}}, "2 values of mean, expected 3"),
        ({"reward": {"min": [np.nan], "max": [1.0]}}, "statistics of 'reward': found nan as min"),
    ],
    ids=str,
)
def test_statistics_that_are_no_finite_numbers_are_refused(change, words):
    statistics = {**STATISTICS, **change} if isinstance(change, dict) else change
    with pytest.raises(LearnerError, match=words):
        make(statistics=statistics)


def test_only_statistics_that_are_read_need_be_finite():
    broken = {name: {end: [np.nan] for end in ("min", "max")} for name in ("action", "return", "other")}
    make(statistics={**STATISTICS, **broken})
    with pytest.raises(LearnerError, match="statistics of 'return': found nan as m"):
        make(statistics={**STATISTICS, **broken}, normalise_reward=True)
    with pytest.raises(LearnerError, match="statistics of 'action': found nan as m"):
        make(spaces=Spaces(Box((3,)), Box((1,))), statistics={**STATISTICS, **broken})


def test_a_scale_beyond_all_float32_is_refused():
    close = {**STATISTICS, "return": {"min": [0.0], "max": [1e-20]}}
    with pytest.raises(LearnerError, match=r"reward_scale: found 1e\+48"):
        make(statistics=close, normalise_reward=True, reward_scale=1e25)


def test_constant_elements_and_extreme_ones_stay_finite():
    extreme = {"observation": {"mean": [0, 3e38, -1e38], "std": [0, 0, 3e38], "min": [0] * 3, "max": [0] * 3}}
    iql = make(statistics=extreme)
    batch = random_batch(NUMBERS, iql.requires, 4)
    seen = np.tile(np.float32([0, 3e38, 1e38]), (4, 1))
    assert torch.isfinite(iql.normaliser.observation(torch.from_numpy(seen))).all()
    assert np.isfinite(iql.act(batch.observation)[0]).all()


# --- Batches ---


def without(mapping, name):
    return {key: value for key, value in mapping.items() if key != name}


@pytest.mark.parametrize(
    ("name", "spaces", "change", "words"),
    [
        (
            "iql",
            NUMBERS,
            lambda b: {"reward": b.reward[:, None]},
            r"batch.reward: found shape \(8, 1\), expected \(B,\)",
        ),
        ("iql", NUMBERS, lambda b: {"reward": b.reward[:0]}, r"batch.reward: found shape \(0,\)"),
        ("iql", NUMBERS, lambda b: {"discount": b.discount[:, None]}, r"batch.discount: found shape \(8, 1\)"),
        ("iql", NUMBERS, lambda b: {"action": b.action[:, 0]}, r"batch.action: .*expected shape \(8, 2\)"),
        (
            "iql",
            NUMBERS,
            lambda b: {"action": b.action[:4]},
            r"batch.action: found shape \(4, 2\), expected shape \(8, 2\)",
        ),
        ("iql", NUMBERS, lambda b: {"observation": b.observation[:, :2]}, r"batch.observation: found shape \(8, 2\)"),
        ("iql", NUMBERS, lambda b: {"observation": {"arm": b.observation}}, "batch.observation: found"),
        ("iql", NUMBERS, lambda b: {"next_observation": None}, "batch.next_observation: found None"),
        ("iql", NUMBERS, lambda b: {"weight": b.reward[:, None]}, r"batch.weight: found shape \(8, 1\)"),
        ("iql", CHOICES, lambda b: {"action": np.eye(4)[b.action - 1]}, r"batch.action: found shape \(8, 4\)"),
        ("iql", PIXELS, lambda b: {"observation": b.observation["arm"]}, "expected a dictionary of arm, camera"),
        ("iql", PIXELS, lambda b: {"observation": without(b.observation, "camera")}, r"found \['arm'\], expected"),
        ("calql", NUMBERS, lambda b: {"extras": {}}, "batch.extras: found no 'return_to_go'"),
        ("rebrac", NUMBERS, lambda b: {"extras": without(b.extras, "next_action")}, "found no 'next_action'"),
        ("awr", NUMBERS, lambda b: {"reward": b.reward[:, 0]}, r"expected \(B, T\), for episodes"),
    ],
)
def test_a_first_batch_of_other_shapes_or_keys_is_refused(name, spaces, change, words):
    algorithm = make(name, spaces)
    batch = random_batch(spaces, algorithm.requires, 8)
    with pytest.raises(LearnerError, match=words):
        algorithm.update(replace(batch, **change(batch)))
    algorithm.update(batch)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({}, r"targets: found \[\], expected \['q'\]"),
        ({"value": torch.zeros(8)}, r"targets: found \['value'\], expected \['q'\]"),
        ({"q": torch.zeros(8, 1)}, r"targets\['q'\]: found shape \(8, 1\), expected shape \(8,\)"),
        ({"q": np.zeros(4, np.float32)}, r"targets\['q'\]: found shape \(4,\), expected shape \(8,\)"),
        ({"q": 1.0}, r"targets\['q'\]: found 1\.0"),
    ],
)
def test_first_labels_that_targets_would_not_give_are_refused(labels, words):
    iql = make()
    with pytest.raises(LearnerError, match=words):
        iql.update(random_batch(NUMBERS, iql.requires, 8), labels)


def test_equations_without_a_solution_name_the_ridge():
    lstd = learners.create("lstd", NUMBERS, features=2, solve_every=10)
    equations = lstd.optimiser
    equations.add(-1e-4 * torch.eye(equations.size, dtype=torch.float64), torch.ones(equations.size).double(), rows=1)
    with pytest.raises(LearnerError, match=r"ridge: found 0\.0001, with which the equations have no solution"):
        lstd.solve()
