"""Records of datasets and stores: what is of another kind or size than it must be is refused by file and field."""

import json

import numpy as np
import pytest

import replay
from replay import DataError, Discrete, OnlineStore, Spaces, operations
from replay.arrow_layout import read_layout
from replay.episode_table import EPISODE_COLUMNS
from tests.replay import hostile
from tests.replay.conftest import SPACES
from tests.replay.test_references import lines


@pytest.fixture
def dataset(write, episode):
    return write([episode(number, 9) for number in range(4)])


def put(record, field, value):
    """Set a.b.c of nested objects; None as the value removes it."""
    *path, last = field.split(".")
    for name in path:
        record = record[int(name)] if isinstance(record, list) else record[name]
    place = int(last) if isinstance(record, list) else last
    if value is None:
        del record[place]
    else:
        record[place] = value


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("version", True, "format version True"),
        ("spaces", [], r"spaces: found \[\], expected an object"),
        ("columns", {"a": 1}, "columns: found .*, expected a list"),
        ("columns", [3], r"columns\[0\]: not a column \(column: found 3, expected an object"),
        ("columns.1.shape", "2", r"columns\[1\]: not a column \(shape: found '2', expected a list"),
        ("columns.1.shape", ["2"], r"columns\[1\]: not a column \(shape: found '2', expected a whole number"),
        ("columns.1.shape", [2.0], "shape: found 2.0, expected a whole number"),
        ("columns.1.shape", [True], "shape: found True, expected a whole number"),
        ("columns.1.shape", [10**12], "expected at most 2147483647 numbers a row"),
        ("columns.1.name", "\ud800", "name: found .*ud800', expected text"),
        ("columns.1.name", ["action"], r"name: found \['action'\], expected text"),
        ("columns.1.dtype", "x" * 100_000, r"has dtype 'x{99}…; cast it"),
        ("columns.1.group", None, "'group' is missing"),
        ("extras", [], r"extras: found \[\], expected an object"),
        ("extras", {"reward": {"type": "box", "shape": [], "dtype": "float32", "low": [0], "high": [1]}}, "belongs to"),
        ("reference_scores", [1], "reference_scores: found 1 numbers, expected 2"),
        ("reference_scores", ["1", 2], "reference_scores: found '1', expected a finite number"),
        ("reference_scores", [0, 10**400], "reference_scores: found 10*.*, expected a finite number"),
        ("provenance", [["by", "x"]], "provenance: found .*, expected an object"),
        ("statistics", 3, "statistics: found 3, expected an object"),
        ("statistics.reward", None, "statistics.reward is missing"),
        ("statistics.reward.std", None, "statistics.reward.std is missing"),
        ("statistics.reward.std", -1, "statistics.reward.std: found a negative number"),
        ("statistics.reward.min", 1e9, "statistics.reward.min: found more than in statistics.reward.max"),
        ("statistics.reward.mean", "1", "statistics.reward.mean: found '1', expected finite numbers"),
        ("statistics.reward.mean", [1], r"statistics.reward.mean: found int64 of shape \(1,\), expected .* \(\)"),
        ("statistics.action.mean", [1, "2"], "statistics.action.mean: found .*, expected finite numbers of shape"),
        ("statistics.action.mean", [1, [2]], "statistics.action.mean: found .*, expected finite numbers of shape"),
        ("statistics.action.mean", [True, False], "statistics.action.mean: found .*, expected finite numbers"),
        ("statistics.reward.count", -1, "statistics.reward.count: found -1, expected a whole number"),
        ("statistics.reward.count", True, "statistics.reward.count: found True"),
        ("parents", {"path": "x"}, "parents: found .*, expected a list"),
        ("parents", [["path", "x"]], "parents: found .*, expected an object"),
        ("parents", [{"path": "../x"}], "'sha256' is missing"),
        ("parents", [{"path": "../x", "sha256": []}], r"parents.sha256: found \[\], expected text"),
        ("counts", [1], r"counts: found \[1\], expected an object"),
        ("counts.rows", None, "counts.rows is missing"),
        ("counts.episodes", True, "counts.episodes: found True"),
        ("counts.shards", 1 << 63, "counts.shards: found 9223372036854775808"),
        ("tables", 1, "tables: found 1, expected an object"),
        ("tables", {"shards.arrow": []}, r"tables.shards.arrow: found \[\], expected an object"),
    ],
)
def test_a_manifest_that_says_what_cannot_be(dataset, field, value, message):
    record = hostile.record(dataset.path)
    put(record, field, value)
    (dataset.path / "dataset.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match=rf"dataset\.json: .*{message}") as caught:
        replay.open(dataset.path)
    assert len(str(caught.value)) < 700
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"a test"', "NaN", "found NaN, expected a number"),
        ('"a test"', "1e999", "found '1e999', expected a number that fits in 64 bits"),
        ('"a test"', "9" * 5000, "integer string conversion"),
        ('"a test"', "[" * 300 + "]" * 300, "lists and objects in more than 200 others"),
        ('"a test"', "[" * 100_000 + "]" * 100_000, "recursion"),
    ],
)
def test_what_json_may_hold(dataset, old, new, message):
    path = dataset.path / "dataset.json"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=rf"dataset\.json: unreadable \(.*{message}.*restore it from a copy"):
        replay.open(dataset.path)


def test_a_record_that_memory_cannot_hold_is_not_parsed(dataset, monkeypatch):
    monkeypatch.setattr("replay.records._SMALL", 10_000)
    monkeypatch.setattr("replay.memory.available_bytes", lambda: 100 << 10)
    hostile.edit(dataset.path, provenance={"by": [[]] * 5_000})
    with pytest.raises(DataError, match=r"dataset\.json: what it says takes .* of memory, and 102 kB are left"):
        replay.open(dataset.path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"success": 2}, "success: found 2, expected 1, 0, or -1"),
        ({"success": -2}, "success: found -2"),
        ({"terminated": 7}, "terminated: found 7, expected 0 or 1"),
        ({"truncated": 255}, "truncated: found 255, expected 0 or 1"),
        ({"return": float("nan")}, "return: found nan, expected a number"),
        ({"return": float("inf")}, "return: found inf, expected a number"),
    ],
)
def test_impossible_facts_of_an_episode(dataset, changes, message):
    hostile.edit_table(dataset.path, "episodes.arrow", EPISODE_COLUMNS, 2, **changes)
    with pytest.raises(DataError, match=rf"episodes\.arrow: episode 2: {message}.*restore the file from a copy"):
        replay.open(dataset.path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"return": 5.0}, "return: found 5.0 in the table of episodes, its rows say 1836.0"),
        ({"terminated": 1}, "terminated: found 1 in the table of episodes, its rows say 0"),
        ({"truncated": 0}, "truncated: found 0 in the table of episodes, its rows say 1"),
    ],
)
def test_verifying_compares_episodes_with_their_rows(dataset, changes, message):
    replay.open(dataset.path, verify=True)
    hostile.edit_table(dataset.path, "episodes.arrow", EPISODE_COLUMNS, 2, **changes)
    with pytest.raises(DataError, match=rf"data: episode 2: {message}"):
        replay.open(dataset.path, verify=True)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("reward", 103, np.nan, "column 'reward': found nan in row 3, expected finite float32"),
        ("observation", 103, np.inf, "column 'observation': found inf in row 3, expected finite float32"),
        ("truncated", 1, 7, "column 'truncated': found 7 in row 8, expected 0 or 1"),
    ],
)
def test_verifying_looks_at_values(dataset, name, old, new, message):
    content = bytearray(dataset.shards[1]["core"].path.read_bytes())
    part = read_layout(memoryview(content)).columns[name].values
    dtype = np.uint8 if name == "truncated" else np.float32
    values = np.frombuffer(content[part], dtype).copy()
    values[np.flatnonzero(values == old)[-1]] = new
    content[part] = values.tobytes()
    hostile.put_shard(dataset.path, 1, bytes(content))
    assert replay.open(dataset.path).num_episodes == 4
    with pytest.raises(DataError, match=rf"00001\.core\.arrow: {message}"):
        replay.open(dataset.path, verify=True)


@pytest.mark.parametrize("name", ["terminated", "truncated"])
@pytest.mark.parametrize(
    "request_", [replay.Request(), replay.Request(n_step=3), replay.Request(kind="windows", length=2)]
)
def test_flags_that_are_none_are_not_sampled(dataset, name, request_):
    if name == "truncated" and request_ == replay.Request():
        return  # nothing is computed from it
    content = bytearray(dataset.shards[1]["core"].path.read_bytes())
    content[read_layout(memoryview(content)).columns[name].values] = bytes([7] * 16)
    hostile.put_shard(dataset.path, 1, bytes(content))
    with pytest.raises(DataError, match=r"data: found flags, terminated or truncated, that are neither 0 nor 1"):
        replay.open(dataset.path).sample(seed=0, sequence=0, count=100, request=request_)


def test_discrete_values_outside_of_their_space_are_not_sampled(write, episode):
    spaces = Spaces(Discrete(4), Discrete(3))
    steps = [episode(n, 3, observation=np.arange(4), action=np.arange(3)) for n in range(3)]
    for name, part in (("observation", spaces.observation), ("action", spaces.action)):
        dataset = write(steps, name, spaces=spaces)
        said = {"observation": spaces.observation, "action": spaces.action, name: Discrete(part.n - 1)}
        hostile.edit(
            dataset.path,
            spaces={key: {"type": "discrete", "n": value.n, "start": 0} for key, value in said.items()},
        )
        changed = replay.open(dataset.path)
        with pytest.raises(DataError, match=rf"{name}: found values . to {part.n - 1}, expected 0 to {part.n - 2}"):
            changed.sample(seed=0, sequence=0, count=50)
        with pytest.raises(DataError, match=rf"column '{name}': found {part.n - 1} in row {part.n - 1}, expected 0 to"):
            replay.open(dataset.path, verify=True)


def test_a_group_may_have_any_name(dataset, tmp_path):
    """Whoever names the files' groups does not choose the names of the files that a child gets."""
    record = json.dumps(hostile.record(dataset.path)).replace('"core"', '"override.../x"')
    (dataset.path / "dataset.json").write_text(record)
    for number in range(4):
        hostile.refer(dataset.path, number, group="override.../x")
    child = operations.relabel(replay.open(dataset.path), tmp_path / "child", lambda episode: episode)
    assert sorted({column.group for column in child.columns}) == ["override.../x", "override.1"]


def test_a_parent_that_is_a_link_to_itself(dataset, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    hostile.edit(dataset.path, parents=[{"path": "../loop", "sha256": ""}])
    with pytest.raises(DataError, match=r"its parent .*loop is missing or has changed"):
        replay.open(dataset.path)


def test_two_files_for_one_group_of_a_shard(dataset):
    hostile.refer(dataset.path, 1, shard=0)
    with pytest.raises(DataError, match=r"shards\.arrow: shard 0 has two files for 'core'"):
        replay.open(dataset.path)


@pytest.fixture
def store(tmp_path, episode):
    with OnlineStore.create(tmp_path / "online", SPACES, provenance={}) as made:
        for number in range(2):
            made.insert([(f"e{number}", episode(number, 2)), (f"f{number}", episode(number, 3))])
        made.evict(replay.Eviction(max_transitions=8))
    return made.path


@pytest.mark.parametrize(
    ("line", "field", "value", "message"),
    [
        (0, "insert", [], r"insert: found \[\], expected an object"),
        (0, "insert.segment", True, "segment: found True, expected a whole number"),
        (0, "insert.files", [], r"files: found \[\], expected an object"),
        (0, "insert.files.core", 3, "files: found 3, expected an object"),
        (0, "insert.files.core.sha256", 3, "sha256: found 3, expected text"),
        (0, "insert.episodes", {"a": 1}, "episodes: found .*, expected a list"),
        (0, "insert.episodes.0", "x", "episodes: found 'x', expected an object"),
        (0, "insert.episodes.0.id", 3, "id: found 3, expected text"),
        (0, "insert.episodes.0.id", "\ud800", "id: found .*, expected text"),
        (0, "insert.episodes.0.return", "1", "return: found '1', expected a finite number"),
        (0, "insert.episodes.0.return", None, "'return' is missing"),
        (0, "insert.episodes.0.success", 2, "success: found 2"),
        (0, "insert.episodes.0.terminated", 300, "terminated: found 300, expected 0 or 1"),
        (0, "insert.episodes.0.truncated", True, "truncated: found True, expected 0 or 1"),
        (0, "insert.episodes.0.length", 1.7, "length: found 1.7, expected a whole number"),
        (0, "insert.episodes.0.task", 5, "task: found 5, expected text"),
        (0, "insert.episodes.0.split", [], r"split: found \[\], expected text"),
        (0, "insert.episodes.0.extra", [["a", 1]], "extra: found .*, expected an object"),
        (0, "insert.statistics.reward.mean", "1", "statistics.reward.mean: found '1', expected finite numbers"),
        (0, "insert.statistics.reward.std", -1, "statistics.reward.std: found a negative number"),
        (2, "evict.episodes", ["0"], "episodes: found '0', expected a whole number"),
        (2, "evict.episodes", [0, 0], "evicts episodes .*, which are not there"),
        (2, "evict.episodes", [1 << 62], "evicts episodes .*, which are not there"),
        (2, "evict.statistics", {"-1": {}}, "statistics: found those of segments -1, expected 0"),
        (2, "evict.statistics", {}, "statistics: found those of segments , expected 0"),
    ],
)
def test_a_journal_that_says_what_cannot_be(store, line, field, value, message):
    records = [json.loads(line)["record"] for line in (store / "journal.jsonl").read_bytes().splitlines()]
    put(records[line], field, value)
    (store / "journal.jsonl").write_bytes(lines(*records))
    with pytest.raises(DataError, match=rf"journal\.jsonl, line {line + 1}: not a record of this store \(.*{message}"):
        replay.open(store)
