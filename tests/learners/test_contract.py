"""What every algorithm promises, whatever it learns."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import learners
from learners.errors import LearnerError
from replay.spaces import Box, Dict, Discrete, Image, Spaces
from tests.learners.batches import random_batch, sample

NUMBERS = Spaces(Box((3,)), Box((2,), low=(-2.0, 0.0), high=(2.0, 1.0)))
PIXELS = Spaces(Dict.of({"camera": Image((9, 8, 3)), "arm": Box((2,))}), NUMBERS.action)
CHOICES = Spaces(Box((3,)), Discrete(4, start=1))
KINDS = {"numbers": NUMBERS, "pixels": PIXELS, "choices": CHOICES}
WITHOUT_Q = {"bc", "awr"}
PER_STEP = {"value", "advantage"}
"""Metrics of AWR that are means over steps, of which halves of a batch have different numbers."""
BLIND = {"lstd", "lspi"}
"""Those whose features are of numbers only."""


def kinds(name: str) -> list[str]:
    """What an algorithm serves: numbers, pictures beside numbers, discrete actions."""
    algorithm = learners.algorithm_class(name)
    discrete = Discrete in algorithm.action_spaces or algorithm.discrete is not None
    return ["numbers"] + ["pixels"] * (name not in BLIND) + ["choices"] * discrete


CASES = [(name, kind, {}) for name in learners.names() for kind in kinds(name)] + [
    ("bc", "numbers", {"loss": "mse"}),
    ("awac", "numbers", {"sampled_actions": 3, "policy_std": 1.0}),
    ("cql", "numbers", {"lagrange_threshold": 5.0, "max_target_backup": True, "backup_entropy": True}),
    ("calql", "numbers", {"lagrange_threshold": 4.0, "max_target_backup": False}),
    ("msg", "numbers", {"conservative_weight": 0.0, "members": 4, "value_dropout": 0.1}),
    ("edac", "numbers", {"diversity": 0.0}),
    ("rlpd", "numbers", {"members": 4, "policy_every": 2, "backup_entropy": False}),
    ("edac", "numbers", {"layer_norm": True, "n_step": 3}),
    ("iql", "numbers", {"layer_norm": True, "policy_std": 1.0, "normalise_reward": True}),
    ("iql", "numbers", {"dropout": 0.2, "value_dropout": 0.1, "gradient_clip": 0.5, "cosine_steps": 10}),
    ("bc", "pixels", {"encoder": "shared"}),
    ("cql", "pixels", {"encoder": "shared"}),
    ("iql", "pixels", {"encoder": "shared"}),
    ("qtopt", "pixels", {"encoder": "shared", "value_dropout": 0.1}),
    ("bcq", "pixels", {"encoder": "separate", "dropout": 0.1, "generative_hidden": (16,)}),
    ("bear", "numbers", {"kernel": "gaussian", "warm_up_steps": 2, "generative_hidden": (16,)}),
    ("brac", "numbers", {"penalty": "policy", "warm_up_steps": 2}),
    ("fql", "numbers", {"normalise_q": True, "aggregation": "min", "dropout": 0.1}),
    ("lstd", "numbers", {"solve_every": 2, "features": 16}),
    ("lspi", "numbers", {"solve_every": 2, "features": 16}),
]
STATISTICS = {
    "observation": {"mean": [0.5, 0.0, -1.0], "std": [1.0, 2.0, 0.5], "min": [-4] * 3, "max": [4] * 3},
    "observation.arm": {"mean": [0.5, 0.0], "std": [1.0, 2.0], "min": [-4] * 2, "max": [4] * 2},
    "action": {"mean": [0.0, 0.5], "std": [1.0, 0.3], "min": [-2, 0], "max": [2, 1]},
    "reward": {"mean": [0.5], "std": [0.3], "min": [0.0], "max": [1.0]},
    "return": {"mean": [3.0], "std": [2.0], "min": [0.0], "max": [10.0]},
}


def small(name: str, kind: str) -> dict[str, object]:
    """Knobs of small networks: those that have an effect."""
    if name in BLIND:
        return {}
    return {"hidden": (16, 16)} | ({"encoder_width": 8, "random_crop": 1} if kind == "pixels" else {})


@pytest.fixture(params=CASES, ids=lambda case: "-".join([case[0], case[1], *case[2]]))
def case(request):
    """The algorithm's name, what it sees and does, and knobs."""
    return request.param


@pytest.fixture
def make(case):
    """`make(seed)`: an algorithm with small networks."""
    name, kind, knobs = case
    return lambda seed=0: learners.create(
        name, KINDS[kind], seed=seed, statistics=STATISTICS, **small(name, kind), **knobs
    )


@pytest.fixture
def make_batch(make, case):
    """`make_batch(count, sequence)`: what the algorithm asks for."""
    requires = make().requires
    return lambda count=8, sequence=0: random_batch(KINDS[case[1]], requires, count, sequence)


def assert_same_state(a, b):
    state, other = a.state_dict(), b.state_dict()
    assert state.keys() == other.keys()
    for name, value in state.items():
        assert torch.equal(value, other[name]), name


# --- Targets and updates ---


def test_update_means_update_with_its_own_targets(make, make_batch):
    a, b = make(), make()
    for sequence in range(3):
        batch = make_batch(8, sequence)
        metrics = a.update(batch)
        labels = {name: label.numpy() for name, label in b.targets(batch).items()}  # as they arrive from an updater
        for name, value in b.update(batch, labels).items():
            assert torch.equal(value, metrics[name]), name
    assert_same_state(a, b)


def test_targets_need_only_the_published_weights(make, make_batch):
    learner, updater, batch = make(seed=0), make(seed=1), make_batch()
    learner.update(make_batch(8, 1))
    expected = learner.targets(batch)
    assert bool(expected) == learner.has_targets
    for name, label in updater.targets(batch).items():
        assert not torch.equal(label, expected[name])
    updater.load_target_weights(learner.target_weights())
    for name, label in updater.targets(batch).items():
        assert label.shape[0] == len(batch)
        assert torch.equal(label, expected[name])


def test_noise_of_targets_is_addressed_by_the_batch(make, make_batch):
    algorithm, batch = make(), make_batch()
    for name, label in algorithm.targets(batch).items():
        assert torch.equal(label, algorithm.targets(batch)[name])
        assert torch.equal(label, algorithm.targets(batch.map(np.copy))[name])


def test_metrics_are_finite_scalars_and_a_priority_for_each_row(make, make_batch):
    metrics = make().update(make_batch(8))
    priority = metrics.pop("priority")
    assert priority.shape == (8,)
    assert (priority > 0).all()
    for name, value in metrics.items():
        assert value.shape == (), name
        assert torch.isfinite(value), name


def test_diagnostics_move_nothing(case, make, make_batch):
    a, b = make(), make()
    metrics = a.diagnostics(make_batch())
    assert_same_state(a, b)
    assert "priority" not in metrics
    assert all(torch.isfinite(value) and value.shape == () for value in metrics.values())
    assert {"q_data", "q_policy"} <= metrics.keys() or case[0] in WITHOUT_Q


def test_a_row_of_weight_zero_does_not_count(make, make_batch):
    a, b, batch = make(), make(), make_batch()
    weight = np.array([1, 1, 0, 1, 1, 1, 1, 1], np.float32)
    action, reward, other = batch.action.copy(), batch.reward.copy(), make_batch(8, 1)
    action[2], reward[2] = other.action[2], other.reward[2] + 1.0
    a.update(replace(batch, weight=weight))
    b.update(replace(batch, weight=weight, action=action, reward=reward))
    assert_same_state(a, b)
    b.update(batch)
    a.update(replace(batch, action=action, reward=reward))
    with pytest.raises(AssertionError):
        assert_same_state(a, b)


def test_n_step_and_reward_knobs_reach_the_request(spaces):
    for name in set(learners.names()) - {"bc"}:  # which reads no rewards
        steps = 1 if name == "awr" else 5  # whole episodes are not summed over n steps
        knobs = {"n_step": steps, "discount": 0.9, "reward_scale": 10.0, "reward_shift": -5.0}
        request = learners.create(name, spaces, **knobs).requires
        assert {knob: getattr(request, knob) for knob in knobs} == knobs


# --- Seeds and state ---


def test_the_seed_alone_decides_the_parameters(make):
    torch.manual_seed(1)
    a = make(seed=3)
    torch.manual_seed(2)
    assert_same_state(a, make(seed=3))
    assert not np.array_equal(a.policy_weights(), make(seed=4).policy_weights())


def test_the_random_state_of_the_process_is_left_alone(case, make, make_batch):
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    algorithm, batch = make(), make_batch()
    algorithm.update(batch)
    algorithm.diagnostics(batch)
    algorithm.act(observations(case, 8), key=(0, 0), deterministic=False)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]


def test_a_checkpoint_resumes_bit_for_bit(make, make_batch, tmp_path):
    a, b = make(seed=0), make(seed=1)
    for sequence in range(3):
        a.update(make_batch(8, sequence))
    save_file(a.state_dict(), tmp_path / "state.safetensors")
    b.load_state_dict(load_file(tmp_path / "state.safetensors"))
    assert_same_state(a, b)
    for sequence in range(3, 6):
        a.update(make_batch(8, sequence))
        b.update(make_batch(8, sequence))
    assert_same_state(a, b)
    assert int(a.state_dict()["step"]) == 6
    assert_as_told(a, make())


def test_the_momentum_of_sgd_is_told_too(spaces):
    a, b = (learners.create("qtopt", spaces, hidden=(8,), optimiser="sgd", loss="squared") for _ in range(2))
    a.update(random_batch(spaces, a.requires, 8, 0))
    assert "optimiser.critic.momentum_buffer" in a.state_dict()
    assert_as_told(a, b)


def assert_as_told(trained, fresh):
    """`state_layout`, asked of an algorithm that has done nothing, says what a checkpoint of it may hold."""
    state, layout = trained.state_dict(), fresh.state_layout()
    assert {name: (value.dtype, tuple(value.shape)) for name, value in state.items()} == {
        name: layout[name] for name in state
    }
    assert fresh.state_dict().keys() <= state.keys()


def test_a_checkpoint_of_other_knobs_is_refused(spaces):
    small, large = (learners.create("iql", spaces, hidden=(width, width)) for width in (8, 16))
    with pytest.raises(LearnerError, match="other knobs"):
        large.load_state_dict(small.state_dict())


def test_weights_of_another_size_are_refused(make):
    with pytest.raises(LearnerError, match=r"3 numbers, expected \d+"):
        make().load_policy_weights(np.zeros(3, np.float32))


# --- Acting ---


def observations(case, count):
    generator = np.random.default_rng(0)
    return sample(KINDS[case[1]].observation, (count,), generator)


def row(observation, index):
    return (
        {name: part[index] for name, part in observation.items()}
        if isinstance(observation, dict)
        else observation[index]
    )


def test_act_takes_one_observation_or_many(make, case):
    algorithm, space = make(), KINDS[case[1]].action
    observation = observations(case, 5)
    actions, state = algorithm.act(observation)
    assert actions.shape == (5, *space.shape)
    assert actions.dtype == space.dtype
    assert state is None
    for index in range(5):
        one, _ = algorithm.act(row(observation, index))
        assert one.shape == space.shape
        np.testing.assert_allclose(one, actions[index], atol=1e-5)


def test_actions_are_in_the_environments_units(make, case):
    algorithm = make()
    observation = observations(case, 5)
    inputs = algorithm.normaliser.observation(torch.utils._pytree.tree_map(torch.from_numpy, observation))
    with torch.no_grad():
        found = algorithm.policy_action(algorithm._encoding.embedded(inputs), None).numpy()
    # The policy answers in [-1, 1]: the first element spans [-2, 2], the second [0, 1]. Or one-hot, from 1 on.
    expected = found.argmax(1) + 1 if case[1] == "choices" else np.stack([2 * found[:, 0], (found[:, 1] + 1) / 2], 1)
    np.testing.assert_allclose(algorithm.act(observation)[0], expected, atol=1e-6)


def test_sampled_actions_are_within_bounds_and_addressed_by_their_key(make, case):
    algorithm, space = make(), KINDS[case[1]].action
    observation = observations(case, 200)
    actions, _ = algorithm.act(observation, key=(0, 1), deterministic=False)
    low, high = (space.start, space.start + space.n - 1) if isinstance(space, Discrete) else (space.low, space.high)
    assert (actions >= low).all()
    assert (actions <= high).all()
    assert np.array_equal(actions, algorithm.act(observation, key=(0, 1), deterministic=False)[0])
    with pytest.raises(LearnerError, match="needs key"):
        algorithm.act(observation, deterministic=False)


def test_sampled_actions_vary_with_the_key(make, case):
    algorithm, observation = make(), observations(case, 30)
    first, second = (algorithm.act(observation, key=(0, i), deterministic=False)[0] for i in range(2))
    # But for a policy of the mean only, which has no spread.
    assert np.array_equal(first, second) == (case[2].get("loss") == "mse")


def as_parts(observation):
    return observation if isinstance(observation, dict) else {"observation": observation}


def test_policy_weights_are_all_that_acting_needs(make, make_batch):
    learner, actor = make(seed=0), make(seed=1)
    learner.update(make_batch())
    batch = make_batch(32, 1)
    observation = batch.observation
    if batch.mask is not None:  # of episodes, the first steps
        parts = {name: part[:, 0] for name, part in as_parts(observation).items()}
        observation = parts if isinstance(observation, dict) else parts["observation"]
    expected, _ = learner.act(observation)
    assert not np.array_equal(actor.act(observation)[0], expected)
    actor.load_policy_weights(learner.policy_weights())
    assert np.array_equal(actor.act(observation)[0], expected)


# --- Several learners ---


def test_two_learners_with_half_a_batch_each_are_one_with_all_of_it(case, make, make_batch):
    """Metrics, too: they travel with the gradient, and all of it in one vector."""
    whole, halves, expected = make(), [make(), make()], []
    whole.distribute(0, 1, lambda gradient: expected.append(gradient.clone()))
    for sequence in range(3):
        batch = make_batch(16, sequence)
        parts = [batch.rows(0, 8), batch.rows(8, 16)]
        # A rehearsal on copies tells each half the other's gradient.
        gradients: list[torch.Tensor] = []
        for rank, half in enumerate(halves):
            copy = make()
            copy.load_state_dict(half.state_dict())
            copy.distribute(rank, 2, lambda gradient, kept=gradients: kept.append(gradient.clone()))
            copy.update(parts[rank])
        average = (gradients[0] + gradients[1]) / 2
        for rank, half in enumerate(halves):
            half.distribute(rank, 2, lambda gradient, average=average: gradient.copy_(average))
            told = half.update(parts[rank])
        wanted = whole.update(batch)
        assert len(gradients) == 2
        assert len(expected) == sequence + 1
        gradient = slice(0, whole.optimiser.vector.numel())
        torch.testing.assert_close(average[gradient], expected[-1][gradient], atol=1e-5, rtol=1e-4)
        assert told.keys() == wanted.keys()
        assert told.pop("priority").shape == (8,)
        for name in set(told) - (PER_STEP if case[0] == "awr" else set()):
            torch.testing.assert_close(told[name], wanted[name], atol=1e-4, rtol=1e-3, msg=name)
    assert_same_state(*halves)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(halves[0].state_dict()[name], value, atol=1e-5, rtol=1e-4, msg=name)


# --- Refusals ---


def test_unknown_names_and_knobs_are_refused_with_the_nearest_one(spaces):
    with pytest.raises(LearnerError, match="Did you mean 'iql'"):
        learners.create("iqll", spaces)
    for name in set(learners.names()) - BLIND:
        with pytest.raises(LearnerError, match=rf"{name}: unknown knob 'learning_rat'.*Did you mean 'learning_rate'"):
            learners.create(name, spaces, learning_rat=1e-3)


@pytest.mark.parametrize("name", learners.names())
def test_spaces_that_an_algorithm_does_not_serve_are_refused(name):
    if "choices" not in kinds(name):
        with pytest.raises(LearnerError, match=r"Discrete\(n=4.*for continuous \(a Box\) actions"):
            learners.create(name, CHOICES)
    if name in BLIND:
        with pytest.raises(LearnerError, match="image"):
            learners.create(name, PIXELS)
    with pytest.raises(LearnerError, match="no finite bounds"):
        learners.create(name, Spaces(Box((3,)), Box((2,))))


# --- Compiling ---


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
def test_a_compiled_step_is_the_eager_one():
    # EDAC: the hardest to compile, with the gradient of a gradient inside, and masks that change behind its back.
    knobs = {"hidden": (16, 16), "dropout": 0.2, "value_dropout": 0.1}
    eager, compiled = (learners.create("edac", NUMBERS, compile=flag, **knobs) for flag in (False, True))
    for sequence in range(2):
        batch = random_batch(NUMBERS, eager.requires, 8, sequence)
        metrics, others = eager.update(batch), compiled.update(batch)
        for name, value in metrics.items():
            torch.testing.assert_close(value, others[name], atol=1e-4, rtol=1e-4, msg=name)
