"""The proof on a problem small enough to solve exactly (see `tests.learners.tabular`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.learners.tabular import (
    BEST,
    DISCOUNT,
    STATES,
    Floats,
    achieved,
    believed_and_achieved,
    expectile,
    full_log,
    narrow_log,
    solution,
    train,
)


def test_the_exact_solution_is_that_of_going_right() -> None:
    log = narrow_log(seed=0)
    always_right = np.tile([0.4, 0.0], (STATES, 1))

    assert solution(log, np.max)[:16] == pytest.approx(np.repeat([DISCOUNT * BEST, BEST], 8))
    assert achieved(always_right) == pytest.approx(DISCOUNT ** np.arange(STATES - 1, -1, -1))
    assert achieved(2 * always_right) == pytest.approx(np.zeros(STATES))


UNCONSTRAINED = {"learning_rate": 1e-3, "polyak": 0.01, "lag_steps": 100, "samples": 32, "elites": 4}
CONSTRAINED = {
    # Advantages are about a tenth here, so the temperature is high.
    "iql": {"learning_rate": 1e-3, "polyak": 0.01, "expectile": 0.9, "temperature": 100.0},
    "cql": {
        "learning_rate": 1e-3,
        "policy_learning_rate": 1e-3,
        "polyak": 0.01,
        "conservative_weight": 1.0,
        "sampled_actions": 4,
    },
    "edac": {"learning_rate": 3e-3, "polyak": 0.01, "members": 10, "diversity": 1.0},
    "msg": {"learning_rate": 1e-3, "polyak": 0.01, "members": 10},
    "fql": {"learning_rate": 1e-3, "polyak": 0.01, "distillation_weight": 0.4},
    "bcq": {"polyak": 0.01, "generative_hidden": (64, 64), "kl_weight": 0.1},
    # A policy that keeps to one of the two regions is about .1 away from a model of both.
    "bear": {
        "polyak": 0.01,
        "generative_hidden": (64, 64),
        "kl_weight": 0.1,
        "divergence_threshold": 0.1,
        "multiplier_learning_rate": 0.01,
        "minimum_weight": 1.0,
        "warm_up_steps": 200,
    },
    "brac": {"polyak": 0.01, "policy_learning_rate": 1e-3, "penalty_weight": 0.05, "warm_up_steps": 200},
    "td3bc": {"learning_rate": 1e-3, "polyak": 0.01, "alpha": 1.5},
    "rebrac": {"polyak": 0.01, "policy_penalty": 0.3},
    "awac": {"learning_rate": 1e-3, "polyak": 0.01, "temperature": 0.02},
}


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["cross_entropy", "squared"])
def test_unconstrained_maximisation_overestimates(loss: str) -> None:
    log = narrow_log(seed=0)
    believed, true = believed_and_achieved(train("qtopt", log, 2000, loss=loss, **UNCONSTRAINED), log)

    assert believed > BEST + 0.05
    assert believed > true + 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("name", "learning_rate"), [("sac", 3e-3), ("td3", 1e-3)])
def test_methods_for_fresh_data_believe_what_they_do_not_achieve(name: str, learning_rate: float) -> None:
    log = narrow_log(seed=0)
    believed, true = believed_and_achieved(train(name, log, 1000, learning_rate=learning_rate, polyak=0.01), log)

    assert true < BEST / 2
    assert believed > true + 0.3


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CONSTRAINED))
def test_offline_methods_do_not_overestimate(name: str) -> None:
    log = narrow_log(seed=0)
    believed, true = believed_and_achieved(train(name, log, 2000, **CONSTRAINED[name]), log)

    assert true == pytest.approx(BEST)
    assert believed < BEST + 0.02


# Where the log covers every action there is nothing to be careful about: the value methods find the exact Q.
COVERED: dict[str, tuple[str, dict[str, Any], Callable[[Floats], float]]] = {
    "qtopt": ("qtopt", UNCONSTRAINED, np.max),
    # Expectile .5 is the mean: the value of the behaviour. Others have an exact solution as well.
    "iql, behaviour": ("iql", {**CONSTRAINED["iql"], "expectile": 0.5}, np.mean),
    "iql, expectile .9": ("iql", CONSTRAINED["iql"], lambda values: expectile(values, 0.9)),
    # Without what makes them conservative, but for the smaller of two critics, and with hardly any entropy.
    "cql": (
        "cql",
        {
            **CONSTRAINED["cql"],
            "policy_learning_rate": 3e-3,
            "conservative_weight": 0.0,
            "sampled_actions": 1,
            "target_entropy": -6.0,
        },
        np.max,
    ),
    "sac": ("sac", {"learning_rate": 3e-3, "polyak": 0.01, "target_entropy": -6.0}, np.max),
    "redq": ("redq", {"learning_rate": 3e-3, "polyak": 0.01, "members": 4, "target_entropy": -6.0}, np.max),
    # The temperature moves in every other step only, so rates are higher.
    "rlpd": (
        "rlpd",
        {
            "learning_rate": 5e-3,
            "polyak": 0.01,
            "members": 3,
            "policy_every": 2,
            "target_entropy": -6.0,
            "backup_entropy": False,
        },
        np.max,
    ),
    # Looking at the target policy's own actions.
    "td3": ("td3", {"learning_rate": 1e-3, "polyak": 0.01, "target_noise": 0.0}, np.max),
    # The same, hardly drawn to the log.
    "td3bc": ("td3bc", {**CONSTRAINED["td3bc"], "alpha": 1000.0, "target_noise": 0.0}, np.max),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", list(COVERED))
def test_values_are_exact_where_the_log_covers_every_action(case: str) -> None:
    name, knobs, summary = COVERED[case]
    log = full_log()
    algorithm = train(name, log, 2500, **knobs)
    learned = [float(algorithm.diagnostics(log.rows(row, row + 1))["q_data"]) for row in range(0, len(log), 2)]

    assert np.abs(learned - solution(log, summary, outcomes=2)).max() < 0.05
