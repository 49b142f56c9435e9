"""`minari:<id>` or `minari:<folder>`: Minari datasets, read without minari.

The HDF5 backend has one group per episode; the arrow and parquet backends have one folder per episode, whose
columns are all padded to T + 1 rows. Written after minari 0.5.4.

The folder may be a link. What is in it may not lead out of it: every file is a regular one of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from replay import images
from replay.episode import Episode
from replay.errors import DataError
from replay.flags import as_flags
from replay.readers.hdf5_safety import check_contained
from replay.readers.source import Options, Source, box, conversion_notes, inside, one_each, refuse
from replay.segment import RULES, Counts
from replay.spaces import Box, Dict, Discrete, Image, Leaf, Space, Spaces, observation_columns

LONGEST_ARROW_EPISODE = 32_767
"""Longer ones come back cut or out of order from minari's own writer (Farama-Foundation/Minari issue 351)."""


def read(location: str, options: Options) -> Source:
    """Opens a dataset of the local Minari folder. Raises `DataError` for what cannot be kept as it is."""
    refuse(options, "minari", "env", "rename", "success_timing")
    data = _find(location)
    metadata = _json(inside(data / "metadata.json", data, _REMEDY))
    try:
        return _source(data, metadata)
    except DataError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(
            f"{data / 'metadata.json'}: is not as minari writes it ({type(error).__name__}: {error}). {_REMEDY}"
        ) from error


_REMEDY = "Fetch the dataset again."


def _source(data: Path, metadata: dict[str, Any]) -> Source:
    where = f"{data / 'metadata.json'}"
    declared: dict[str, Any] = {}
    for name in ("observation_space", "action_space"):
        if name not in metadata:
            raise DataError(
                f"{where}: has no {name}; expected a dataset written by minari 0.5 or later. "
                "Convert it with a recent minari first."
            )
        declared[name] = json.loads(metadata[name]) if isinstance(metadata[name], str) else metadata[name]
    jpeg = bool(metadata.get("jpeg_encoding", True))
    observation = _space(declared["observation_space"], f"{where}, observation_space", jpeg)
    action = _space(declared["action_space"], f"{where}, action_space", jpeg)
    if not isinstance(action, Box | Discrete):
        raise DataError(f"{where}, action_space: {type(action).__name__} is not supported; expected Box or Discrete.")
    spaces = Spaces(observation, action)
    notes = conversion_notes(_declared_dtypes(declared))
    notes += [
        f"{name}: stored by minari as lossy JPEG, kept as it is"
        for name, leaf in observation_columns(observation).items()
        if isinstance(leaf, Image) and leaf.encoding == "jpeg"
    ]
    backend = metadata.get("data_format", "hdf5")
    counts = Counts()
    count = int(metadata["total_episodes"])
    if backend == "hdf5":
        files = [inside(data / "main_data.hdf5", data, _REMEDY)]
        raw = _hdf5_episodes(files[0], count)
    elif backend in ("arrow", "parquet"):
        # Before anything is opened, and no further than files are there, whatever the count says.
        parts = [_parts(data / str(number), backend, data) for number in range(count)]
        files = [file for episode in parts for file in episode]
        raw = _arrow_episodes(parts, backend)
    else:
        raise DataError(f"{where}, data_format: found {backend!r}, expected hdf5, arrow or parquet.")
    name = str(metadata.get("dataset_id") or data.parent.name)
    steps = int(metadata["total_steps"])
    return Source(
        spaces=spaces,
        episodes=_episodes(raw, spaces, jpeg, f"minari:{name}", steps, where),
        provenance=_provenance(metadata, name, backend),
        files=files,
        expected_rows=steps + count,
        expected_transitions=steps,
        reference_scores=_reference_scores(metadata),
        notes=notes,
        counts=counts,
    )


def _find(location: str) -> Path:
    root = Path(os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets")
    for folder in (Path(location).expanduser(), root / location):
        for data in (folder / "data", folder):
            if (data / "metadata.json").is_file():
                return data
    present = [str(file.parent.parent.relative_to(root)) for file in root.glob("*/**/data/metadata.json")]
    close = get_close_matches(location, present, n=3, cutoff=0.4)
    hint = f" Did you mean {', '.join(close)}?" if close else ""
    raise DataError(
        f"minari:{location}: is neither a folder with data/metadata.json nor a dataset in {root}.{hint} "
        f"`minari download {location}` fetches published ones; MINARI_DATASETS_PATH names another root."
    )


def _space(record: dict[str, Any], where: str, jpeg: bool) -> Space:
    """Our space for minari's JSON record of a gymnasium space."""
    match record.get("type"):
        case "Box":
            shape, dtype = tuple(record["shape"]), np.dtype(record["dtype"])
            low, high = np.asarray(record["low"], np.float64), np.asarray(record["high"], np.float64)
            if _is_image(shape, dtype, low, high) and len(shape) == 3 and (jpeg or shape[2] in (1, 3, 4)):
                return Image(shape, "jpeg" if jpeg else "png")
            return box(shape, dtype, low, high)
        case "Discrete":
            return Discrete(int(record["n"]), int(record.get("start", 0)))
        case "Dict":
            parts: dict[str, Leaf] = {}
            for key, part in record["subspaces"].items():
                leaf = _space(part, f"{where}.{key}", jpeg)
                if isinstance(leaf, Dict):
                    raise DataError(
                        f"{where}.{key}: a Dict inside a Dict is not supported; flatten it before recording."
                    )
                parts[key] = leaf
            return Dict.of(parts)
        case other:
            raise DataError(f"{where}: {other} is not supported; expected Box, Discrete or a Dict of those.")


def _is_image(shape: tuple[int, ...], dtype: np.dtype[Any], low: np.ndarray, high: np.ndarray) -> bool:
    """The boxes that minari takes for pictures, and stores as JPEG where `jpeg_encoding` is set."""
    large = len(shape) in (2, 3) and min(shape[:2]) >= 32
    return large and dtype == np.uint8 and bool(np.all(low == 0) and np.all(high == 255))


def _declared_dtypes(declared: dict[str, Any]) -> dict[str, str]:
    observation = declared["observation_space"]
    parts = observation["subspaces"] if observation["type"] == "Dict" else {"": observation}
    found = {f"observation.{key}".rstrip("."): part for key, part in parts.items()}
    found["action"] = declared["action_space"]
    return {name: part["dtype"] for name, part in found.items() if part["type"] == "Box"}


Raw = tuple[str, dict[str, Any]]


def _hdf5_episodes(file: Path, episodes: int) -> Iterator[Raw]:
    import h5py

    try:
        with h5py.File(file, "r") as store:
            check_contained(store, file)
            yield from _groups(file, store, episodes)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{file}: is no whole HDF5 file ({error}). Fetch the dataset again.") from error


def _groups(file: Path, store: Any, episodes: int) -> Iterator[Raw]:
    for number in range(episodes):
        name = f"episode_{number}"
        if name not in store:
            raise DataError(f"{file}: has no group {name}; metadata.json says {episodes} episodes.")
        group = store[name]
        missing = [key for key in _COLUMNS if key not in group]
        if missing:
            raise DataError(f"{file}, {name}: lacks {', '.join(missing)}; expected {', '.join(_COLUMNS)}.")
        raw = {key: _hdf5_value(group[key], f"{file}, {name}/{key}") for key in _COLUMNS}
        infos = group.get("infos", {})
        for key in _SUCCESS:
            if key in infos:
                raw["success"] = _hdf5_value(infos[key], f"{file}, {name}/infos/{key}")
        yield f"{file}: {name}", raw


_COLUMNS = ("observations", "actions", "rewards", "terminations", "truncations")
_SUCCESS = ("success", "is_success")


def _hdf5_value(node: Any, where: str) -> Any:
    """An array, or a dictionary of arrays; deeper groups are no part of any space that is kept."""
    if not hasattr(node, "keys"):
        return node[()]
    deeper = [key for key in node if hasattr(node[key], "keys")]
    if deeper:
        raise DataError(f"{where}: holds the group {deeper[0]}, expected arrays. Flatten it before recording.")
    return {key: node[key][()] for key in node}


def _arrow_episodes(episodes: Sequence[list[Path]], backend: str) -> Iterator[Raw]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    def value(column: Any) -> Any:
        if pa.types.is_struct(column.type):
            return {f.name: value(pc.struct_field(column, f.name)) for f in column.type}
        if pa.types.is_fixed_size_list(column.type):
            flat = column.flatten().to_numpy(zero_copy_only=False)
            return flat.reshape(len(column), column.type.list_size)
        if pa.types.is_binary(column.type):
            return column.to_pylist()
        return column.to_numpy(zero_copy_only=False)

    for parts in episodes:
        folder = parts[0].parent
        tables = []
        for part in parts:
            try:
                if backend == "parquet":
                    tables.append(pq.read_table(part))
                else:
                    with pa.ipc.open_file(part) as reader:
                        tables.append(reader.read_all())
            except (pa.ArrowException, OSError) as error:
                raise DataError(f"{part}: is no {backend} file ({error}). Fetch the dataset again.") from error
        table = pa.concat_tables(tables)
        T = table.num_rows - 1
        if T > LONGEST_ARROW_EPISODE:
            raise DataError(
                f"{folder}: an episode of {T} steps, expected at most {LONGEST_ARROW_EPISODE}. Minari's {backend} "
                "backend stores longer ones cut or out of order (its issue 351); record them with data_format=hdf5."
            )
        missing = [key for key in _COLUMNS if key not in table.column_names]
        if missing:
            raise DataError(f"{folder}: lacks {', '.join(missing)}; expected {', '.join(_COLUMNS)}.")
        raw = {key: value(table[key].combine_chunks()) for key in _COLUMNS}
        for key in _COLUMNS[1:]:
            raw[key] = raw[key][:T]  # the last row of these columns is filler
        if "infos" in table.column_names:
            infos = table["infos"].combine_chunks()
            for key in _SUCCESS:
                if infos.type.get_field_index(key) >= 0:
                    raw["success"] = value(pc.struct_field(infos, key).drop_null())
        yield f"{folder}", raw


def _parts(folder: Path, backend: str, data: Path) -> list[Path]:
    """The files of one episode; each lies in `data`."""
    parts = sorted(folder.glob(f"*.{backend}"))
    if not parts:
        raise DataError(f"{folder}: has no .{backend} file; metadata.json lists this episode. {_REMEDY}")
    return [inside(part, data, _REMEDY) for part in parts]


def _episodes(
    raw: Iterator[Raw], spaces: Spaces, jpeg: bool, source: str, total_steps: int, where: str
) -> Iterator[tuple[str, Episode | DataError]]:
    steps = 0
    for label, columns in raw:
        try:
            yield label, _episode(label, columns, spaces, jpeg, source)
        except DataError as error:
            yield label, error
        steps += np.size(columns["rewards"])
    if steps != total_steps:
        raise DataError(
            f"{where}: total_steps is {total_steps}, the episodes hold {steps}. "
            "The dataset is incomplete or was edited; fetch it again."
        )


def _episode(label: str, columns: dict[str, Any], spaces: Spaces, jpeg: bool, source: str) -> Episode:
    observation = columns["observations"]
    if isinstance(spaces.observation, Dict):
        if not isinstance(observation, dict):
            raise DataError(f"{label}, observations: found one array, expected a group as declared.")
        parts = dict(spaces.observation.items())
        observation = {
            key: _column(part, parts[key], jpeg, f"{label}, observations/{key}") if key in parts else part
            for key, part in observation.items()
        }
    else:
        observation = _column(observation, spaces.observation, jpeg, f"{label}, observations")
    flags = {
        name: as_flags(one_each(columns[name], f"{label}, {name}"), f"{label}, {name}")
        for name in ("terminations", "truncations")
    }
    return Episode(
        observation=observation,
        action=_column(columns["actions"], spaces.action, False, f"{label}, actions"),
        reward=one_each(columns["rewards"], f"{label}, rewards"),
        terminated=flags["terminations"],
        truncated=flags["truncations"],
        source=source,
        success=_success(columns.get("success"), f"{label}, infos/success"),
    )


def _success(told: Any, where: str) -> bool | None:
    """Whether any step told of success; None where none said anything."""
    if told is None or np.size(told) == 0:
        return None
    return bool(as_flags(np.asarray(told).reshape(-1), where).any())


def _column(values: Any, leaf: Leaf, jpeg: bool, where: str) -> Any:
    """Rows of `leaf`: pictures as encoded bytes, tensors in their declared shape."""
    if isinstance(values, dict):
        raise DataError(f"{where}: found a group, expected one array as declared.")
    if isinstance(leaf, Image) and leaf.encoding == "jpeg":
        return [_bytes(picture, f"{where}, step {step}") for step, picture in enumerate(values)]
    if jpeg and isinstance(leaf, Box) and leaf.dtype == "uint8" and len(values) and _encoded(values, leaf):
        space = Image((*leaf.shape, 1), "jpeg")
        pictures = [_bytes(picture, f"{where}, step {step}") for step, picture in enumerate(values)]
        for step, picture in enumerate(pictures):
            images.check(picture, space, f"{where}, step {step}")
        return np.stack([images.decode(picture, space.shape, where)[:, :, 0] for picture in pictures])
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1:] != leaf.shape and array.shape[1] == int(np.prod(leaf.shape)):
        return array.reshape(len(array), *leaf.shape)  # the arrow backend flattens each row
    return array


def _bytes(picture: Any, where: str) -> bytes:
    """An encoded picture, as bytes or an array of them. (`bytes` of a number would be that many zeros.)"""
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8:
        return picture.tobytes()
    raise DataError(f"{where}: found {type(picture).__name__}, expected an encoded picture.")


def _encoded(values: Any, leaf: Box) -> bool:
    """Whether these are JPEG files of grey pictures (rows, columns), which minari compresses too."""
    first = values[0]
    if len(leaf.shape) != 2 or np.shape(first) == leaf.shape or not isinstance(first, bytes | np.ndarray):
        return False
    return bytes(first[:2]) == b"\xff\xd8"


def _provenance(metadata: dict[str, Any], name: str, backend: str) -> dict[str, Any]:
    keep = ("algorithm_name", "author", "code_permalink", "description", "minari_version", "license")
    found: dict[str, Any] = {
        "format": f"minari ({backend})",
        "dataset_id": name,
        **{key: metadata[key] for key in keep if metadata.get(key)},
        "final_observation": RULES["stored"],
    }
    spec = metadata.get("env_spec")
    if spec:
        # dataset.json holds no infinities; as text they still tell a person what the environment was made with.
        spec = json.loads(spec if isinstance(spec, str) else json.dumps(spec), parse_constant=str)
        found["env_spec"] = {
            "id": spec["id"],
            "kwargs": spec.get("kwargs") or {},
            "max_episode_steps": spec.get("max_episode_steps"),
        }
    return found


def _reference_scores(metadata: dict[str, Any]) -> tuple[float, float] | None:
    low, high = metadata.get("ref_min_score"), metadata.get("ref_max_score")
    return None if low is None or high is None else (float(low), float(high))


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: is not a JSON object ({error}). Fetch the dataset again.") from error
