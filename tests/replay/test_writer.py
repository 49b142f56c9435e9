"""Writing: what goes in comes out, in whole datasets or not at all."""

import errno

import numpy as np
import pytest

import replay
from replay import Box, DataError, DatasetWriter, Dict, Discrete, Image, Spaces, images


def test_episodes_come_back_as_they_were_written(write, episode):
    written = [episode(number, length) for number, length in enumerate((4, 7, 1, 5))]
    dataset = replay.open(write(written).path)
    assert (dataset.num_episodes, dataset.num_transitions, dataset.num_rows) == (4, 17, 21)
    for number, expected in enumerate(written):
        found = dataset.episode(number)
        for field in ("observation", "action", "reward", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))
        assert (found.source, found.success, found.split) == (f"log {number}", None, "train")
    with pytest.raises(IndexError, match="episode 4 of 4"):
        dataset.episode(4)


def test_the_table_of_episodes(write, episode):
    rewards = np.array([1.0, 2.0, 4.0], np.float32)
    flags = np.array([0, 0, 1], np.uint8)
    won = episode(0, 3, reward=rewards, terminated=flags, truncated=0 * flags, success=True, task="open")
    table = write([won, episode(1, 2, success=False)], shard_bytes=1 << 20).episodes
    assert table["return"].tolist() == [7.0, 201.0]
    assert table["terminated"].tolist() == [1, 0]
    assert table["truncated"].tolist() == [0, 1]
    assert table["success"].tolist() == [1, 0]
    assert table["task"].tolist() == ["open", ""]
    assert table["shard"].tolist() == [0, 0]
    assert table["first_row"].tolist() == [0, 4]


def test_an_episode_never_spans_two_shards(write, episode):
    # 3 + 2 + 1 floats and 2 flags are 26 bytes: 10 rows are 260 of the 400 allowed.
    dataset = write([episode(number, 9) for number in range(3)] + [episode(3, 99)])
    assert dataset.episodes["shard"].tolist() == [0, 1, 2, 3]
    assert [next(iter(files.values())).rows for files in dataset.shards] == [10, 10, 10, 100]


def test_at_least_eight_shards_where_the_size_is_known(write, episode):
    dataset = write([episode(n, 9) for n in range(32)], expected_rows=320, shard_bytes=1 << 20)
    assert len(dataset.shards) == 8
    assert {next(iter(files.values())).rows for files in dataset.shards} == {40}


def test_statistics_leave_out_rows_that_carry_no_data(write, episode):
    rng = np.random.default_rng(0)
    written = [episode(n, 20, reward=rng.normal(size=20).astype(np.float32)) for n in range(9)]
    statistics = replay.open(write(written).path).statistics
    reward = np.concatenate([e.reward for e in written]).astype(np.float64)
    observation = np.concatenate([e.observation for e in written]).astype(np.float64)
    for name, rows in (("reward", reward), ("observation", observation)):
        entry = statistics[name]
        assert entry["count"] == len(rows)
        np.testing.assert_allclose(entry["mean"], rows.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(entry["std"], rows.std(axis=0), rtol=1e-12)
        np.testing.assert_array_equal(entry["min"], rows.min(axis=0))
        np.testing.assert_array_equal(entry["max"], rows.max(axis=0))
    assert statistics["return"]["count"] == 9
    np.testing.assert_allclose(statistics["return"]["max"], reward.reshape(9, 20).sum(axis=1).max())


def test_a_share_of_the_episodes_is_kept_for_validation(write, episode):
    episodes = [episode(n, 1) for n in range(100)]
    first = write(episodes, "a", validation_fraction=0.05).episodes["split"].tolist()
    assert first.count("validation") == 5
    assert write(episodes, "b", validation_fraction=0.05).episodes["split"].tolist() == first
    assert write(episodes, "c", validation_fraction=0.05, split_seed=1).episodes["split"].tolist() != first
    few = write([episode(0, 1), episode(1, 1, split="test")], "d", validation_fraction=0.05)
    assert few.episodes["split"].tolist() == ["train", "test"]


def test_dictionaries_pictures_discrete_actions_and_extras(write, episode):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), np.uint8)
    space = Image((5, 6, 3))
    spaces = Spaces(Dict.of({"eye/left": space, "arm": Box((2,), "float64")}), Discrete(3, start=1))
    arm = np.arange(8.0).reshape(4, 2)
    given = episode(
        0,
        3,
        observation={"eye/left": pixels, "arm": arm},
        action=np.array([1, 3, 2]),
        extras={"behavior_logprob": np.array([-1.0, -2.0, -3.0], np.float32)},
    )
    encoded = [images.encode(frame, space) for frame in pixels]
    same = episode(0, 3, observation={"eye/left": encoded, "arm": arm}, action=given.action, extras=given.extras)
    dataset = write([given, same], spaces=spaces, extras={"behavior_logprob": Box(())})
    for number in (0, 1):
        found = dataset.episode(number)
        assert found.observation["eye/left"] == encoded
        np.testing.assert_array_equal(found.observation["arm"], arm)
        assert found.action.tolist() == [1, 3, 2]
        assert found.extras["behavior_logprob"].tolist() == [-1.0, -2.0, -3.0]
    batch = dataset.sample(seed=0, sequence=0, count=8)
    step = (batch.observation["arm"][:, 0] / 2).astype(int)
    np.testing.assert_array_equal(batch.observation["eye/left"], pixels[step])
    np.testing.assert_array_equal(batch.next_observation["eye/left"], pixels[step + 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": np.array([0.0, np.nan, 0.0], np.float32)}, "episode 1.*reward"),
        ({"observation": np.zeros((3, 3), np.float32)}, "episode 1.*observation"),
        ({"action": np.full((3, 2), np.inf, np.float32)}, "episode 1.*action"),
        ({"extras": {"surprise": np.zeros(3)}}, "episode 1.*surprise"),
    ],
)
def test_a_bad_episode_is_named_and_may_be_skipped(tmp_path, episode, change, message):
    spaces = Spaces(Box((3,)), Box((2,)))
    with DatasetWriter(tmp_path / "data", spaces, provenance={}) as writer:
        writer.add(episode(0, 3))
        with pytest.raises(DataError, match=message):
            writer.add(episode(1, 3, **change))
        writer.add(episode(2, 3))
    assert replay.open(tmp_path / "data").num_episodes == 2


def test_a_picture_of_another_size_is_refused(write, episode):
    spaces = Spaces(Image((4, 4, 3)), Box((2,)))
    small = images.encode(np.zeros((2, 2, 3), np.uint8), Image((2, 2, 3)))
    with pytest.raises(DataError, match=r"step 0: found a png picture \(2, 2, 3\).*\(4, 4, 3\)"):
        write([episode(0, 1, observation=[small, small])], spaces=spaces)


def test_an_exception_leaves_nothing(tmp_path, episode):
    def stopped():
        with DatasetWriter(tmp_path / "data", Spaces(Box((3,)), Box((2,))), provenance={}, shard_bytes=1) as writer:
            writer.add(episode(0, 3))
            writer.add(episode(1, 3))
            assert any(tmp_path.rglob("*.arrow"))
            raise RuntimeError("the user stopped it")

    with pytest.raises(RuntimeError, match="the user stopped it"):
        stopped()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, write, episode, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("replay.new_folder.sync", full)
    with pytest.raises(DataError, match=r"data: the disk is full"):
        write([episode(0, 3)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [".data.0123456789abcdef.partial", ".data.partial"])
def test_what_a_killed_run_left_is_removed(tmp_path, write, episode, name):
    left = tmp_path / name / "shards"
    left.mkdir(parents=True)
    (left / "00007.core.arrow").write_bytes(b"half")
    dataset = write([episode(0, 3)])
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert [path.name for path in sorted((dataset.path / "shards").iterdir())] == ["00000.core.arrow"]


def test_an_existing_folder_is_not_overwritten(write, episode):
    write([episode(0, 3)])
    with pytest.raises(DataError, match="exists already"):
        write([episode(0, 3)])


def test_a_dataset_without_episodes_is_refused(tmp_path, write):
    with pytest.raises(DataError, match="no episodes"):
        write([])
    assert list(tmp_path.iterdir()) == []


def test_columns_that_cannot_be_stored_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"'bool'.*uint8"):
        DatasetWriter(tmp_path / "a", Spaces(Box((2,), "bool"), Box((2,))), provenance={})
    with pytest.raises(DataError, match="'reward' belongs to a standard column"):
        DatasetWriter(tmp_path / "a", Spaces(Box((2,)), Box((2,))), provenance={}, extras={"reward": Box(())})
