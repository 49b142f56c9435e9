"""Arrow files that are not as they are written here, or that say what is not so, are refused before a value is read."""

import random
import struct

import numpy as np
import pyarrow as pa
import pytest

import replay
from replay import Box, DataError, Dict, Image, Spaces
from replay.arrow_layout import BLOB, TEXT, check_offsets, read_layout
from replay.shard import map_shard
from tests.replay import hostile

ROWS = 10
HUGE = 1 << 60


@pytest.fixture
def dataset(write, episode):
    return write([episode(number, ROWS - 1) for number in range(4)])


@pytest.fixture
def content(dataset):
    return dataset.shards[1]["core"].path.read_bytes()


def columns(content, **changes):
    """The record batch of a shard with other columns; None takes one away."""
    batch = pa.ipc.open_file(pa.BufferReader(content)).get_batch(0)
    arrays = dict(zip(batch.schema.names, batch.columns, strict=True)) | changes
    return pa.record_batch({name: array for name, array in arrays.items() if array is not None})


def tensor(metadata, width=2, name="arrow.fixed_shape_tensor"):
    """A column of lists that says it is a tensor."""
    array = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(width * ROWS, np.float32)), width)
    said = {"ARROW:extension:name": name, "ARROW:extension:metadata": metadata}
    return pa.record_batch([array], pa.schema([pa.field("action", array.type, metadata=said)]))


def dictionary():
    return pa.array(["a"] * ROWS).dictionary_encode()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda batch: columns(batch, reward=None), "column 'reward': found no such column, expected float32"),
        (lambda batch: columns(batch, reward=pa.array(np.zeros(ROWS))), "found 'float64', expected float32"),
        (lambda batch: columns(batch, reward=pa.array([1.0] * 9 + [None], pa.float32())), "found 1 nulls"),
        (lambda batch: columns(batch, reward=dictionary()), "dictionaries, which no dataset has"),
        (lambda batch: columns(batch, reward=pa.array([True] * ROWS)), "'reward' has a type that no dataset has"),
        (lambda batch: columns(batch, more=pa.array([[1]] * ROWS)), "'more' has a type that no dataset has"),
        (lambda batch: columns(batch, more=pa.array([{"a": 1}] * ROWS)), "'more' has a type that no dataset has"),
        (
            lambda batch: columns(batch, more=pa.array(["a"] * ROWS, pa.string_view())),
            "it has views, which no dataset has",
        ),
        (lambda batch: columns(batch, more=pa.nulls(ROWS)), "'more' has a type that no dataset has"),
        (lambda batch: columns(batch, more=pa.array([[1, 2]] * ROWS, pa.list_(pa.int32(), 2))), "expected a tensor"),
        (lambda batch: columns(batch, action=pa.array([b""] * ROWS, pa.large_binary())), r"found 'bytes', expected"),
        (lambda batch: columns(batch).slice(0, 9), "found 9 rows, the manifest says 10"),
        (lambda batch: columns(batch).rename_columns(["reward"] * 5), "column 'reward' twice"),
        (lambda batch: tensor('{"shape":[3]}'), r"tensor of shape \[3\] in 2 numbers"),
        (lambda batch: tensor('{"shape":[-2]}'), "is a tensor of shape"),
        (lambda batch: tensor('{"shape":[2],"permutation":[0]}'), "is a tensor of shape"),
        (lambda batch: tensor('{"shape":["2"]}'), "is a tensor of shape"),
        (lambda batch: tensor("[" * 4000), "description is damaged: maximum recursion depth"),
        (lambda batch: tensor("[" * 100_000), "is a list, expected a tensor"),
        (lambda batch: tensor("", name="arrow.json"), "is a list, expected a tensor"),
    ],
)
def test_a_shard_of_other_columns_is_refused(dataset, content, make, message):
    hostile.put_shard(dataset.path, 1, hostile.arrow(make(content)))
    with pytest.raises(DataError, match=rf"00001\.core\.arrow: .*{message}.*(restore|ingest)"):
        replay.open(dataset.path)


def test_a_shard_has_one_batch_and_ends_in_a_footer(dataset, content):
    batch = columns(content)
    damaged = {
        "2 record batches, expected 1": hostile.arrow(batch, batch),
        "has no footer": content[:-1],
        "its footer says that it has": content[:-10] + struct.pack("<i", 1 << 30) + content[-6:],
    }
    for message, changed in damaged.items():
        hostile.put_shard(dataset.path, 1, changed)
        with pytest.raises(DataError, match=rf"00001\.core\.arrow: .*{message}"):
            replay.open(dataset.path)


def words(*numbers):
    return struct.pack(f"<{len(numbers)}q", *numbers)


ONE = hostile.arrow(pa.record_batch({"x": pa.array(np.arange(1001.0))}))
"""Of its one column it says: 1001 values, 0 nulls; no marks of nulls; 8008 bytes at 0."""
WORDS = hostile.arrow(pa.record_batch({"task": pa.array(["ab", "cde", "f"])}))
"""Its lengths stand in the file as the places where they begin: 0, 2, 5, and the end, 6."""
PLACES = struct.pack("<4i", 0, 2, 5, 6)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (words(1001, 0), words(HUGE, 0), "found 1152921504606846976 values, expected 1001"),
        (words(1001, 0), words(-1, 0), "found -1 values, expected 1001"),
        (words(1001, 0), words(1001, 1), "found 1 nulls, expected none"),
        (words(1001), words(HUGE), "found 8008 bytes at 0, expected 9223372036854775808 in 8008"),
        (words(1001), words(-1001), "its record batch has -1001 rows"),
        (words(0, 8008), words(HUGE, 8008), "found 8008 bytes at 1152921504606846976, expected 8008 in 8008"),
        (words(0, 8008), words(-8, 8008), "found 8008 bytes at -8"),
        (words(0, 8008), words(0, 8016), "found 8016 bytes at 0"),
        (words(0, 8008), words(0, 8007), "found 8007 bytes at 0"),
        (words(0, 8008), words(0, -1), "found -1 bytes at 0"),
        (words(0, 0, 0, 8008), words(0, 126, 0, 8008), "found marks of nulls"),
        (b"ARROW1\0\0", b"ARROW1\0\0" + bytes(8), "record batch|description is damaged"),
    ],
)
def test_what_a_file_says_of_its_buffers_is_compared_with_the_file(old, new, message):
    assert read_layout(memoryview(ONE)).rows == 1001
    assert old in ONE
    with pytest.raises(ValueError, match=message):
        read_layout(memoryview(ONE.replace(old, new)))


def test_buffers_begin_where_their_numbers_can_be_read():
    moved = ONE.replace(words(1001), words(1000)).replace(words(0, 8008), words(1, 8000))
    with pytest.raises(ValueError, match=r"starts at byte .*, expected a multiple of 8"):
        read_layout(memoryview(moved))


@pytest.mark.parametrize("places", [(0, 2, 5, 7), (0, 2, 5, 1 << 30), (0, 5, 2, 6), (-1, 2, 5, 6), (0, 2, -5, 6)])
def test_text_does_not_lead_out_of_its_file(places):
    changed = memoryview(WORDS.replace(PLACES, struct.pack("<4i", *places)))
    layout = read_layout(changed)
    with pytest.raises(ValueError, match=r"offsets that lead out of .* bytes of values, or back"):
        check_offsets(changed, layout.columns["task"], layout.rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns(["split"]), "column 'split': found 'no such column', expected text"),
        (lambda table: table.set_column(0, "shard", pa.array([0, 1, 2, 3])), "found 'int64', expected int32"),
        (lambda table: table.set_column(6, "task", pa.array(["", "", "", None])), "'task': found 1 nulls"),
        (lambda table: table.set_column(6, "task", table["task"].combine_chunks().dictionary_encode()), "dictionaries"),
        (lambda table: table.append_column("task", table["task"]), "column 'task' twice"),
    ],
)
def test_a_table_of_other_columns_is_refused(dataset, change, message):
    changed = change(hostile.table(dataset.path / "episodes.arrow")).combine_chunks()
    hostile.put_table(dataset.path, "episodes.arrow", hostile.arrow(*changed.to_batches()))
    with pytest.raises(DataError, match=rf"episodes\.arrow: not a whole table \(.*{message}.*restore it from a copy"):
        replay.open(dataset.path)


def test_text_of_a_table_is_text(dataset):
    content = (dataset.path / "episodes.arrow").read_bytes()
    hostile.put_table(dataset.path, "episodes.arrow", content.replace(b"log 0log 1", b"log \xfflog 1"))
    with pytest.raises(DataError, match=r"episodes\.arrow: not a whole table \(Invalid UTF8"):
        replay.open(dataset.path)


def test_pictures_lie_in_their_file(write, episode):
    spaces = Spaces(Dict.of({"view": Image((4, 4, 3))}), Box((2,)))
    pixels = np.zeros((4, 4, 4, 3), np.uint8)
    dataset = write([episode(0, 3, observation={"view": pixels})], spaces=spaces)
    path = dataset.shards[0]["image.view"].path
    content, offsets = path.read_bytes(), map_shard(dataset.shards[0]["image.view"], dataset.columns[:1]).blobs
    old = offsets["observation.view"].offsets.copy()  # of the map, whose file changes
    for place, value in ((1, HUGE), (1, -8), (4, HUGE), (0, -1)):
        new = old.copy()
        new[place] = value
        number = hostile.table(dataset.path / "shards.arrow").column("group").to_pylist().index("image.view")
        hostile.put_shard(dataset.path, number, content.replace(old.tobytes(), new.tobytes()))
        with pytest.raises(DataError, match=r"image\.view\.arrow: .*observation.view.*offsets that lead out of"):
            replay.open(dataset.path)


def test_whatever_is_changed_nothing_outside_of_the_file_is_named(content):
    """Bytes of what files say of themselves, at random: refused, or every buffer is in the file."""
    random_ = random.Random(0)
    pictures = hostile.arrow(pa.record_batch({"x": pa.array([b"abc"] * 5, pa.large_binary())}))
    refused = 0
    for original in (content, pictures, WORDS):
        for _ in range(1000):
            changed = bytearray(original)
            for _ in range(random_.choice((1, 1, 2, 4))):
                width = random_.choice((1, 2, 4, 8))
                at = random_.randrange(len(changed) // width) * width
                value = random_.choice((0, 1, 8, HUGE, -1, -8, 1 << 31, random_.getrandbits(62)))
                changed[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "little")
            try:
                layout = read_layout(memoryview(changed))
                for field in layout.columns.values():
                    if field.kind in (TEXT, BLOB):
                        check_offsets(memoryview(changed), field, layout.rows)
            except ValueError:
                refused += 1
                continue
            for field in layout.columns.values():
                for part in (field.values, field.offsets):
                    assert 0 <= part.start <= part.stop <= len(changed)
    assert refused > 500
