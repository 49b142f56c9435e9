"""A dataset folder of our own or an online store, ingested again: with a reward function, one observation key, …"""

from __future__ import annotations

from collections.abc import Iterator

from replay.dataset import Dataset
from replay.episode import Episode
from replay.errors import DataError
from replay.online.journal import JOURNAL, STORE
from replay.online.store_state import is_store
from replay.readers.source import Options, Source, expanded, refuse


def read(location: str, options: Options) -> Source:
    """Opens a dataset; raises `DataError` where there is none. Splits, tags and provenance are kept."""
    refuse(options, "dataset folder", "rename", "success_timing")
    path = expanded(location, location)
    if not (path / "dataset.json").is_file() and not is_store(path):
        hint = ""
        if any((path / part).is_file() for part in ("metadata.json", "data/metadata.json")):
            hint = f" It looks like a Minari dataset: write minari:{location}."
        elif path.suffix in (".npz", ".hdf5", ".h5", ".parquet"):
            scheme = {".npz": "ogbench", ".parquet": "parquet"}.get(path.suffix, "hdf5")
            hint = f" Write {scheme}:{location}."
        raise DataError(f"{location}: is no dataset folder (it has no dataset.json).{hint}")
    dataset = Dataset.open(path)
    provenance = {
        "format": "quiver dataset",
        "ingested_from": dict(dataset.provenance),
        "parent": {"name": path.name, "sha256": dataset.fingerprint},
    }
    for name in ("env_spec", "observation_key", "collected_by", "licence"):
        if name in dataset.provenance:
            provenance[name] = dataset.provenance[name]
    if options.env:
        provenance["env_spec"] = {"id": options.env, "kwargs": {}, "max_episode_steps": None}
    return Source(
        spaces=dataset.spaces,
        episodes=_episodes(dataset),
        provenance=provenance,
        files=[path / name for name in ("dataset.json", STORE, JOURNAL) if (path / name).is_file()],
        expected_rows=dataset.num_transitions + dataset.num_episodes,
        expected_transitions=dataset.num_transitions,
        extras=dict(dataset.extras),
        reference_scores=dataset.reference_scores,
    )


def _episodes(dataset: Dataset) -> Iterator[tuple[str, Episode | DataError]]:
    for number in range(dataset.num_episodes):
        yield f"episode {number}", dataset.episode(number)
