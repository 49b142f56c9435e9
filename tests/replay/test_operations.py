"""Datasets made of datasets: what they share with their parents, and what is their own."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

import replay
from replay import operations
from replay.errors import DataError
from replay.spaces import Box, Dict, Discrete, Image, Spaces

SPACES = Spaces(Box((2,)), Box((1,), "float32", (-1.0,), (1.0,)))


def episode(number, length, **changes):
    """Rows count from 100 x number; every reward is the number."""
    rows = (100 * number + np.arange(length + 1, dtype=np.float32))[:, None]
    return replace(
        replay.Episode(
            observation=np.concatenate([rows, -rows], axis=1),
            action=np.full((length, 1), number / 10, np.float32),
            reward=np.full(length, number, np.float32),
            terminated=np.zeros(length, np.uint8),
            truncated=(np.arange(length) == length - 1).astype(np.uint8),
            task=f"task {number % 2}",
            success=number > 2,
        ),
        **changes,
    )


def write(path, numbers=(1, 2, 3, 4), spaces=SPACES, make=episode, **options):
    """Episode n has n + 1 steps; two episodes a shard or so."""
    with replay.DatasetWriter(path, spaces, provenance={"licence": "mine"}, shard_bytes=150, **options) as writer:
        for number in numbers:
            writer.add(make(number, number + 1))
    return replay.open(path)


def same_statistics(found, expected):
    assert set(found.statistics) == set(expected.statistics)
    for name, entry in expected.statistics.items():
        for key, value in entry.items():
            np.testing.assert_allclose(found.statistics[name][key], value, rtol=1e-12, err_msg=f"{name}.{key}")


def own_files(dataset):
    return sorted(path.name for path in (dataset.path / "shards").iterdir())


def rewards(dataset):
    return [dataset.episode(number).reward.tolist() for number in range(dataset.num_episodes)]


def test_filter_keeps_episodes_and_shares_all_files(tmp_path):
    parent = write(tmp_path / "parent")
    child = operations.filter(parent, tmp_path / "children" / "good", "return > 3 and task == 'task 1'")
    assert own_files(child) == []
    assert child.episodes["return"].tolist() == [12]
    assert rewards(child) == [[3, 3, 3, 3]]
    assert child.provenance["operation"] == "filter"
    assert child.provenance["licence"] == "mine"
    assert child.manifest.parents[0]["path"] == "../../parent"
    same_statistics(child, write(tmp_path / "alone", numbers=[3]))
    with pytest.raises(DataError, match=r"no episode of 4 satisfies 'return > 1000'"):
        operations.filter(parent, tmp_path / "none", "return > 1000")


def test_split_assigns_whole_episodes(tmp_path):
    parent = write(tmp_path / "parent", numbers=range(1, 11))
    fractions = {"train": 0.7, "validation": 0.2, "test": 0.1}
    child = operations.split(parent, tmp_path / "child", fractions, seed=5)
    names = child.episodes["split"].tolist()
    assert {name: names.count(name) for name in fractions} == {"train": 7, "validation": 2, "test": 1}
    assert names == operations.split(parent, tmp_path / "again", fractions, seed=5).episodes["split"].tolist()
    assert names != operations.split(parent, tmp_path / "other", fractions, seed=6).episodes["split"].tolist()
    assert child.view("test").episodes == 1
    assert own_files(child) == []
    same_statistics(child, parent)
    with pytest.raises(DataError, match=r"sum to 0.9, expected 1"):
        operations.split(parent, tmp_path / "wrong", {"train": 0.9})


def test_merge(tmp_path):
    a, b = write(tmp_path / "a", numbers=[1, 2]), write(tmp_path / "b", numbers=[3, 4])
    both = operations.merge([a, b], tmp_path / "both")
    assert rewards(both) == [[1] * 2, [2] * 3, [3] * 4, [4] * 5]
    assert own_files(both) == []
    same_statistics(both, write(tmp_path / "alone"))
    assert [parent["name"] for parent in both.provenance["from"]] == ["a", "b"]


def test_merge_refuses_other_spaces(tmp_path):
    a = write(tmp_path / "a")
    other = write(
        tmp_path / "b",
        spaces=Spaces(Box((2,)), Discrete(3)),
        make=lambda n, length: episode(n, length, action=np.zeros(length, np.int64)),
    )
    with pytest.raises(DataError, match=r"action spaces differ: .*Box.*Discrete"):
        operations.merge([a, other], tmp_path / "both")
    with pytest.raises(DataError, match=r"found 1 datasets, expected at least two"):
        operations.merge([a], tmp_path / "both")


def doubled(old):
    return replace(old, reward=2 * old.reward, success=bool(old.reward[0] > 3))


def test_relabel_writes_only_what_changes(tmp_path):
    parent = write(tmp_path / "parent")
    child = operations.relabel(parent, tmp_path / "child", doubled, columns=["reward"])
    assert own_files(child) == [f"{number:05d}.override.1.arrow" for number in range(len(parent.shards))]
    assert rewards(child) == [[2] * 2, [4] * 3, [6] * 4, [8] * 5]
    assert child.episodes["return"].tolist() == [4, 12, 24, 40]
    assert child.episodes["success"].tolist() == [0, 0, 0, 1]
    assert child.statistics["reward"]["max"] == 8
    assert child.statistics["return"]["mean"] == 20
    same = write(tmp_path / "alone", make=lambda n, length: doubled(episode(n, length)))
    same_statistics(child, same)
    for number in range(4):
        assert (child.episode(number).observation == parent.episode(number).observation).all()
    batch = child.sample(seed=0, sequence=0, count=64)
    assert set(batch.reward.tolist()) == {2, 4, 6, 8}
    assert rewards(parent) == [[1] * 2, [2] * 3, [3] * 4, [4] * 5]


def test_relabel_again_merge_and_copy(tmp_path):
    """Overrides pile up, mix with plain datasets, and disappear in a copy."""
    parent = write(tmp_path / "parent")
    once = operations.relabel(parent, tmp_path / "once", doubled, columns=["reward"])

    def early(old):
        return replace(old, terminated=(np.arange(len(old)) == 0).astype(np.uint8), reward=old.reward + 1)

    twice = operations.relabel(once, tmp_path / "twice", early, columns=["reward", "terminated"])
    assert rewards(twice) == [[3] * 2, [5] * 3, [7] * 4, [9] * 5]
    assert twice.episode(3).terminated.tolist() == [1, 0, 0, 0, 0]
    assert {column.group for column in twice.columns} == {"core", "override.2"}

    mixed = operations.merge([parent, twice, once], tmp_path / "mixed")
    assert rewards(mixed) == rewards(parent) + rewards(twice) + rewards(once)
    assert [mixed.episode(i).terminated.tolist() for i in (3, 7, 11)] == [[0] * 5, [1, 0, 0, 0, 0], [0] * 5]
    assert own_files(mixed) == []

    alone = operations.copy(mixed, tmp_path / "alone")
    assert alone.manifest.parents == ()
    assert rewards(alone) == rewards(mixed)
    assert alone.episodes["split"].tolist() == mixed.episodes["split"].tolist()
    same_statistics(alone, mixed)
    first = alone.sample(seed=1, sequence=2, count=32)
    assert (first.reward == mixed.sample(seed=1, sequence=2, count=32).reward).all()
    for name in ("parent", "once", "twice", "mixed"):
        for path in (tmp_path / name).rglob("*.arrow"):
            path.unlink()
    assert rewards(replay.open(alone.path)) == rewards(alone)


def test_relabel_may_add_a_column(tmp_path):
    parent = write(tmp_path / "parent")

    def with_logprob(old):
        return replace(old, extras={"behavior_logprob": -old.reward.astype(np.float64)})

    child = operations.relabel(parent, tmp_path / "child", with_logprob, columns=["behavior_logprob"])
    assert child.extras == {"behavior_logprob": Box(())}
    assert child.episode(1).extras["behavior_logprob"].tolist() == [-2, -2, -2]
    batch = child.sample(seed=0, sequence=0, count=8, request=replay.Request(columns=("behavior_logprob",)))
    assert (batch.extras["behavior_logprob"] == -batch.reward).all()
    with pytest.raises(DataError, match=r"no column goal and the function adds none"):
        operations.relabel(parent, tmp_path / "goal", with_logprob, columns=["goal"])


def test_a_filtered_child_can_be_relabelled(tmp_path):
    good = operations.filter(write(tmp_path / "parent"), tmp_path / "good", "success == 1")
    child = operations.relabel(good, tmp_path / "child", doubled, columns=["reward"])
    assert rewards(child) == [[6] * 4, [8] * 5]
    assert child.statistics["reward"]["count"] == 9


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda old: replace(old, action=-old.action), r"episode 0: the function changed action, which would be lost"),
        (lambda old: replace(old, reward=old.reward * np.nan), r"episode 0, reward: NaN or infinite in 2 of 2 rows"),
        (lambda old: old.reward, r"returned ndarray, expected an Episode"),
    ],
)
def test_wrong_relabelling_is_refused_and_leaves_nothing(tmp_path, function, message):
    parent = write(tmp_path / "parent")
    with pytest.raises(DataError, match=message):
        operations.relabel(parent, tmp_path / "child", function)
    assert [path.name for path in tmp_path.iterdir()] == ["parent"]


def test_a_changed_parent_is_refused(tmp_path):
    parent = write(tmp_path / "parent")
    child = operations.relabel(parent, tmp_path / "child", doubled)
    (tmp_path / "parent").rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"parent"):
        replay.open(child.path)
    # The same sizes to the byte, other numbers: only hashes tell.
    write(tmp_path / "parent", make=lambda n, length: episode(n, length, action=np.zeros((length, 1), np.float32)))
    with pytest.raises(DataError, match=r"parent"):
        replay.open(child.path).sample(seed=0, sequence=0, count=4)


def test_a_parent_made_anew_is_refused(tmp_path):
    """The same files in the same places, of another content."""
    write(tmp_path / "parent")
    operations.filter(replay.open(tmp_path / "parent"), tmp_path / "child", "return > 3")
    shutil.rmtree(tmp_path / "parent")
    write(tmp_path / "parent", numbers=(4, 3, 2, 1))
    with pytest.raises(DataError, match=r"its parent .*parent is missing or has changed"):
        replay.open(tmp_path / "child")


def test_an_existing_target_is_refused(tmp_path):
    parent = write(tmp_path / "parent")
    for operation in (
        lambda: operations.merge([parent, parent], parent.path),
        lambda: operations.filter(parent, parent.path, "length > 0"),
        lambda: operations.split(parent, parent.path, {"train": 1}),
        lambda: operations.relabel(parent, parent.path, doubled),
        lambda: operations.copy(parent, parent.path),
    ):
        with pytest.raises(DataError, match=r"exists already"):
            operation()


def test_dictionaries_with_pictures(tmp_path):
    """Pictures are shared, and copied without being decoded."""
    space = Dict.of({"eye": Image((4, 4, 3)), "arm": Box((1,))})

    def make(number, length):
        arm = np.full((length + 1, 1), number, np.float32)
        eye = np.full((length + 1, 4, 4, 3), number, np.uint8)
        return episode(number, length, observation={"eye": eye, "arm": arm})

    parent = write(tmp_path / "parent", spaces=Spaces(space, SPACES.action), make=make)
    child = operations.relabel(parent, tmp_path / "child", doubled, columns=["reward"])
    alone = operations.copy(operations.filter(child, tmp_path / "few", "length > 3"), tmp_path / "alone")
    assert rewards(alone) == [[6] * 4, [8] * 5]
    assert alone.episode(0).observation["eye"] == parent.episode(2).observation["eye"]
    batch = alone.sample(seed=0, sequence=0, count=16)
    assert (batch.observation["eye"][:, 0, 0, 0] * 2 == batch.reward).all()
