"""`parquet:<glob>`: flat tables, one row per step, from any number of files.

Columns are `observation` or `observation.<key>`, `action` and, as far as they are there, `reward`, `terminated`,
`truncated`, `episode_index`, `frame_index`, `task`, `success`, `next_observation` and the extras `goal` and
`behavior_logprob`; LeRobot's names `next.reward`, `next.done`, `next.truncated` and `next.success` are known.
Other names are given by `rename`. Tensors are numbers or (nested, fixed-length) lists of them; pictures are
encoded bytes. An episode lies in one file. The files are those that the pattern names, links to files among them
(a download cache is made of such), and nothing that they name themselves is opened.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from replay import images
from replay.episode import flags
from replay.errors import DataError
from replay.flags import as_flags, complaint, not_flags, set_flags
from replay.readers.source import (
    Options,
    Source,
    action_space,
    array_space,
    box,
    conversion_notes,
    minimum_and_maximum,
    one_each,
    refuse,
    regular,
)
from replay.segment import RULES, Block, Counts, segment
from replay.spaces import Dict, Leaf, Space, Spaces

_KNOWN = {
    "next.reward": "reward",
    "next.done": "terminated",
    "next.truncated": "truncated",
    "next.success": "success",
    "task_index": "task",
}
_STEP = ("action", "reward", "terminated", "truncated", "episode_index", "frame_index", "task", "success")
_NEXT = "next_observation"
_EXTRAS = ("goal", "behavior_logprob")


def read(location: str, options: Options) -> Source:
    """Opens the files that match. Raises `DataError` for columns that are missing, ragged or of unlike types."""
    refuse(options, "parquet", "success_timing")
    files = [Path(name) for name in sorted(glob.glob(str(Path(location).expanduser()), recursive=True))]
    files = [regular(file, str(file), "Leave it out of the pattern.") for file in files if not file.is_dir()]
    if not files:
        raise DataError(f"parquet:{location}: no file matches. Check the path; quote the pattern in a shell.")
    tables = _Tables(files, options)
    names = tables.names
    observation = [name for name in names if name == "observation" or name.startswith("observation.")]
    missing = [name for name, there in (("observation", observation), ("action", "action" in names)) if not there]
    if missing:
        raise DataError(
            f"{files[0]}: has no column for {', '.join(missing)}; found {', '.join(tables.found)}. "
            "Give other names with --rename source=standard."
        )
    if "observation" in observation and len(observation) > 1:
        raise DataError(f"{files[0]}: has observation and {observation[1]}; rename one, or leave it out.")
    if not {"episode_index", "terminated", "truncated"} & set(names):
        raise DataError(
            f"{files[0]}: nothing says where episodes end; expected episode_index, terminated or truncated. "
            "Give other names with --rename source=standard."
        )
    following = {f"observation{name[len(_NEXT) :]}" for name in names if name.startswith(_NEXT)}
    if following and following != set(observation):
        raise DataError(
            f"{files[0]}: next observations {', '.join(sorted(following))} for observations "
            f"{', '.join(observation)}; expected the same keys. Rename or leave out what has no partner."
        )
    notes: list[str] = []
    if tables.ignored:
        notes.append(f"not ingested: {', '.join(tables.ignored)}; give a name with --rename to keep one")
    if "reward" not in names:
        notes.append("reward: not in the source, 0 everywhere; give a reward function to compute it")
    if names.get("terminated") == "next.done":
        notes.append("next.done: taken as terminated" + (" where not truncated" if "truncated" in names else ""))
    first = next(tables.batches(list(names)), None)
    if first is None:
        raise DataError(f"{files[0]}: has no rows.")
    spaces, extras = _spaces(first.columns, observation, tables, options, notes)
    rule = RULES["next" if following else "lost"]
    counts = Counts()
    return Source(
        spaces=spaces,
        episodes=segment(_blocks(tables, observation, list(extras)), counts, source=f"parquet:{files[0].parent.name}"),
        provenance={
            "format": "parquet",
            "final_observation": rule,
            "episodes": "an episode ends with its file, its episode_index, its frame_index or its flags",
            **({"env_spec": {"id": options.env, "kwargs": {}, "max_episode_steps": None}} if options.env else {}),
        },
        files=files,
        expected_rows=tables.rows,
        expected_transitions=tables.rows,
        extras=extras,
        notes=notes,
        counts=counts,
    )


@dataclass(frozen=True)
class _Part:
    """Rows of one file, in order."""

    columns: dict[str, np.ndarray]
    """By our names."""
    file: Path
    first: int
    """The number of the first row in its file."""
    last: bool
    """Whether the file ends here."""


class _Tables:
    """The files as one long table whose columns have our names."""

    def __init__(self, files: list[Path], options: Options) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.files, self.block_rows, self.rows = files, options.block_rows, 0
        schemas = []
        for file in files:
            try:
                with pq.ParquetFile(file) as table:
                    schemas.append(table.schema_arrow)
                    self.rows += table.metadata.num_rows
                    _check_contained(table.metadata, file)
            except (pa.ArrowInvalid, OSError) as error:
                raise DataError(f"{file}: is no Parquet file, or is cut short ({error}). Fetch it again.") from error
        self.found: list[str] = schemas[0].names
        for file, schema in zip(files, schemas, strict=True):
            if set(schema.names) != set(self.found):
                differing = sorted(set(schema.names) ^ set(self.found))
                raise DataError(
                    f"{file}: columns differ from {files[0].name}'s in {', '.join(differing)}. "
                    "Ingest files of one kind at a time."
                )
        self.names = self._names(options.rename)
        """Our name to the source's."""
        self.ignored = [name for name in self.found if name not in self.names.values()]

    def _names(self, rename: Mapping[str, str]) -> dict[str, str]:
        for theirs in rename:
            if theirs not in self.found:
                raise DataError(f"{self.files[0]}: rename names {theirs!r}; found {', '.join(self.found)}.")
        names: dict[str, str] = {}
        for theirs in self.found:
            ours = rename.get(theirs, _KNOWN.get(theirs, theirs))
            keep = ours in (*_STEP, *_EXTRAS) or ours.split(".")[0] in ("observation", _NEXT)
            if (keep or theirs in rename) and (ours not in names or theirs in rename):
                names[ours] = theirs
        return names

    def batches(self, names: list[str]) -> Iterator[_Part]:
        """Columns by our name, at most `block_rows` rows at a time."""
        import pyarrow as pa

        for file in self.files:
            try:
                yield from self._batches(file, names)
            except (pa.ArrowException, OSError) as error:
                raise DataError(f"{file}: cannot be read to its end ({error}). Fetch the file again.") from error

    def _batches(self, file: Path, names: list[str]) -> Iterator[_Part]:
        import pyarrow.parquet as pq

        held, first = None, 0
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(self.block_rows, columns=[self.names[name] for name in names]):
                if batch.num_rows == 0:
                    continue
                if held is not None:
                    yield held
                columns = {name: _values(batch.column(self.names[name]), self.where(file, name)) for name in names}
                held = _Part(columns, file, first, last=False)
                first += batch.num_rows
        if held is not None:
            yield replace(held, last=True)

    def where(self, file: Path, name: str) -> str:
        """A column of ours, for a message: the file, and its name there."""
        return f"{file}, {self.names[name]}"


def _check_contained(metadata: Any, file: Path) -> None:
    """Parquet lets a table say that its columns lie in other files. Raises `DataError` for one that does."""
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            other = metadata.row_group(group).column(column).file_path
            if other:
                raise DataError(f"{file}: keeps columns in another file ({other!r}). Name the files that hold them.")


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
        inner = _values(flat, where)
        return inner.reshape(len(array), width, *inner.shape[1:])
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_string(kind):
        objects = np.empty(len(array), object)
        objects[:] = array.to_pylist()
        return objects
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return array.to_numpy(zero_copy_only=False)
    raise DataError(f"{where}: type {kind} is not supported; expected numbers, lists of them, or encoded pictures.")


def _spaces(
    columns: dict[str, np.ndarray],
    observation: list[str],
    tables: _Tables,
    options: Options,
    notes: list[str],
) -> tuple[Spaces, dict[str, Any]]:
    leaves: dict[str, Leaf] = {}
    for name in observation:
        where = f"{tables.files[0]}, {tables.names[name]}"
        leaves[name.removeprefix("observation.")] = _space(columns[name], where)
    action = columns["action"]
    notes += conversion_notes({name: columns[name].dtype for name in [*observation, "action"]})
    low, high = minimum_and_maximum(part.columns["action"] for part in tables.batches(["action"]))
    space: Space = leaves["observation"] if observation == ["observation"] else Dict.of(leaves)
    step = {*_STEP, *(name for name in columns if name.split(".")[0] in ("observation", _NEXT))}
    extras = {name: box(columns[name].shape[1:], columns[name].dtype) for name in columns if name not in step}
    return Spaces(space, action_space(low, high, action.shape[1:], action.dtype, notes)), extras


def _space(column: np.ndarray, where: str) -> Leaf:
    if column.dtype != object:
        return array_space(column.shape[1:], column.dtype)
    if not isinstance(column[0], bytes):
        raise DataError(f"{where}: holds text; expected numbers or encoded pictures. Leave the column out.")
    return images.look(column[0], where)


def _blocks(tables: _Tables, observation: list[str], extras: list[str]) -> Iterator[Block]:
    names = list(tables.names)
    done = tables.names.get("terminated") == "next.done"
    order = _Order(tables)
    for part in tables.batches(names):
        columns = dict(part.columns)
        n = len(columns["action"])
        for name in ("reward", "episode_index", "frame_index", "success"):
            if name in columns:
                columns[name] = one_each(columns[name], tables.where(part.file, name))
        for name in ("episode_index", "frame_index"):
            if name in columns:
                _check_numbers(columns[name], part, tables.where(part.file, name), text=name == "episode_index")
        if "episode_index" in columns:
            order.check(columns["episode_index"], part)
        faults = _settle_flags(columns, part, tables)
        truncated = columns.get("truncated", flags(n))
        terminated = columns.get("terminated", flags(n))
        if done:
            terminated = terminated & (1 - truncated)
        following = {f"observation{name[len(_NEXT) :]}": columns[name] for name in names if name.startswith(_NEXT)}
        yield Block(
            observation={name: columns[name] for name in observation},
            action=columns["action"],
            reward=columns["reward"] if "reward" in columns else np.zeros(n, np.float32),
            terminated=terminated,
            truncated=truncated,
            end=terminated | truncated | flags(n, last=part.last),
            next_observation=following,
            number=columns.get("episode_index"),
            position=columns.get("frame_index"),
            extras={name: columns[name] for name in extras},
            tags={name: columns[name] for name in ("task", "success") if name in columns},
            faults=faults,
        )


def _settle_flags(columns: dict[str, np.ndarray], part: _Part, tables: _Tables) -> np.ndarray | None:
    """Makes the flags among the columns 0 and 1. What is neither is a fault of its row where rows have an episode's
    number; elsewhere nobody knows whose end it is, and a `DataError` is raised."""
    numbered = "episode_index" in columns
    faults = np.full(len(columns["action"]), None, object) if numbered else None
    for name in ("terminated", "truncated", "success"):
        if name not in columns:
            continue
        where = tables.where(part.file, name)
        values = one_each(columns[name], where)
        if faults is None:
            columns[name] = as_flags(values, where, first=part.first)
            continue
        for row in np.flatnonzero(not_flags(values)).tolist():
            faults[row] = faults[row] or complaint(values, row, where, first=part.first)
        columns[name] = set_flags(values)
    return faults


def _check_numbers(values: np.ndarray, part: _Part, where: str, *, text: bool) -> None:
    """Raises `DataError` unless rows are numbered in whole numbers, or named where `text` allows it."""
    if values.dtype.kind in "iu" or (text and values.dtype == object):
        return
    whole = (
        np.isfinite(values) & (np.floor(values) == values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
    )
    if not whole.all():
        row = int(np.argmin(whole))
        raise DataError(f"{where}: found {values[row]!r} at row {part.first + row}, expected whole numbers.")


class _Order:
    """Refuses files in which the rows of an episode do not lie together."""

    def __init__(self, tables: _Tables) -> None:
        self._tables = tables
        self._begun: set[int] = set()
        self._current: int | None = None

    def check(self, number: np.ndarray, part: _Part) -> None:
        starts = np.concatenate([[True], number[1:] != number[:-1]])
        for episode in number[starts].tolist():
            if episode == self._current:
                continue
            if episode in self._begun:
                raise DataError(
                    f"{self._tables.where(part.file, 'episode_index')}: the rows of episode {episode} do not lie "
                    "together. Sort the file by episode and step first."
                )
            self._begun.add(episode)
            self._current = episode
        if part.last:
            self._begun, self._current = set(), None
