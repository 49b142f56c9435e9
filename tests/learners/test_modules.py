"""Beginning from modules of another run, and keeping some of them as they are."""

from __future__ import annotations

import pytest
import torch

import learners
from learners.base.state import part
from learners.errors import LearnerError
from replay.spaces import Box, Spaces
from tests.learners.batches import random_batch

SPACES = Spaces(Box((3,)), Box((2,), low=(-1.0, -1.0), high=(1.0, 1.0)))


def made(seed: int = 0, name: str = "iql", **knobs):
    return learners.create(name, SPACES, seed=seed, **{"hidden": (8,), **knobs})


def train(algorithm, steps: int = 3):
    for sequence in range(steps):
        algorithm.update(random_batch(SPACES, algorithm.requires, 8, sequence))
    return algorithm


def same(a, b, module: str) -> bool:
    one, other = (part(each.state_dict(), module) for each in (a, b))
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_a_module_is_loaded_and_what_follows_it_is_a_copy():
    source, algorithm = train(made(0)), made(1)
    before = made(1)
    algorithm.load_modules({"critic": part(source.state_dict(), "critic")})
    assert same(algorithm, source, "critic")
    assert all(
        torch.equal(tensor, part(source.state_dict(), "critic")[name])
        for name, tensor in part(algorithm.state_dict(), "target_critic").items()
    )
    assert same(algorithm, before, "value")
    assert same(algorithm, before, "policy")
    train(algorithm)  # the optimiser's vector is what was loaded
    assert not same(algorithm, source, "critic")


def test_a_target_network_that_is_given_is_loaded_itself():
    source, algorithm = train(made(0)), made(1)
    state = source.state_dict()
    algorithm.load_modules({name: part(state, name) for name in ("critic", "target_critic")})
    assert same(algorithm, source, "target_critic")
    assert not same(algorithm, made(1), "target_critic")


def test_frozen_modules_and_what_follows_them_stay_and_the_others_move():
    start, algorithm = made(), made()
    algorithm.freeze(["critic"])
    train(algorithm)
    assert [name for name in algorithm.modules if same(algorithm, start, name)] == ["critic", "target_critic"]
    assert not any(name.startswith("optimiser.critic") for name in algorithm.state_dict())


def test_the_others_move_as_if_nothing_had_been_frozen_where_they_do_not_read_it():
    # IQL's value and critic do not read the policy.
    frozen, free = made(), made()
    frozen.freeze(["policy"])
    train(frozen), train(free)
    assert same(frozen, free, "value")
    assert same(frozen, free, "critic")
    assert same(frozen, made(), "policy")


def test_a_step_in_which_nothing_may_move_moves_nothing():
    algorithm, start = made(name="td3"), made(name="td3")
    algorithm.freeze(["critic"])
    train(algorithm, steps=1)  # the policy moves at every second step only
    assert all(same(algorithm, start, name) for name in algorithm.modules)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {"dynamics": {}}, "module 'dynamics': found no such module, expected one of value, critic"),
        (lambda state: {"policy": {}}, "module 'policy': log_std is missing"),
        (lambda state: {"policy": {**state, "extra": torch.zeros(1)}}, "module 'policy': found extra"),
        (
            lambda state: {"policy": {**state, "log_std": torch.zeros(5)}},
            r"log_std: found shape \(5,\), expected \(2,\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name_and_nothing_is_loaded(change, message):
    source, algorithm = train(made(0)), made(1)
    given = {"value": part(source.state_dict(), "value"), **change(part(source.state_dict(), "policy"))}
    with pytest.raises(LearnerError, match=message):
        algorithm.load_modules(given)
    assert same(algorithm, made(1), "value")


def test_freezing_is_refused_for_what_is_not_trained_and_for_everything():
    with pytest.raises(LearnerError, match="freeze: found 'target_critic', expected one of the trained modules, value"):
        made().freeze(["target_critic"])
    with pytest.raises(LearnerError, match="leaves nothing to train"):
        made().freeze(["value", "critic", "policy"])
