"""`minari:<id>` or `minari:<folder>`: Minari datasets, read without minari.

The HDF5 backend has one group per episode; the arrow and parquet backends have one folder per episode, whose
columns are all padded to T + 1 rows. Written after minari 0.5.4.

The folder may be a link. What is in it may not lead out of it: every file is a regular one of its own.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from replay import images
from replay.episode import Episode
from replay.errors import DataError
from replay.flags import as_flags
from replay.readers import minari_arrow, minari_spaces
from replay.readers.hdf5_safety import check_contained
from replay.readers.minari_spaces import Declared, Tree
from replay.readers.segment import RULES, Counts
from replay.readers.source import Options, Source, conversion_notes, inside, one_each, refuse
from replay.records import mapping, parsed
from replay.regular import read as read_regular
from replay.spaces import Box, Discrete, Image, Spaces, channels_last


def read(location: str, options: Options) -> Source:
    """Opens a dataset of the local Minari folder. Raises `DataError` for what cannot be kept as it is."""
    refuse(options, "minari", "env", "rename", "success_timing")
    data = _find(location)
    metadata = _json(inside(data / "metadata.json", data, _REMEDY))
    try:
        return _source(data, metadata, options.observation)
    except DataError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(
            f"{data / 'metadata.json'}: is not as minari writes it ({type(error).__name__}: {error}). {_REMEDY}"
        ) from error


_REMEDY = "Fetch the dataset again."
_LONGEST = 16 << 20
"""Bytes of metadata.json, of which minari writes some thousand."""


def _source(data: Path, metadata: dict[str, Any], key: str | None) -> Source:
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
    where_observed = f"{where}, observation_space"
    observed = minari_spaces.tree(declared["observation_space"], where_observed, jpeg)
    kept = minari_spaces.parts_of(observed, where_observed, key)
    action = minari_spaces.tree(declared["action_space"], f"{where}, action_space", jpeg)
    served = _kind(declared["action_space"]) in ("Box", "Discrete")
    if not (served and isinstance(action, Declared) and isinstance(action.leaf, Box | Discrete)):
        raise DataError(
            f"{where}, action_space: {_kind(declared['action_space'])} is not supported; expected Box or Discrete. "
            "Record the actions as one of those."
        )
    spaces = Spaces(minari_spaces.space_of(kept), action.leaf)
    notes = _notes(kept, action, minari_spaces.unsupported(observed, where_observed))
    backend = metadata.get("data_format", "hdf5")
    counts = Counts()
    count = int(metadata["total_episodes"])
    if backend == "hdf5":
        files = [inside(data / "main_data.hdf5", data, _REMEDY)]
        raw = _hdf5_episodes(files[0], count)
        notes += _infos_left_out(files[0])
    elif backend in ("arrow", "parquet"):
        # Before anything is opened, and no further than files are there, whatever the count says.
        parts = [_parts(data / str(number), backend, data) for number in range(count)]
        files = [file for episode in parts for file in episode]
        raw = minari_arrow.episodes(parts, backend, _COLUMNS, _SUCCESS)
    else:
        raise DataError(f"{where}, data_format: found {backend!r}, expected hdf5, arrow or parquet.")
    name = str(metadata.get("dataset_id") or data.parent.name)
    steps = int(metadata["total_steps"])
    return Source(
        spaces=spaces,
        episodes=_episodes(raw, _Form(observed, kept, action, jpeg, f"minari:{name}"), steps, where),
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


def _kind(record: Any) -> str:
    return str(record.get("type"))


def _notes(parts: Mapping[str, Declared], action: Declared, left_out: Mapping[str, str]) -> list[str]:
    """What is kept otherwise than it was recorded, and what is not kept."""
    named = {f"observation.{name}".rstrip("."): part for name, part in parts.items()}
    notes = conversion_notes({name: part.dtype for name, part in {**named, "action": action}.items()})
    for name, part in named.items():
        if isinstance(part.leaf, Image) and part.leaf.encoding == "jpeg":
            notes.append(f"{name}: stored by minari as lossy JPEG, kept as it is")
        elif isinstance(part.leaf, Image) and part.shape != part.leaf.shape:
            notes.append(f"{name}: pictures come channels first, {part.shape}; kept as {part.leaf.shape}")
        elif len(part.shape) > 1 and math.prod(part.shape) >= 1024:
            notes.append(
                f"{name}: {math.prod(part.shape):,} numbers a row, taken as a vector; pictures are uint8 "
                "(height, width, channels)"
            )
    return notes + [f"not ingested: {name}, a {kind}" for name, kind in left_out.items()]


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
    """An array, or dictionaries of arrays."""
    if hasattr(node, "keys"):
        return {key: _hdf5_value(node[key], f"{where}/{key}") for key in node}
    if not hasattr(node, "nbytes"):
        raise DataError(f"{where}: found {type(node).__name__}, expected an array. {_REMEDY}")
    return node[()]


def _infos_left_out(file: Path) -> list[str]:
    """A note that names what the infos of the first episode hold besides, if there are any."""
    import h5py

    try:
        with h5py.File(file, "r") as store:
            check_contained(store, file, packing=False)
            infos = store.get("episode_0/infos", {})
            names = [name for name in infos if name not in _SUCCESS] if hasattr(infos, "keys") else []
    except (OSError, RuntimeError):
        return []  # reading the episodes says what is wrong
    return [f"not ingested: {', '.join(f'infos/{name}' for name in sorted(names))}"] if names else []


def _parts(folder: Path, backend: str, data: Path) -> list[Path]:
    """The files of one episode; each lies in `data`."""
    parts = sorted(folder.glob(f"*.{backend}"))
    if not parts:
        raise DataError(f"{folder}: has no .{backend} file; metadata.json lists this episode. {_REMEDY}")
    return [inside(part, data, _REMEDY) for part in parts]


@dataclass(frozen=True)
class _Form:
    """What the columns of an episode are made by."""

    observed: Tree
    parts: dict[str, Declared]
    action: Declared
    jpeg: bool
    source: str


def _episodes(
    raw: Iterator[Raw], form: _Form, total_steps: int, where: str
) -> Iterator[tuple[str, Episode | DataError]]:
    steps = 0
    for label, columns in raw:
        try:
            yield label, _episode(label, columns, form)
        except DataError as error:
            yield label, error
        steps += np.size(columns["rewards"])
    if steps != total_steps:
        raise DataError(
            f"{where}: total_steps is {total_steps}, the episodes hold {steps}. "
            "The dataset is incomplete or was edited; fetch it again."
        )


def _episode(label: str, columns: dict[str, Any], form: _Form) -> Episode:
    stored = minari_spaces.values_of(columns["observations"], form.observed, f"{label}, observations")
    observation = {
        name: _column(stored[name], part, form.jpeg, f"{label}, observations/{name}".rstrip("/"))
        for name, part in form.parts.items()
    }
    flags = {
        name: as_flags(one_each(columns[name], f"{label}, {name}"), f"{label}, {name}")
        for name in ("terminations", "truncations")
    }
    return Episode(
        observation=observation[""] if form.parts.keys() == {""} else observation,
        action=_column(columns["actions"], form.action, False, f"{label}, actions"),
        reward=one_each(columns["rewards"], f"{label}, rewards"),
        terminated=flags["terminations"],
        truncated=flags["truncations"],
        source=form.source,
        success=_success(columns.get("success"), f"{label}, infos/success"),
    )


def _success(told: Any, where: str) -> bool | None:
    """Whether any step told of success; None where none said anything."""
    if told is None or np.size(told) == 0:
        return None
    return bool(as_flags(np.asarray(told).reshape(-1), where).any())


def _column(values: Any, part: Declared, jpeg: bool, where: str) -> Any:
    """Rows of a part: pictures as encoded bytes or with their channels last, tensors in their declared shape."""
    leaf = part.leaf
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
    if array.ndim == 2 and array.shape[1:] != part.shape and array.shape[1] == math.prod(part.shape):
        array = array.reshape(len(array), *part.shape)  # the arrow backend flattens each row
    return channels_last(array, leaf.shape) if isinstance(leaf, Image) else array


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
        **{key: _finite(metadata[key]) for key in keep if metadata.get(key)},
        "final_observation": RULES["stored"],
    }
    spec = metadata.get("env_spec")
    if spec:
        spec = _finite(json.loads(spec) if isinstance(spec, str) else spec)
        found["env_spec"] = {
            "id": spec["id"],
            "kwargs": spec.get("kwargs") or {},
            "max_episode_steps": spec.get("max_episode_steps"),
        }
    return found


def _finite(value: Any) -> Any:
    """dataset.json holds no infinities; as text they still tell a person what the environment was made with."""
    return json.loads(json.dumps(value), parse_constant=str)


def _reference_scores(metadata: dict[str, Any]) -> tuple[float, float] | None:
    low, high = metadata.get("ref_min_score"), metadata.get("ref_max_score")
    if low is None or high is None:
        return None
    if not (math.isfinite(float(low)) and math.isfinite(float(high))):
        raise ValueError(f"reference scores {low} and {high}, expected finite numbers")
    return float(low), float(high)


def _json(path: Path) -> dict[str, Any]:
    try:
        return mapping(parsed(read_regular(path, _LONGEST), finite=False), "metadata")
    except DataError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not a JSON object ({error}). {_REMEDY}") from error
