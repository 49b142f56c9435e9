"""Parquet files as one long table whose columns have our names, and their values as arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from replay import memory
from replay.episode import LONGEST_TAG
from replay.errors import DataError
from replay.readers.columns import block_rows, check_unpacked, looks_like_pictures, some
from replay.readers.parquet_footer import Footer, check_parquet
from replay.readers.source import Options, told

KNOWN = {
    "next.reward": "reward",
    "next.done": "terminated",
    "next.truncated": "truncated",
    "next.success": "success",
    "task_index": "task",
}
"""LeRobot's names and ours."""
STEP = ("action", "reward", "terminated", "truncated", "episode_index", "frame_index", "task", "success")
NEXT = "next_observation"
EXTRAS = ("goal", "behavior_logprob")
_TEXT = ("task", "episode_index")


@dataclass(frozen=True)
class Part:
    """Rows of one file, in order."""

    columns: dict[str, np.ndarray]
    """By our names."""
    file: Path
    first: int
    """The number of the first row in its file."""
    last: bool
    """Whether the file ends here."""


class Tables:
    """The files as one long table whose columns have our names.

    Raises `DataError`, naming file and column, for files that are damaged, that differ, or whose columns are no rows
    of one width.
    """

    def __init__(self, files: list[Path], options: Options) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.files, self._block_rows = files, options.block_rows
        self._errors = (pa.ArrowException, OSError, ValueError)
        """What pyarrow raises; the UnicodeDecodeError of a name that is no text is a ValueError."""
        schemas = []
        for file in files:
            check_parquet(file)
            try:
                with pq.ParquetFile(file) as table:
                    schemas.append(table.schema_arrow)
            except self._errors as error:
                raise DataError(
                    f"{file}: is no Parquet file, or is cut short ({told(error)}). Fetch it again."
                ) from error
        self.found: list[str] = schemas[0].names
        for file, schema in zip(files, schemas, strict=True):
            if set(schema.names) != set(self.found):
                differing = sorted(set(schema.names) ^ set(self.found))
                raise DataError(
                    f"{file}: columns differ from {files[0].name}'s in {some(differing)}. "
                    "Ingest files of one kind at a time."
                )
        self.names = self._names(options)
        """Our name to the source's."""
        self.ignored = {
            name: _pictures(schemas[0].field(i).type)
            for i, name in enumerate(self.found)
            if name not in self.names.values() and not _another_observation(name, options)
        }
        """The source's names of columns that are left out, and whether they look like pictures."""
        for file, schema in zip(files, schemas, strict=True):
            self._check_schema(file, schema, schemas[0])
        self._footers: dict[Path, Footer] = {file: check_parquet(file, set(self.names.values())) for file in files}
        self.rows = sum(footer.rows for footer in self._footers.values())
        self._rows_like: dict[str, np.ndarray] = {}
        """One row of each column that was read: what the others must be like."""

    def _names(self, options: Options) -> dict[str, str]:
        rename = options.rename
        for theirs in rename:
            if theirs not in self.found:
                raise DataError(f"{self.files[0]}: rename names {theirs!r}; found {some(self.found)}.")
        twice = [ours for ours, count in Counter(rename.values()).items() if count > 1]
        if twice:
            raise DataError(f"{self.files[0]}: rename makes two columns {some(twice)}; leave one out.")
        names: dict[str, str] = {}
        for theirs in self.found:
            ours = rename.get(theirs, KNOWN.get(theirs, theirs))
            keep = ours in (*STEP, *EXTRAS) or ours == NEXT or ours.startswith(("observation.", f"{NEXT}."))
            keep = (keep or ours == "observation") and not _another_observation(ours, options)
            if (keep or theirs in rename) and (ours not in names or theirs in rename):
                names[ours] = theirs
        return names

    def _check_schema(self, file: Path, schema: Any, first: Any) -> None:
        for ours, theirs in self.names.items():
            where = self.where(file, ours)
            if schema.names.count(theirs) > 1:
                raise DataError(f"{where}: is there {schema.names.count(theirs)} times, expected once. Leave one out.")
            kind, other = _kind(schema.field(theirs).type, where), _kind(first.field(theirs).type, where)
            if kind != other:
                raise DataError(
                    f"{where}: holds {kind}, and {self.files[0].name} has {other} there; expected the same. Ingest "
                    "files of one kind at a time."
                )

    def batches(self, names: list[str]) -> Iterator[Part]:
        """Columns by our name, at most `block_rows` rows at a time."""
        for file in self.files:
            try:
                yield from self._batches(file, names)
            except self._errors as error:
                if isinstance(error, DataError):
                    raise
                raise DataError(f"{file}: cannot be read to its end ({told(error)}). Fetch the file again.") from error

    def _batches(self, file: Path, names: list[str]) -> Iterator[Part]:
        import pyarrow.parquet as pq

        previous, first, unpacked = None, 0, 0
        width = self._footers[file].row_bytes
        rows = max(1, min(block_rows(width, self._block_rows), self._footers[file].rows))
        memory.require(4 * rows * width, str(file), f"reading {rows:,} rows", "use a machine with more.")
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(rows, columns=[self.names[name] for name in names]):
                if batch.num_rows == 0:
                    continue
                if previous is not None:
                    yield previous
                batch.validate(full=True)
                columns = {}
                for name in names:
                    where = self.where(file, name)
                    column = _values(batch.column(self.names[name]), where)
                    if name in _TEXT:
                        column = _shared(column, where)
                    elif column.dtype == object:
                        unpacked += sum(map(len, column))
                    columns[name] = column
                    self._check_alike(name, column, where)
                check_unpacked(unpacked, file.stat().st_size, str(file))
                previous = Part(columns, file, first, last=False)
                first += batch.num_rows
        if previous is not None:
            yield replace(previous, last=True)

    def _check_alike(self, name: str, column: np.ndarray, where: str) -> None:
        """That rows are like all rows of the column before, and those of a next observation like the observation's."""
        of = f"observation{name[len(NEXT) :]}" if name.startswith(NEXT) else name
        like = self._rows_like.setdefault(of, column[:1])
        if column.shape[1:] != like.shape[1:] or (column.dtype == object) != (like.dtype == object):
            raise DataError(
                f"{where}: found rows of shape {column.shape[1:]}, expected {like.shape[1:]} as other rows"
                f"{'' if of == name else ' of the observation'} have. Pad them, or leave the column out."
            )

    def where(self, file: Path, name: str) -> str:
        """A column of ours, for a message: the file, and its name there."""
        return f"{file}, {some([self.names[name]])}"


def _another_observation(ours: str, options: Options) -> bool:
    """Whether this is a part of the observation that is not wanted."""
    wanted = options.observation
    root, dot, key = ours.partition(".")
    return wanted is not None and bool(dot) and root in ("observation", NEXT) and key != wanted


def _kind(kind: Any, where: str) -> str:
    """What rows of an Arrow type are, for comparison and messages. Raises `DataError` for what cannot be read."""
    import pyarrow as pa

    depth = 0
    while True:
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        elif pa.types.is_dictionary(kind):
            kind = kind.value_type
        elif pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            kind = kind.field("bytes").type
            if not _binary(kind):
                raise DataError(f"{where}: holds structures, expected numbers, lists of them, or encoded pictures.")
        elif pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
            kind, depth = kind.value_type, depth + 1
        else:
            break
    if depth > 3:
        raise DataError(f"{where}: nests lists {depth} deep, expected at most 3. Leave the column out.")
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "numbers" if depth == 0 else f"lists of numbers ({depth} deep)"
    if _binary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        if depth == 0:
            return "pictures" if _binary(kind) else "text"
        raise DataError(f"{where}: holds lists of text or bytes, expected numbers, lists of them, or encoded pictures.")
    raise DataError(f"{where}: type {kind} is not supported; expected numbers, lists of them, or encoded pictures.")


def _binary(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _pictures(kind: Any) -> bool:
    """Whether a column that is left out looks like pictures: encoded, or as lists of bytes."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    shape = tuple(getattr(kind, "shape", ()))
    return _binary(kind) or (bool(shape) and looks_like_pictures(shape, kind.value_type.to_pandas_dtype()))


def _values(array: Any, where: str) -> np.ndarray:
    """(n, ...) numbers; (n,) objects for text and encoded pictures."""
    import pyarrow as pa

    if isinstance(array, pa.ExtensionArray):
        shape = tuple(getattr(array.type, "shape", ()))
        flat = _values(array.storage, where)
        return flat.reshape(len(array), *shape) if shape else flat
    if array.null_count:
        raise DataError(f"{where}: {array.null_count} of {len(array)} rows are null. Fill or drop those rows.")
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _values(array.dictionary_decode(), where)
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return _values(array.field("bytes"), where)  # how LeRobot and Hugging Face datasets hold pictures
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        flat = array.flatten()
        width = len(flat) // len(array)
        if not pa.types.is_fixed_size_list(kind):
            lengths = np.unique(array.value_lengths().to_numpy(zero_copy_only=False))
            if len(lengths) != 1:
                raise DataError(
                    f"{where}: lists of {lengths[0]} to {lengths[-1]} elements; expected one length. "
                    "Pad them, or leave the column out."
                )
        if width == 0:
            raise DataError(f"{where}: lists of no elements; expected numbers. Leave the column out.")
        inner = _values(flat, where)
        return inner.reshape(len(array), width, *inner.shape[1:])
    if _binary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        objects = np.empty(len(array), object)
        objects[:] = array.to_pylist()
        return objects
    return array.to_numpy(zero_copy_only=False)


def _shared(column: np.ndarray, where: str) -> np.ndarray:
    """Text of which equal words are one object. Raises `DataError` for words that are no names."""
    if column.dtype != object:
        return column
    words: dict[Any, Any] = {}
    for row, value in enumerate(column):
        if len(value) > LONGEST_TAG:
            raise DataError(f"{where}: found {len(value):,} characters, expected at most {LONGEST_TAG:,}. Shorten it.")
        column[row] = words.setdefault(value, value)
    return column
