"""Every knob does something, or is refused: whoever sets it is told."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

import learners
from learners.base.config import CommonConfig
from learners.base.creation import refuse_idle, served_class
from learners.errors import LearnerError
from tests.learners.batches import random_batch, sample
from tests.learners.test_contract import BLIND, KINDS, STATISTICS, act, kinds

UNSEEN = {
    "mixed_precision": "on a GPU only",
    "lag_steps": "how far the lagged copy is behind",
    "solve_every": "only the steps at which it is solved",
    "discount": "of the request, which a gather applies",
    "n_step": "likewise",
    "reward_scale": "likewise",
    "reward_shift": "likewise",
    "normalise_reward": "likewise",
    **dict.fromkeys(("tasks", "task_rewards", "impersonation", "balance_tasks"), "`test_iql_tasks` shows them"),
    **dict.fromkeys(
        [f"goal_{goal}" for goal in ("current", "future", "final", "random", "discount")], "of the request"
    ),
}
"""Knobs whose effect a few steps on random batches do not show; `test_contract` shows that of the request."""
OTHER = {
    "learning_rate": 0.01,
    "cosine_steps": 3,
    "gradient_clip": 1e-3,
    "hidden": (6,),
    "encoder": "shared",
    "policy_std": 0.5,
    "kernel": "gaussian",
    "penalty": "policy",
    "loss": {"bc": "mse", "gcbc": "mse", "qtopt": "squared"},
    "aggregation": "min",
    "optimiser": "sgd",
    "lagrange_threshold": 1.0,
    "target_entropy": -3.0,
    "warm_up_steps": 2,
    "members": 3,
    "subset": 1,
    "advantage_clip": 0.5,
    "policy_every": 2,
    "policy_delay": 1,
    "beta": -1.0,
    "threshold": 0.95,
    "polyak": 0.5,
    "random_crop": 2,
    "divergence_threshold": 3.0,
    "generative_hidden": (6,),
    "elites": 2,
    "target_noise_clip": 0.01,
    "action_chunk": 3,
    "history": 2,
}
"""Other values than the default, where twice it, or its opposite, is not one."""
SMALL = {
    "hidden": (8,),
    "generative_hidden": (8,),
    "members": 4,
    "encoder_width": 4,
    "features": 8,
    "solve_every": 2,
    "warm_up_steps": 0,
    "samples": 8,
    "policy_every": 1,
    "polyak": 0.1,
}
NEEDS = {
    ("qtopt", "momentum"): {"optimiser": "sgd"},
}
"""What else must be set, so that it has an effect."""


def changed(name: str, knob: str, value: object) -> object:
    if knob in OTHER:
        other = OTHER[knob]
        return other[name] if isinstance(other, dict) else other
    if isinstance(value, bool):
        return not value
    return 2 * value if isinstance(value, int) else 0.5 * value if value else 0.5


def trace(name: str, kind: str, knobs: dict[str, object]) -> list[torch.Tensor]:
    """What three steps and a few actions come to."""
    spaces = KINDS[kind]
    kind_of = served_class(learners.algorithm_class(name), spaces)
    algorithm = kind_of(spaces, kind_of.Config(**knobs), seed=0, statistics=STATISTICS)  # without a look at memory
    for sequence in range(3):
        algorithm.update(random_batch(spaces, algorithm.requires, 8, sequence))
    observation = sample(spaces.observation, (6,), np.random.default_rng(0))
    acts = [act(algorithm, observation, key=(0, 0), deterministic=still)[0] for still in (True, False)]
    return [*algorithm.state_dict().values(), *(torch.from_numpy(np.asarray(act)) for act in acts)]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(
        a.shape == b.shape and torch.equal(a, b) for a, b in zip(one, other, strict=True)
    )


CASES = [(name, kind) for name in learners.names() for kind in kinds(name) if kind != "pixels"]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_each_knob_does_something_or_is_refused(name, kind):
    usual = learners.config_class(name)
    known = [entry for entry in fields(usual) if entry.name not in UNSEEN]
    idle = served_class(learners.algorithm_class(name), KINDS[kind]).without_effect(KINDS[kind], usual())
    base = {entry.name: SMALL[entry.name] for entry in fields(usual) if entry.name in SMALL and entry.name not in idle}
    before = trace(name, kind, base)
    for entry in known:
        if (
            kind == "choices"
            and (name, entry.name)
            in {
                ("bc", "loss"),
                ("bc", "action_chunk"),
                ("iql", "action_chunk"),
                ("gcbc", "loss"),
            }
        ) or (name, entry.name) == ("gcbc", "action_chunk"):
            continue  # refused by a message of its own
        needs = NEEDS.get((name, entry.name), {})
        value = changed(name, entry.name, base.get(entry.name, entry.default))
        knobs = {**base, **needs, entry.name: value}
        if entry.name in idle and not needs:
            with pytest.raises(LearnerError, match=f"{entry.name}: found .*, which has no effect: .*Leave it out"):
                refuse_idle(served_class(learners.algorithm_class(name), KINDS[kind]), KINDS[kind], usual(**knobs))
            continue
        reference = trace(name, kind, {**base, **needs}) if needs else before
        assert not same(trace(name, kind, knobs), reference), f"{entry.name}={value} changes nothing"


@pytest.mark.parametrize("name", sorted(set(learners.names()) - BLIND)[:3])
def test_knobs_of_images_do_something_where_there_are_images(name):
    small = {"hidden": (8,), "encoder_width": 4, "random_crop": 1}
    before = trace(name, "pixels", small)
    for knob, value in {"encoder_width": 5, "random_crop": 0, "encoder": "shared"}.items():
        assert not same(trace(name, "pixels", {**small, knob: value}), before), knob


def test_half_precision_is_refused_for_training_on_a_cpu():
    with pytest.raises(LearnerError, match="mixed_precision: found True, which has no effect on cpu"):
        learners.create("iql", KINDS["numbers"], rows=8, mixed_precision=True)
    assert learners.create("iql", KINDS["numbers"], mixed_precision=True)  # to act with what a GPU has trained


def test_configurations_of_earlier_versions_are_read_without_knobs_that_did_nothing():
    for name in learners.names():
        known = {entry.name for entry in fields(learners.config_class(name))}
        recorded = {entry.name: entry.default for entry in fields(CommonConfig)}
        found = learners.recorded_knobs(name, KINDS["numbers"], recorded)
        assert found.keys() <= known
        learners.create(name, KINDS["numbers"], statistics=STATISTICS, **found)
    recorded = {"hidden": [8], "encoder_width": 64, "discount": 0.9, "normalise_reward": "x", "nosuch": 1}
    found = learners.recorded_knobs("bc", KINDS["numbers"], {name: recorded[name] for name in list(recorded)[:3]})
    assert found == {"hidden": [8]}
    # What no version wrote stays, to be refused.
    assert learners.recorded_knobs("bc", KINDS["numbers"], recorded).keys() == {
        "hidden",
        "encoder_width",
        "normalise_reward",
        "nosuch",
    }
