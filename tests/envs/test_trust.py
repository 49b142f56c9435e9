"""What data names is made where it can do no harm; what a person names is made as it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envs import EnvError, EnvSpec, make, make_vector

WHERE = "/data/logs"


def recorded(id: str, **parts: Any) -> EnvSpec:
    return EnvSpec.from_json({"id": id, **parts}, WHERE)


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module on the path, `planted`, that leaves a file when it is imported."""
    mark = tmp_path / "imported"
    (tmp_path / "planted.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "planted" not in sys.modules
    yield mark
    sys.modules.pop("planted", None)


@pytest.mark.parametrize("id", ["planted:Door-v0", "planted:", "ns/planted:Door-v0", "planted:planted:Door-v0"])
def test_a_module_named_by_data_is_not_imported(planted: Path, id: str) -> None:
    for making in (make, lambda spec: make_vector(spec, 1), lambda spec: make_vector(spec, 1, "native")):
        with pytest.raises(EnvError) as refusal:
            making(recorded(id))
        assert f"environment {id}: {WHERE} names it" in str(refusal.value)
        assert f"--env {id}, or add --trust-env" in str(refusal.value)
    assert not planted.exists()


def test_a_module_named_by_a_person_is_imported(planted: Path) -> None:
    with pytest.raises(EnvError, match="Door"):  # it registers none
        make(EnvSpec("planted:Door-v0"))
    assert planted.exists()


def test_trusting_what_data_names_is_naming_it(planted: Path) -> None:
    spec = recorded("planted:Door-v0")
    assert spec == spec.trusted() == EnvSpec("planted:Door-v0")
    with pytest.raises(EnvError, match="Door"):
        make(spec.trusted())
    assert planted.exists()


def test_an_environment_of_another_package_needs_a_person(countdown: str) -> None:
    assert make(EnvSpec(countdown)).spec is not None
    for id in (countdown, countdown.partition("-v")[0]):
        with pytest.raises(EnvError, match="is made by tests, which is none of gymnasium, gymn"):
            make(recorded(id))


@pytest.mark.parametrize(
    ("id", "parts"),
    [
        ("CartPole-v1", {"kwargs": {"max_episode_steps": 5, "render_mode": None}}),
        ("CartPole", {}),
        ("FrozenLake-v1", {"kwargs": {"map_name": "8x8", "is_slippery": False}}),
        (
            "PointMaze_UMaze-v3",
            {
                "kwargs": {"maze_map": [[1, 1, 1], [1, "g", 1], [1, "r", 1], [1, 1, 1]], "reward_type": "dense"},
                "reset_options": {"goal_cell": [1, 1]},
            },
        ),
        ("pointmaze-medium-navigate-singletask-task1-v0", {"kwargs": {"max_episode_steps": 7}}),
    ],
)
def test_what_is_built_in_is_made_because_data_says_so(id: str, parts: dict[str, Any]) -> None:
    make(recorded(id, **parts)).close()


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ("kwargs", {"xml_file": "/etc/passwd"}),
        ("kwargs", {"render_mode": "human"}),
        ("kwargs", {"entry_point": "planted:Door"}),
        ("kwargs", {"additional_wrappers": [{"entry_point": "planted:Door"}]}),
        ("kwargs", {"vectorization_mode": "async"}),
        ("kwargs", {"maze_map": [[1, "../../etc"]]}),
        ("kwargs", {"reward_type": "sparse/../.."}),
        ("reset_options", {"options": {"state": ["/etc/passwd"]}}),
    ],
)
def test_text_that_could_open_something_is_refused(planted: Path, part: str, names: dict[str, Any]) -> None:
    name = next(iter(names))
    with pytest.raises(EnvError, match=rf"CartPole-v1, {part}: {WHERE} names {name} = .*--trust-env"):
        make(recorded("CartPole-v1", **{part: names}))
    assert not planted.exists()


def test_a_person_may_name_a_part() -> None:
    """With `--env-kwargs` on the command line the arguments are a person's, and the id is still the data's."""
    names = {"render_mode": "human", "wheels": 3}
    spec = EnvSpec("CartPole-v1", names, recorded={"id": WHERE})
    with pytest.raises(EnvError, match="wheels"):  # the environment's own refusal
        make(spec)


@pytest.mark.parametrize(
    ("id", "names"),
    [
        ("CartPole-v1", {"max_episode_steps": {}}),
        ("pointmaze-medium-navigate-v0", {"dataset_only": True}),
        ("PointMaze_UMaze-v3", {"maze_map": 3}),
    ],
)
def test_arguments_from_data_that_make_no_sense_are_a_refusal(id: str, names: dict[str, Any]) -> None:
    with pytest.raises(EnvError, match=f"environment {id}, kwargs"):
        make(recorded(id, kwargs=names))
