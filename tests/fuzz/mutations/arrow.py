"""Changes of Arrow and Parquet tables: columns of other types, names, ranks and lengths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa

from tests.fuzz.target import Mutation, UnchangedError

_NUMBERS = (-1, 0, 1, 2, 5, 255, 2**31 - 1, -(2**31), 2**40, 2**63 - 1, -(2**63))
_REALS = (float("nan"), float("inf"), -1e38, 0.5, 1e300)


def _column(kind: str, rows: int) -> pa.Array:
    """A column of a kind that nobody expects."""
    made: dict[str, Callable[[], Any]] = {
        "text": lambda: pa.array(["x"] * rows),
        "null": lambda: pa.nulls(rows),
        "nulls": lambda: pa.array([None, 1.0] * rows)[:rows],
        "int8": lambda: pa.array([1] * rows, pa.int8()),
        "uint64": lambda: pa.array([2**64 - 1] * rows, pa.uint64()),
        "float16": lambda: pa.array([0.5] * rows, pa.float32()).cast(pa.float16()),
        "boolean": lambda: pa.array([True] * rows),
        "list": lambda: pa.array([[1.0, 2.0]] * rows),
        "ragged": lambda: pa.array([[1.0] * (row % 3) for row in range(rows)]),
        "nested": lambda: pa.array([[[1.0], [2.0, 3.0]]] * rows),
        "struct": lambda: pa.array([{"a": 1, "b": "x"}] * rows),
        "empty struct": lambda: pa.array([{}] * rows, pa.struct([])),
        "dictionary": lambda: pa.array(["a"] * rows).dictionary_encode(),
        "bytes": lambda: pa.array([b"\0"] * rows),
        "large text": lambda: pa.array(["x" * 1000] * rows, pa.large_string()),
        "date": lambda: pa.array([0] * rows, pa.date32()),
        "timestamp": lambda: pa.array([2**62] * rows, pa.timestamp("ns")),
        "decimal": lambda: pa.array([1] * rows, pa.int64()).cast(pa.decimal128(38, 2)),
        "fixed bytes": lambda: pa.array([b"abcd"] * rows, pa.binary(4)),
        "empty lists": lambda: pa.array([[]] * rows, pa.list_(pa.float32())),
        "map": lambda: pa.array([[("k", 1)]] * rows, pa.map_(pa.string(), pa.int32())),
        "empty text": lambda: pa.array([""] * rows),
    }
    if kind == "":
        return list(made)
    return made[kind]()


KINDS: tuple[str, ...] = tuple(_column("", 0))


def changed(table: pa.Table, random: Random) -> tuple[pa.Table, str]:
    """A table with one column, or its length, changed; what was done."""
    names = table.column_names
    position = random.randrange(len(names))
    name, rows = names[position], table.num_rows
    way = random.choice(
        ("type", "type", "type", "value", "value", "value", "drop", "twice", "rename", "rows", "extra", "order")
    )
    if way == "type":
        kind = random.choice(KINDS)
        return table.set_column(position, name, _fitting(kind, rows)), f"{name} is {kind}"
    if way == "value":
        values = table.column(position).to_pylist()
        row, old = random.randrange(rows), values[0]
        new = random.choice(_NUMBERS if isinstance(old, int) else _REALS if isinstance(old, float) else _OTHER)
        values[row] = [new] * len(old) if isinstance(old, list) and isinstance(new, float | int) else new
        try:
            column = pa.array(values, table.schema.field(position).type)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise UnchangedError from error
        return table.set_column(position, name, column), f"{name}[{row}] is {str(new)[:60]!r}"
    if way == "drop":
        return table.remove_column(position), f"{name} is removed"
    if way == "twice":
        return table.append_column(name, table.column(position)), f"{name} is there twice"
    if way == "rename":
        new = random.choice((f"{name}x", "", "\u202e", random.choice(names)))
        return table.rename_columns([new if n == name else n for n in names]), f"{name} is called {new!r}"
    if way == "rows":
        some = random.choice(
            (table.slice(0, 0), table.slice(1), table.slice(0, rows - 1), pa.concat_tables([table] * 2))
        )
        return some, f"{some.num_rows} rows"
    if way == "extra":
        kind = random.choice(KINDS)
        return table.append_column(
            random.choice(("more", "observation.more", "goal")), _fitting(kind, rows)
        ), f"a column more of {kind}"
    order = names[::-1] if random.random() < 0.5 else random.sample(names, len(names))
    return table.select(order), "columns in another order"


_OTHER: tuple[Any, ...] = (
    "",
    "x",
    "../x",
    "/dev/zero",
    "\u202e",
    "[/b]",
    None,
    b"",
    b"\x89PNG\r\n\x1a\n",
    1.0,
    "a\nb",
    "x" * 10_000,
)


def _fitting(kind: str, rows: int) -> pa.Array:
    column = _column(kind, rows)
    if len(column) != rows:
        raise UnchangedError
    return column


def in_arrow(pattern: str, finish: Callable[[Path], None] | None = None) -> Mutation:
    """Changes one of the Arrow files that match, or the form it is in; then `finish` makes hashes right again."""

    def mutate(folder: Path, random: Random) -> str:
        path = random.choice(sorted(folder.glob(pattern)))
        table = pa.ipc.open_file(pa.BufferReader(path.read_bytes())).read_all()
        form = random.choice(("file",) * 8 + ("lz4", "zstd", "batches", "stream", "none", "metadata"))
        done = form
        if form == "file":
            table, done = changed(table, random)
        if form == "metadata":
            table = table.replace_schema_metadata(
                {b"ARROW:extension:name": b"arrow.fixed_shape_tensor", b"\xff": b"\0"}
            )
        path.unlink()
        with pa.OSFile(str(path), "wb") as sink:
            options = pa.ipc.IpcWriteOptions(compression=form if form in ("lz4", "zstd") else None)
            new = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
            with new(sink, table.schema, options=options) as writer:
                if form == "batches":
                    writer.write_table(table, max_chunksize=1)
                elif form != "none":
                    writer.write_table(table.combine_chunks())
        if finish is not None:
            finish(folder)
        return f"{path.relative_to(folder)}: {done}"

    return mutate


def in_parquet(pattern: str) -> Mutation:
    """Changes one of the Parquet files that match, or the form it is in."""

    def mutate(folder: Path, random: Random) -> str:
        import pyarrow.parquet as pq

        path = random.choice(sorted(folder.glob(pattern)))
        table, done = changed(pq.read_table(path), random)
        options: dict[str, Any] = random.choice(
            ({}, {}, {"row_group_size": 1}, {"compression": "zstd"}, {"version": "1.0"}, {"use_dictionary": False})
        )
        try:
            pq.write_table(table, path, **options)
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise UnchangedError from error
        return f"{path.relative_to(folder)}: {done} {options or ''}"

    return mutate
