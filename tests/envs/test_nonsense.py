"""Environments that do what none may: our error, with the environment, the seed, the step and its own words."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from envs import (
    EnvError,
    EnvFailedError,
    EnvSpec,
    EnvStalledError,
    Patience,
    RandomPolicy,
    Rollout,
    collect,
    evaluate,
    make,
    make_vector,
)
from tests.envs.conftest import Countdown
from tests.nonsense_envs import ENDS, ID, INFOS, OBSERVATIONS, REWARDS, SUCCESSES, TUPLES


def still(observation: Any, state: Any, first: Any) -> tuple[np.ndarray, Any]:
    return np.zeros((len(observation), 2)), None


def evaluated(spec: EnvSpec, patience: Patience | None = None) -> object:
    return evaluate(spec, still, episodes=2, seed=3, num_envs=2, patience=patience)


def collected(spec: EnvSpec, patience: Patience | None = None) -> object:
    return list(collect(spec, RandomPolicy(), episodes=1, seed=3, patience=patience))


def rolled_out(spec: EnvSpec, patience: Patience | None = None) -> object:
    with Rollout(spec, num_envs=2, seed=3, patience=patience) as rollout:
        return rollout.run(still, 5)


def in_processes(spec: EnvSpec, patience: Patience | None = None) -> object:
    with Rollout(spec, seed=3, vector=lambda: make_vector(spec, 2, "async"), patience=patience) as rollout:
        return rollout.run(still, 5)


WAYS = [evaluated, collected, rolled_out]
WRONG = {
    **{f"observation {name}": "observation (is|has)|raised ValueError: setting an array" for name in OBSERVATIONS},
    **{f"reward {name}": "reward .* expected one" for name in REWARDS},
    **{f"terminated {name}": "terminated is .*, expected one boolean" for name in ENDS},
    **{f"info {name}": "info is .*, expected a dictionary|raised LookupError: the info is gone" for name in INFOS},
    **{f"success {name}": r"info\['success'\] is .*, expected one boolean" for name in SUCCESSES},
    **{f"tuple {name}": r"step gave .*, expected \(observation, reward, term" for name in TUPLES},
    "raises OSError": r"raised OSError: \[Errno 5\] the robot is gone",
    "raises SystemExit": "raised SystemExit: 3",
    "raises KeyboardInterrupt": "raised KeyboardInterrupt: not yours",
    "raises RecursionError": "raised RecursionError: maximum recursion depth exceeded",
    "raises MemoryError": "raised MemoryError: no room for a scene",
}
NOT_FINITE = ("observation NaN", "reward NaN", "reward inf")
"""Which a rollout records as it comes; who stores the episode leaves it out."""


@pytest.fixture(autouse=True)
def handled() -> Iterator[None]:
    """Ctrl-C has a handler, as under the command line: what raises KeyboardInterrupt without it is no Ctrl-C."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", WRONG)
def test_in_a_step(what: str, way: Callable[[EnvSpec], object]) -> None:
    if way is rolled_out and what in NOT_FINITE:
        way(EnvSpec(ID, {"what": what}))
        return
    with pytest.raises(EnvFailedError, match=WRONG[what]) as raised:
        way(EnvSpec(ID, {"what": what}))
    assert str(raised.value).startswith(f"environment {ID}, seed 3")
    assert "at step 2" in str(raised.value)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", ["observation None", "info None", "tuple None", "raises OSError", "raises SystemExit"])
def test_in_a_reset(what: str, way: Callable[[EnvSpec], object]) -> None:
    with pytest.raises(EnvFailedError, match=rf"^environment {ID}, seed 3: .* in its reset"):
        way(EnvSpec(ID, {"what": what, "at": 0}))


@pytest.mark.parametrize("way", [*WAYS, in_processes])
@pytest.mark.parametrize("what", ["raises OSError", "raises SystemExit", "raises KeyboardInterrupt"])
def test_in_the_construction(what: str, way: Callable[[EnvSpec], object]) -> None:
    with pytest.raises(EnvFailedError, match=rf"^environment {ID}, kwargs .*: raised .* in its construction"):
        way(EnvSpec(ID, {"what": what, "at": -1}))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("reward text", rf"^environment {ID}, seed 3: reward '1.0' at step 2, expected one number"),
        ("raises SystemExit", rf"^environment {ID}, seed 3: raised SystemExit: 3 at step 2"),
        ("raises exit", r"2 side by side since seed 3: the process of number [01] ended \(exit status 3\) at step 2"),
        ("raises kill", r"2 side by side since seed 3: the process of number [01] ended \(signal 9\) at step 2"),
    ],
)
def test_in_a_process_of_its_own(what: str, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EnvFailedError, match=message):
        in_processes(EnvSpec(ID, {"what": what}))
    assert "Traceback" not in capfd.readouterr().err


def test_a_ctrl_c_is_nobodys_mistake() -> None:
    class Interrupted(gym.Env[Any, Any]):
        observation_space = action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

        def reset(self, **how: Any) -> Any:
            signal.raise_signal(signal.SIGINT)

    gym.register("quiver-tests/Interrupted-v0", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluated(EnvSpec("quiver-tests/Interrupted-v0"))
    gym.registry.pop("quiver-tests/Interrupted-v0")


@pytest.mark.parametrize(("name", "given"), [("observation_space", None), ("action_space", "Box")])
def test_an_environment_says_what_it_observes_and_how_it_acts(name: str, given: object) -> None:
    class Silent(gym.Env[Any, Any]):
        observation_space = action_space = gym.spaces.Discrete(2)

    setattr(Silent, name, given)
    gym.register("quiver-tests/Silent-v0", Silent)
    with pytest.raises(EnvFailedError, match=rf"Silent-v0: {name} is {given!r}, expected a space of gymnasium's"):
        make(EnvSpec("quiver-tests/Silent-v0"))
    gym.registry.pop("quiver-tests/Silent-v0")


@pytest.mark.parametrize(
    ("space", "given", "fits"),
    [
        (gym.spaces.Discrete(3), 2, True),
        (gym.spaces.Discrete(3), np.int64(0), True),
        (gym.spaces.Discrete(3), 3, False),
        (gym.spaces.Discrete(3), 1.0, False),
        (gym.spaces.Discrete(3, start=5), 5, True),
        (gym.spaces.MultiDiscrete([2, 3]), [1, 2], True),
        (gym.spaces.MultiDiscrete([2, 3]), [2, 0], False),
        (gym.spaces.MultiBinary(2), np.array([0, 1], bool), True),
        (gym.spaces.Box(0, 255, (2,), np.uint8), [0, 255], True),
        (gym.spaces.Box(0, 255, (2,), np.uint8), [0, 256], False),
        (gym.spaces.Box(0, 255, (2,), np.uint8), [0.0, 1.0], False),
        (gym.spaces.Box(0, 1, (2,), np.float32), [0, 1], True),
        (gym.spaces.Dict({"a": gym.spaces.Discrete(2)}), {"a": 1}, True),
        (gym.spaces.Dict({"a": gym.spaces.Discrete(2)}), {"a": 1, "b": 1}, False),
        (gym.spaces.Dict({"a": gym.spaces.Dict({"b": gym.spaces.Discrete(2)})}), {"a": {"b": 2}}, False),
    ],
)
def test_observations_are_those_of_the_space(space: gym.Space[Any], given: Any, fits: bool) -> None:
    class Showing(gym.Env[Any, Any]):
        observation_space, action_space = space, gym.spaces.Discrete(2)

        def reset(self, **how: Any) -> Any:
            return given, {}

    gym.register("quiver-tests/Showing-v0", Showing)
    env = make(EnvSpec("quiver-tests/Showing-v0"))
    if fits:
        env.reset(seed=0)
    else:
        with pytest.raises(EnvFailedError, match=r"seed 0: .*observation .*, expected .* in its reset"):
            env.reset(seed=0)
    gym.registry.pop("quiver-tests/Showing-v0")


def test_what_was_measured_is_not_lost_for_an_environment_that_does_not_close(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck(Countdown):
        def close(self) -> None:
            raise ConnectionError("still busy")

    gym.register("quiver-tests/Stuck-v0", Stuck)
    spec = EnvSpec("quiver-tests/Stuck-v0")
    result = evaluate(spec, lambda o, s, f: (np.zeros((len(o), 1)), None), episodes=2, seed=0)
    assert result.lengths == (2, 3)
    assert "environment quiver-tests/Stuck-v0: raised ConnectionError: still busy as it was closed" in caplog.text
    gym.registry.pop("quiver-tests/Stuck-v0")


# --- Those that do not come back ---

HASTY = Patience(seconds=0.4, told_after=0.2, grace=0.4, remedy="Go on otherwise.")


@pytest.mark.parametrize("way", [*WAYS, in_processes])
def test_a_call_that_hangs_is_told_of_and_ended(
    way: Callable[[EnvSpec, Patience], object], capfd: pytest.CaptureFixture[str]
) -> None:
    begun = time.monotonic()
    with pytest.raises(EnvStalledError, match=rf"^environment {ID}.*: step 2 has not come back for 0.4 s"):
        way(EnvSpec(ID, {"what": "raises hang"}), HASTY)
    assert time.monotonic() - begun < 10.0
    assert f"note: environment {ID}" in capfd.readouterr().err


@pytest.mark.parametrize(("at", "where"), [(0, "its reset"), (-1, "its construction")])
def test_whatever_hangs_is_named(at: int, where: str) -> None:
    with pytest.raises(EnvStalledError, match=f": {where} has not come back for 0.4 s"):
        evaluated(EnvSpec(ID, {"what": "raises hang", "at": at}), HASTY)


@pytest.mark.parametrize(
    ("what", "status", "told"),
    [
        ("raises exit", 3, "seed 3: step 2 ended the process, or somebody killed it there. Go on otherwise."),
        ("raises hang deaf", 2, "has not come back for 0.4 s (--env-timeout), and listens to nothing"),
    ],
)
def test_where_the_process_ends_another_tells(what: str, status: int, told: str) -> None:
    program = f"""
from tests.envs.test_nonsense import *
evaluated(EnvSpec(ID, {{"what": {what!r}}}), HASTY)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == status
    assert f"error: environment {ID}, seed 3: step 2" in done.stderr
    assert told in done.stderr


def test_patience_is_a_number_of_seconds() -> None:
    for seconds in (-1, np.nan, np.inf, "60", True):
        with pytest.raises(EnvError, match=r"seconds: found .*, expected a number of seconds, 0 to 1e9"):
            Patience(seconds)  # type: ignore[arg-type]
