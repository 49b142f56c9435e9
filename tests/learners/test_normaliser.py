"""Units: from those of the data to those of the networks and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import learners
from learners.errors import LearnerError
from learners.networks.normaliser import Normaliser
from replay.spaces import Box, Dict, Discrete, Image, Spaces

UNIT = Box((1,), low=(-1.0,), high=(1.0,))


def column(mean, std, low=(0,), high=(1,)):
    return {"mean": mean, "std": std, "min": low, "max": high}


def test_observations_get_zero_mean_and_unit_spread():
    statistics = {"observation": column([1.0, 10.0], [2.0, 5.0])}
    normaliser = Normaliser(Spaces(Box((2,)), UNIT), statistics, normalise_observation=True)
    observed = normaliser.observation(torch.tensor([[3.0, 10.0], [1.0, 0.0]]))
    torch.testing.assert_close(observed, torch.tensor([[1.0, 0.0], [0.0, -2.0]]))


def test_a_constant_element_is_centred_and_not_divided():
    statistics = {"observation": column([7.0], [0.0])}
    normaliser = Normaliser(Spaces(Box((1,)), UNIT), statistics, normalise_observation=True)
    assert normaliser.observation(torch.tensor([[7.0], [7.5]])).tolist() == [[0.0], [0.5]]


@pytest.mark.parametrize("statistics", [None, {"observation": column([7.0], [2.0])}])
def test_observations_can_stay_as_they_are(statistics):
    normaliser = Normaliser(Spaces(Box((1,)), UNIT), statistics, normalise_observation=False)
    assert normaliser.observation(torch.tensor([[7.5]])).tolist() == [[7.5]]


def test_dictionaries_are_joined_in_the_order_of_their_names():
    space = Dict.of({"velocity": Box((2,)), "arm": Box((1, 2), dtype="float64"), "mode": Discrete(3)})
    statistics = {
        "observation.arm": column([1.0, 2.0], [1.0, 1.0]),
        "observation.mode": column([1.0], [1.0]),
        "observation.velocity": column([0.0, 0.0], [10.0, 10.0]),
    }
    normaliser = Normaliser(Spaces(space, UNIT), statistics, normalise_observation=True)
    assert normaliser.vector_size == 7
    observed = normaliser.observation(
        {
            "velocity": torch.tensor([[10.0, 20.0]]),
            "mode": torch.tensor([2]),
            "arm": torch.tensor([[[1.0, 5.0]]], dtype=torch.float64),
        }
    )
    assert observed.dtype == torch.float32
    assert observed.tolist() == [[0.0, 3.0, 0.0, 0.0, 1.0, 1.0, 2.0]]  # arm, mode, velocity


def test_actions_are_mapped_to_the_unit_box_and_back():
    action_space = Box((2,), low=(-2.0, 0.0), high=(2.0, 1.0))
    normaliser = Normaliser(Spaces(Box((1,)), action_space), None, normalise_observation=True)
    actions = torch.tensor([[-2.0, 1.0], [1.0, 0.5]])
    unit = normaliser.action(actions)
    torch.testing.assert_close(unit, torch.tensor([[-1.0, 1.0], [0.5, 0.0]]))
    torch.testing.assert_close(normaliser.environment_action(unit), actions)


def test_open_bounds_are_taken_from_the_data_and_closed_ones_kept():
    action_space = Box((2,), low=(-np.inf, -1.0), high=(np.inf, 1.0))
    statistics = {"action": column([0, 0], [1, 1], low=[-4.0, -0.5], high=[8.0, 0.5])}
    normaliser = Normaliser(Spaces(Box((1,)), action_space), statistics, normalise_observation=False)
    assert normaliser.action(torch.tensor([[8.0, 1.0], [2.0, -1.0]])).tolist() == [[1.0, 1.0], [0.0, -1.0]]


def test_an_action_that_never_varies_is_no_division_by_zero():
    action_space = Box((1,), low=(3.0,), high=(3.0,))
    normaliser = Normaliser(Spaces(Box((1,)), action_space), None, normalise_observation=False)
    assert torch.isfinite(normaliser.action(torch.tensor([[3.0]]))).all()
    assert normaliser.environment_action(torch.tensor([[0.0]])).item() == pytest.approx(3.0, abs=1e-5)


def test_images_stay_as_they_are_beside_the_numbers():
    space = Dict.of({"camera": Image((2, 2, 3)), "arm": Box((2,))})
    statistics = {"observation.arm": column([1.0, 1.0], [2.0, 2.0])}
    normaliser = Normaliser(Spaces(space, UNIT), statistics, normalise_observation=True)
    image = torch.arange(12, dtype=torch.uint8).view(1, 2, 2, 3)
    features = normaliser.observation({"camera": image, "arm": torch.tensor([[3.0, 1.0]])})
    assert features.keys() == {"observation.camera", "vector"}
    assert torch.equal(features["observation.camera"], image)
    assert features["vector"].tolist() == [[1.0, 0.0]]
    alone = Normaliser(Spaces(Image((2, 2, 3)), UNIT), None, normalise_observation=True)
    assert alone.observation(image).keys() == {"observation"}


def test_steps_of_episodes_keep_their_leading_dimensions():
    space = Dict.of({"arm": Box((1, 2)), "mode": Discrete(3)})
    normaliser = Normaliser(Spaces(space, Box((1, 2), low=(-2.0,), high=(2.0,))), None, normalise_observation=False)
    observed = normaliser.observation({"arm": torch.ones(4, 5, 1, 2), "mode": torch.full((4, 5), 2)})
    assert observed.shape == (4, 5, 5)
    assert observed[1, 2].tolist() == [1.0, 1.0, 0.0, 0.0, 1.0]
    assert normaliser.action(torch.ones(4, 5, 1, 2)).tolist() == [[[0.5, 0.5]] * 5] * 4


def test_discrete_actions_are_one_hot_from_their_start():
    normaliser = Normaliser(Spaces(Box((1,)), Discrete(3, start=-1)), None, normalise_observation=True)
    one_hot = normaliser.action(torch.tensor([-1, 1, 0]))
    assert one_hot.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    assert normaliser.environment_action(one_hot).tolist() == [-1, 1, 0]


def test_discrete_observations_are_one_hot_whatever_the_statistics():
    space = Discrete(4, start=2)
    statistics = {"observation": {"mean": 3.0, "std": 0.5, "min": 2.0, "max": 5.0}}
    normaliser = Normaliser(Spaces(space, UNIT), statistics, normalise_observation=True)
    assert normaliser.observation(torch.tensor([2, 5])).tolist() == [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    outside = {"observation": {"mean": 3.0, "std": 0.5, "min": 2.0, "max": 6.0}}
    with pytest.raises(LearnerError, match=r"'observation': values from 2 to 6, and the space says 2 to 5"):
        Normaliser(Spaces(space, UNIT), outside, normalise_observation=False)


@pytest.mark.parametrize(
    ("observation", "action", "message"),
    [
        (Discrete(10**9), UNIT, r"observation with 1,000,000,000 values, expected at most 65,536"),
        (
            Dict.of({"a": Discrete(40_000), "b": Discrete(40_000)}),
            UNIT,
            r"observation\.a with 40,000 values, observation\.b",
        ),
        (Box((2,)), Discrete(2**40), r"action space: .* discrete actions, expected at most 65,536"),
        (Box((3, 64, 64), "uint8"), UNIT, r"\(3, 64, 64\), .*channels first.*expected pictures \(64, 64, 3\)"),
        (Dict.of({"eye": Box((1, 84, 84), "uint8")}), UNIT, r"observation\.eye: .*channels first"),
    ],
)
def test_spaces_that_no_network_should_read_are_refused(observation, action, message):
    with pytest.raises(LearnerError, match=message):
        Normaliser(Spaces(observation, action), None, normalise_observation=False)


def test_rewards_are_scaled_to_a_range_of_a_thousand():
    spaces, statistics = Spaces(Box((1,)), UNIT), {"observation": column([0.0], [1.0])}
    returns = {"return": {"mean": 0.0, "std": 1.0, "min": -10.0, "max": 40.0}}

    def scale(**knobs):
        return learners.create("iql", spaces, statistics=statistics | returns, **knobs).requires.reward_scale

    assert scale() == 1.0
    assert scale(normalise_reward=True) == pytest.approx(1000 / 50)
    assert scale(normalise_reward=True, reward_scale=0.5) == pytest.approx(10.0)
    # It is stored: a policy trained with one scale goes on with it, whatever data comes next.
    first = learners.create("iql", spaces, statistics=statistics | returns, normalise_reward=True)
    wider = statistics | {"return": {"min": 0.0, "max": 1.0}}
    second = learners.create("iql", spaces, statistics=wider, normalise_reward=True)
    assert second.requires.reward_scale == pytest.approx(1000.0)
    second.load_state_dict(first.state_dict())
    assert second.requires.reward_scale == pytest.approx(20.0)


def test_returns_without_a_range_are_refused():
    spaces = Spaces(Box((1,)), UNIT)
    with pytest.raises(LearnerError, match="no episode returns"):
        Normaliser(spaces, None, normalise_observation=False, normalise_reward=True)
    same = {"return": {"min": 1.0, "max": 1.0}}
    with pytest.raises(LearnerError, match="every episode of the data returns 1"):
        Normaliser(spaces, same, normalise_observation=False, normalise_reward=True)


def test_statistics_that_do_not_fit_are_refused():
    spaces = Spaces(Box((2,)), UNIT)
    with pytest.raises(LearnerError, match=r"no mean of column 'observation'; found \['action'\]"):
        Normaliser(spaces, {"action": column([0], [1])}, normalise_observation=True)
    with pytest.raises(LearnerError, match=r"'observation': 3 values of mean, expected 2"):
        Normaliser(spaces, {"observation": column([0, 0, 0], [1, 1])}, normalise_observation=True)
