"""How methods go online: what the defaults say, and that an offline state goes on under them."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest
import torch

import learners
from learners.base.creation import served_class
from learners.base.online import Online
from learners.errors import LearnerError
from replay.spaces import Box, Discrete, Spaces
from tests.learners.batches import random_batch

NUMBERS = Spaces(Box((3,)), Box((2,), low=(-1.0,), high=(1.0,)))
CHOICES = Spaces(Box((3,)), Discrete(4))
SMALL = {"hidden": (8,), "generative_hidden": (8,), "features": 16, "lag_steps": 8}
CLOSED_FORM = {"lstd", "lspi"}
"""Those without learning rates."""


def cases():
    """Every method, with continuous actions and, where it has them, discrete ones."""
    for name in learners.names():
        yield name, NUMBERS
        algorithm = learners.algorithm_class(name)
        if Discrete in algorithm.action_spaces or algorithm.discrete is not None:
            yield name, CHOICES


def make(name, spaces, **knobs):
    config = learners.config_class(name)
    idle = served_class(learners.algorithm_class(name), spaces).without_effect(spaces, config())
    known = {entry.name for entry in fields(config)} - idle.keys()
    small = {knob: value for knob, value in SMALL.items() if knob in known}
    return learners.create(name, spaces, **small, **knobs)


# --- Defaults ---


def test_a_method_that_says_nothing_draws_from_the_union_and_decays_no_rate():
    online = learners.algorithm_class("iql").online
    assert online == learners.algorithm_class("awac").online == Online()
    assert online.share is None
    assert online.updates_per_step == 1.0
    assert online.stochastic
    assert online.knobs == {"cosine_steps": 0}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("calql", {"share": 0.5, "updates_per_step": 1.0}),
        ("rlpd", {"share": 0.5, "updates_per_step": 20.0, "stochastic": True}),
        ("redq", {"share": None, "updates_per_step": 20.0, "knobs": {"cosine_steps": 0, "policy_every": 20}}),
        ("sac", {"share": None, "stochastic": True, "noise": 0.0}),
        ("td3", {"share": None, "stochastic": False, "noise": 0.1}),
        ("qtopt", {"share": 0.01, "final_share": 0.5, "stochastic": False, "random_probability": 0.1}),
    ],
)
def test_methods_go_online_as_their_authors_do(name, expected):
    online = learners.algorithm_class(name).online
    assert {knob: getattr(online, knob) for knob in expected} == expected


@pytest.mark.parametrize(("name", "spaces"), cases())
def test_every_method_explores(name, spaces):
    online = make(name, spaces).online
    assert online.stochastic or online.noise > 0.0 or online.random_probability > 0.0
    # Gaussian noise is for continuous actions.
    assert online.noise == 0.0 or spaces is NUMBERS


# --- From offline to online ---


@pytest.mark.parametrize(("name", "spaces"), [case for case in cases() if case[0] not in CLOSED_FORM])
def test_an_offline_state_goes_on_at_full_learning_rates(name, spaces):
    offline = make(name, spaces, seed=1, cosine_steps=3)
    for sequence in range(3):
        offline.update(random_batch(spaces, offline.requires, 8, sequence))
    state = offline.state_dict()
    knobs = offline.online.knobs
    online = make(name, spaces, seed=2, **knobs)
    online.load_state_dict(state)
    assert online.step == 3
    # Rates that fall over a billion steps are set to their full size before each of the first.
    full = make(name, spaces, seed=3, **{**knobs, "cosine_steps": 10**9})
    full.load_state_dict(state)
    for algorithm in (online, full, offline):
        algorithm.update(random_batch(spaces, algorithm.requires, 8, sequence=3))
    expected, ended = full.state_dict(), offline.state_dict()
    for entry, value in online.state_dict().items():
        assert torch.equal(value, expected[entry]), entry
    # The fourth of three steps would have moved nothing.
    assert any(not torch.equal(value, ended[entry]) for entry, value in online.state_dict().items())


def test_iqls_policy_moves_by_its_configured_rate_again():
    offline = make("iql", NUMBERS, cosine_steps=3)
    for sequence in range(3):
        offline.update(random_batch(NUMBERS, offline.requires, 8, sequence))
    online = make("iql", NUMBERS, cosine_steps=0, learning_rate=0.01)
    online.load_state_dict(offline.state_dict())
    before = online.optimiser.segment("policy").clone()
    online.update(random_batch(NUMBERS, online.requires, 8, 3))
    # Adam's fourth step: the rate times m̂/(√v̂ + ε), for m̂ = m/(1 − .9⁴) and v̂ = v/(1 − .999⁴).
    moments = online.optimiser.state_dict()
    mean = moments["policy.exp_avg"] / (1 - 0.9**4)
    square = moments["policy.exp_avg_sq"] / (1 - 0.999**4)
    moved = online.optimiser.segment("policy") - before
    torch.testing.assert_close(moved, -0.01 * mean / (square.sqrt() + 1e-8), atol=1e-6, rtol=1e-4)


# --- Refusals ---


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"share": 1.5}, r"share: found 1\.5, expected a number, 0 to 1"),
        ({"share": math.nan}, "share: found nan"),
        ({"share": 0.5, "final_share": -0.1}, r"final_share: found -0\.1"),
        ({"final_share": 0.5}, r"final_share: found 0\.5, but no share that it could begin from"),
        ({"random_probability": 2.0}, r"random_probability: found 2\.0"),
        ({"updates_per_step": 0.0}, r"updates_per_step: found 0\.0, expected a number, above 0"),
        ({"updates_per_step": math.inf}, "updates_per_step: found inf"),
        ({"noise": -0.1}, r"noise: found -0\.1, expected a number, 0 to"),
    ],
)
def test_what_no_run_can_follow_is_refused(wrong, message):
    with pytest.raises(LearnerError, match=message):
        Online(**wrong)
