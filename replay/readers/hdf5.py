"""`hdf5:<file>`: the two layouts in which robot logs are kept in HDF5, told apart by what the file holds.

D4RL: flat arrays `observations`, `actions`, `rewards`, `terminals` and, if there, `timeouts` and
`next_observations`; any of them may have another name (`rename`), and further arrays may be renamed into columns.
robomimic: a group `data/demo_i` per episode (`replay/readers/robomimic.py`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from replay import memory
from replay.episode import flags
from replay.errors import DataError
from replay.flags import as_flags
from replay.readers import robomimic
from replay.readers.columns import block_rows, channels_last, column_space, left_out, some
from replay.readers.hdf5_safety import (
    DAMAGE,
    check_contained,
    check_packing,
    checked_array,
    closing,
    pictures,
    rows_of,
    text_of,
)
from replay.readers.segment import RULES, Block, Counts, segment
from replay.readers.source import (
    Options,
    Source,
    action_space,
    box,
    conversion_notes,
    env_spec,
    existing,
    minimum_and_maximum,
    one_each,
    refuse,
    told,
)
from replay.spaces import Spaces

_FLAT = {
    "observations": "observation",
    "next_observations": "next_observation",
    "actions": "action",
    "rewards": "reward",
    "terminals": "terminated",
    "timeouts": "truncated",
}
"""D4RL's names and ours."""
_FLAT_NEEDED = ("observation", "action", "reward", "terminated")


def read(location: str, options: Options) -> Source:
    """Opens an HDF5 file. Raises `DataError`, listing what the file holds, for any other layout, and for a file that
    would have other files opened."""
    refuse(options, "hdf5", "success_timing")
    import h5py

    path = existing(location, "hdf5")
    try:
        store = h5py.File(path, "r")
    except DAMAGE as error:
        raise DataError(f"{path}: is no HDF5 file, or is cut short ({told(error)}). Fetch it again.") from error
    try:
        check_contained(store, path, packing=False)
        try:
            return _layout(path, store, options)
        except DataError:
            raise
        except (OSError, RuntimeError) as error:  # HDF5's own
            raise DataError(f"{path}: is damaged ({told(error)}). Fetch it again.") from error
    except BaseException:
        store.close()
        raise


def _layout(path: Path, store: Any, options: Options) -> Source:
    import h5py

    data = store.get("data")
    if isinstance(data, h5py.Group) and any(robomimic.demo_number(name) is not None for name in data):
        return robomimic.source(path, store, data, options)
    names = _names(store, options.rename, path)
    missing = [name for name in _FLAT_NEEDED if name not in names]
    if missing:
        raise DataError(
            f"{path}: has no column for {', '.join(missing)}; found {_listed(store)}. Expected "
            "the D4RL layout (observations, actions, rewards, terminals) or robomimic's (data/demo_0, …). "
            "Give other names with --rename source=standard."
        )
    return _d4rl(path, store, names, options)


def _names(store: Any, rename: Mapping[str, str], path: Path) -> dict[str, str]:
    """Standard name to path in the file."""
    import h5py

    for theirs in _FLAT:
        if theirs not in rename and isinstance(store.get(theirs), h5py.Group):
            raise DataError(f"{path}, {theirs}: is a group, expected an array. Give an array's name with --rename.")
    names = {ours: theirs for theirs, ours in _FLAT.items() if isinstance(store.get(theirs), h5py.Dataset)}
    given: dict[str, str] = {}
    for theirs, ours in rename.items():
        if not isinstance(store.get(theirs), h5py.Dataset):
            raise DataError(f"{path}: rename names {theirs!r}; found {_listed(store)}.")
        ours = _FLAT.get(ours, ours)
        if ours in given:
            raise DataError(f"{path}: rename makes both {given[ours]!r} and {theirs!r} {ours}; leave one out.")
        given[ours] = theirs
    # What has another name is no longer what its own says.
    return {ours: theirs for ours, theirs in names.items() if theirs not in rename} | given


def _arrays(group: Any, above: str = "") -> dict[str, Any]:
    """Name to array, of what lies in a file: some hundreds, for people, and no deeper than they nest them."""
    import h5py

    found: dict[str, Any] = {}
    for name, node in group.items():
        path = f"{above}{text_of(name)}"
        if isinstance(node, h5py.Dataset):
            found[path] = node
        elif isinstance(node, h5py.Group) and path.count("/") < _DEEPEST_LISTED:
            found |= _arrays(node, f"{path}/")
        if len(found) >= _MOST_LISTED:
            break
    return found


_MOST_LISTED, _DEEPEST_LISTED = 300, 6


def _listed(store: Any) -> str:
    return some(f"{name} {array.shape}" for name, array in _arrays(store).items()) or "no arrays"


def _others(store: Any, names: Iterable[str]) -> dict[str, bool]:
    """Arrays that are not among `names`, and whether they look like pictures."""
    taken = {name.strip("/") for name in names}
    return {name: pictures(node) for name, node in _arrays(store).items() if name not in taken}


def _d4rl(path: Path, store: Any, names: dict[str, str], options: Options) -> Source:
    columns = {ours: store[theirs] for ours, theirs in names.items()}
    where = {ours: f"{path}, {theirs}" for ours, theirs in names.items()}
    found = {ours: checked_array(column, where[ours]) for ours, column in columns.items()}
    lengths = {names[ours]: shape[0] for ours, (shape, _) in found.items()}
    rows = lengths[names["reward"]]
    if set(lengths.values()) != {rows} or rows == 0:
        raise DataError(f"{path}: columns of different lengths, or empty: {lengths}. Expected one row per step.")
    (observed, kind), (acted, action_kind) = found["observation"], found["action"]
    if "next_observation" in found and found["next_observation"][0] != observed:
        raise DataError(
            f"{where['next_observation']}: found shape {found['next_observation'][0]}, "
            f"expected {observed} as {names['observation']} has."
        )
    for ours, column in columns.items():
        check_packing(column, where[ours])
    notes = conversion_notes({"observation": kind, "action": action_kind})
    if "truncated" not in columns:
        notes.append("timeouts: not in the source; episodes end only where they terminate, or where rows are missing")
    extras = {name: box(shape[1:], dtype) for name, (shape, dtype) in found.items() if name not in _FLAT.values()}
    notes += left_out(_others(store, names.values()), "give a name with --rename to keep one")
    width = sum(math.prod(shape[1:]) * dtype.itemsize for shape, dtype in found.values())
    read_rows = min(block_rows(width, options.block_rows), rows)
    # A chunk is unpacked anew for each piece that is read of it.
    whole = min(max(column.chunks[0] if column.chunks else 1 for column in columns.values()), options.block_rows, rows)
    if read_rows < whole and 8 * whole * width <= memory.available_bytes():
        read_rows = whole
    memory.require(4 * read_rows * width, str(path), f"reading {read_rows:,} rows", "use a machine with more.")
    low, high = minimum_and_maximum(
        rows_of(columns["action"], where["action"], start, start + read_rows) for start in range(0, rows, read_rows)
    )
    spaces = Spaces(
        column_space(observed[1:], kind, where["observation"], "observation", notes),
        action_space(low, high, acted[1:], action_kind, notes, where=where["action"]),
    )
    counts = Counts()
    blocks = _d4rl_blocks(columns, where, list(extras), spaces.observation, read_rows)
    return Source(
        spaces=spaces,
        episodes=closing(path, store, segment(blocks, counts, source=f"hdf5:{path.stem}")),
        provenance={
            "format": "hdf5 (D4RL)",
            "attributes": _attributes(store, path),
            "final_observation": RULES["next" if "next_observation" in columns else "lost"],
            **env_spec(options.env),
        },
        files=[path],
        expected_rows=rows,
        expected_transitions=rows,
        extras=extras,
        notes=notes,
        counts=counts,
    )


def _d4rl_blocks(
    columns: dict[str, Any], where: dict[str, str], extras: list[str], space: Any, read_rows: int
) -> Iterator[Block]:
    for start in range(0, columns["reward"].shape[0], read_rows):
        part = {name: rows_of(column, where[name], start, start + read_rows) for name, column in columns.items()}
        for name in ("reward", "terminated", "truncated"):
            if name in part:
                part[name] = one_each(part[name], where[name])
        # Whose flag it is, is what flags say: with one that is none, no episode can be left out.
        for name in ("terminated", "truncated"):
            if name in part:
                part[name] = as_flags(part[name], where[name], first=start)
        terminated = part["terminated"]
        truncated = part.get("truncated", flags(len(terminated)))
        after = part.get("next_observation")
        yield Block(
            observation={"observation": channels_last(part["observation"], space)},
            action=part["action"],
            reward=part["reward"],
            terminated=terminated,
            truncated=truncated,
            end=terminated | truncated,
            next_observation={} if after is None else {"observation": channels_last(after, space)},
            extras={name: part[name] for name in extras},
        )


def _attributes(store: Any, path: Path) -> dict[str, str]:
    """What a file says of itself, the first hundred words of it, cut to a length that a record may have."""
    try:
        return {
            text_of(name)[:_LONGEST_ATTRIBUTE]: text_of(store.attrs[name])[:_LONGEST_ATTRIBUTE]
            for name in itertools.islice(store.attrs, 100)
        }
    except DAMAGE as error:
        raise DataError(f"{path}: has attributes that cannot be read ({told(error)}). Fetch it again.") from error


_LONGEST_ATTRIBUTE = 1000
