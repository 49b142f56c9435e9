"""A log from somebody else opens nothing but itself."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import replay
from replay.errors import DataError
from replay.ingest import ingest

SECRET = bytes(range(24))


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of the person who ingests."""
    path = tmp_path / "secret"
    path.write_bytes(SECRET)
    with h5py.File(tmp_path / "secret.hdf5", "w") as file:
        file["observations"] = np.full((6, 1), 7.0)
        file["group/eef"] = np.full((3, 1), 7.0)
    return path


def d4rl(path: Path) -> h5py.File:
    file = h5py.File(path, "w")
    file["actions"], file["rewards"] = np.zeros((6, 1)), np.zeros(6)
    file["terminals"] = np.array([0, 0, 1, 0, 0, 1])
    return file


def external_storage(file: h5py.File, secret: Path) -> None:
    file.create_dataset("observations", (6, 1), np.float32, external=[(str(secret), 0, 24)])


def external_link(file: h5py.File, secret: Path) -> None:
    file["observations"] = h5py.ExternalLink(f"{secret}.hdf5", "/observations")


def soft_link_through_an_external_one(file: h5py.File, secret: Path) -> None:
    file["there"] = h5py.ExternalLink(f"{secret}.hdf5", "/")
    file["observations"] = h5py.SoftLink("/there/observations")


def virtual(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout((6, 1), np.float64)
    layout[:] = h5py.VirtualSource(f"{secret}.hdf5", "observations", (6, 1))
    file.create_virtual_dataset("observations", layout)


def unused_external_link(file: h5py.File, secret: Path) -> None:
    file["observations"] = np.zeros((6, 1))
    file["far/away/more"] = h5py.ExternalLink(f"{secret}.hdf5", "/")


def circle(file: h5py.File, secret: Path) -> None:
    file["observations"] = np.zeros((6, 1))
    file["one/two/three"] = h5py.SoftLink("/one")


def circle_of_two(file: h5py.File, secret: Path) -> None:
    file["observations"] = np.zeros((6, 1))
    file.create_group("one")
    file.create_group("two")
    file["one/next"], file["two/next"] = h5py.SoftLink("/two"), h5py.SoftLink("/one")


def circle_of_hard_links(file: h5py.File, secret: Path) -> None:
    file["observations"] = np.zeros((6, 1))
    file["one/two"] = file.create_group("one")


def links_to_each_other(file: h5py.File, secret: Path) -> None:
    file["observations"] = h5py.SoftLink("/more")
    file["more"] = h5py.SoftLink("/observations")


def nowhere(file: h5py.File, secret: Path) -> None:
    file["observations"] = h5py.SoftLink("/absent")


HDF5: list[tuple[Callable[[h5py.File, Path], None], str]] = [
    (external_storage, r"observations: keeps its numbers in other files \(b?'.*secret'\)"),
    (external_link, r"observations: is an external link, to another file"),
    (soft_link_through_an_external_one, r"there: is an external link"),
    (virtual, r"observations: is a virtual dataset"),
    (unused_external_link, r"far/away/more: is an external link"),
    (circle, r"one/two/three: is a link to a group that holds it, a circle"),
    (circle_of_two, r"(one/next/next|two/next/next): is a link to a group that holds it"),
    (circle_of_hard_links, r"one/two: is a link to a group that holds it"),
    (links_to_each_other, r"(more|observations): is a link that leads nowhere"),
    (nowhere, r"observations: is a link that leads nowhere"),
]


@pytest.mark.parametrize(("harm", "message"), HDF5, ids=[harm.__name__ for harm, _ in HDF5])
def test_an_hdf5_file_opens_no_other(tmp_path: Path, secret: Path, harm: Any, message: str) -> None:
    with d4rl(tmp_path / "log.hdf5") as file:
        harm(file, secret)
    with pytest.raises(DataError, match=rf"log.hdf5, {message}"):
        ingest(f"hdf5:{tmp_path / 'log.hdf5'}", tmp_path / "out")
    with pytest.raises(DataError, match=rf"log.hdf5, {message}"):
        ingest(f"hdf5:{tmp_path / 'log.hdf5'}", tmp_path / "out", quarantine=True)
    assert not (tmp_path / "out").exists()


def test_links_inside_the_file_stay(tmp_path: Path) -> None:
    with d4rl(tmp_path / "log.hdf5") as file:
        file["parts/position"] = np.arange(6.0)[:, None]
        file["observations"] = h5py.SoftLink("/parts/position")
        file["parts/again"] = file["parts/position"]
        file["both"] = h5py.SoftLink("/parts")
    ingest(f"hdf5:{tmp_path / 'log.hdf5'}", tmp_path / "out")
    assert replay.open(tmp_path / "out").episode(1).observation[:, 0].tolist() == [3, 4, 5, 5]


def test_robomimic_opens_no_other_file(tmp_path: Path, secret: Path) -> None:
    with h5py.File(tmp_path / "log.hdf5", "w") as file:
        demo = file.create_group("data/demo_0")
        demo["dones"], demo["actions"], demo["rewards"] = [0, 0, 1], np.zeros((3, 1)), np.zeros(3)
        demo["obs"] = h5py.ExternalLink(f"{secret}.hdf5", "/group")
    with pytest.raises(DataError, match=r"log.hdf5, data/demo_0/obs: is an external link"):
        ingest(f"hdf5:{tmp_path / 'log.hdf5'}", tmp_path / "out")


@pytest.mark.parametrize("cut", [600, 1200, 2048])
def test_a_damaged_hdf5_file_is_told_as_one(tmp_path: Path, cut: int) -> None:
    with d4rl(tmp_path / "log.hdf5") as file:
        file["observations"] = np.zeros((6, 1))
    path = tmp_path / "log.hdf5"
    data = bytearray(path.read_bytes())
    data[cut : cut + 200] = b"\xff" * 200
    path.write_bytes(bytes(data))
    try:
        ingest(f"hdf5:{path}", tmp_path / "out")
    except DataError as error:
        assert "log.hdf5" in str(error)  # noqa: PT017  not every byte matters


# --- Files that are none ---


@pytest.mark.parametrize("scheme", ["hdf5", "ogbench", "parquet"])
@pytest.mark.parametrize("kind", ["pipe", "device", "link to a device", "folder"])
def test_only_regular_files_are_opened(tmp_path: Path, scheme: str, kind: str) -> None:
    """A pipe would be waited for, `/dev/zero` never ends."""
    path = tmp_path / "log"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        path.symlink_to("/dev/zero")
    expected = {"pipe": "found a named pipe", "folder": "(found a folder|no file matches)"}.get(kind, "found a device")
    with pytest.raises(DataError, match=expected):
        ingest(f"{scheme}:{path}", tmp_path / "out")


def test_a_parquet_file_that_names_another_is_refused(tmp_path: Path) -> None:
    table = pa.table({"observation": [[0.0]] * 2, "action": [[0.0]] * 2, "terminated": [False, True]})
    collected: list[Any] = []
    pq.write_table(table, tmp_path / "other.parquet", metadata_collector=collected)
    collected[0].set_file_path("/etc/passwd")
    collected[0].write_metadata_file(tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"log.parquet: keeps columns in another file \('/etc/passwd'\)"):
        ingest(f"parquet:{tmp_path / 'log.parquet'}", tmp_path / "out")


def test_a_pattern_may_find_links_as_download_caches_are_made_of(tmp_path: Path) -> None:
    table = pa.table({"observation": [[0.0]] * 2, "action": [[0.0]] * 2, "terminated": [False, True]})
    pq.write_table(table, tmp_path / "blob")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "log.parquet").symlink_to(tmp_path / "blob")
    assert ingest(f"parquet:{tmp_path}/snapshot/*.parquet", tmp_path / "out").transitions == 2


# --- Minari ---


def minari(folder: Path, backend: str = "hdf5") -> Path:
    """One episode of two steps; returns its data folder."""
    data = folder / "data"
    data.mkdir(parents=True)
    box = {"type": "Box", "dtype": "float32", "shape": [1], "low": [-10.0], "high": [10.0]}
    metadata = {
        "observation_space": json.dumps(box),
        "action_space": json.dumps(box),
        "total_episodes": 1,
        "total_steps": 2,
        "data_format": backend,
    }
    (data / "metadata.json").write_text(json.dumps(metadata))
    columns = {
        "observations": np.array([[0], [1], [2]], np.float32),
        "actions": np.zeros((2, 1), np.float32),
        "rewards": np.zeros(2),
        "terminations": np.array([False, True]),
        "truncations": np.zeros(2, bool),
    }
    if backend == "hdf5":
        with h5py.File(data / "main_data.hdf5", "w") as file:
            for name, column in columns.items():
                file[f"episode_0/{name}"] = column
        return data
    (data / "0").mkdir()
    padded = {name: np.resize(column, (3, *column.shape[1:])) for name, column in columns.items()}
    lists = {name: pa.FixedSizeListArray.from_arrays(pa.array(c.reshape(-1)), 1) if c.ndim == 2 else pa.array(c)
             for name, c in padded.items()}  # fmt: skip
    pq.write_table(pa.table(lists), data / "0" / "episode.parquet")
    return data


def moved(path: Path, away: Path) -> None:
    """A link in the place of what now lies elsewhere."""
    away.mkdir(exist_ok=True)
    path.rename(away / path.name)
    path.symlink_to(away / path.name)


@pytest.mark.parametrize("backend", ["hdf5", "parquet"])
def test_a_minari_folder_may_be_a_link(tmp_path: Path, backend: str) -> None:
    minari(tmp_path / "real", backend)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert ingest(f"minari:{tmp_path / 'link'}", tmp_path / "out").transitions == 2


@pytest.mark.parametrize(
    ("backend", "name"),
    [
        ("hdf5", "metadata.json"),
        ("hdf5", "main_data.hdf5"),
        ("parquet", "0"),
        ("parquet", "0/episode.parquet"),
    ],
)
def test_links_that_leave_a_minari_folder_are_refused(tmp_path: Path, backend: str, name: str) -> None:
    data = minari(tmp_path / "set", backend)
    moved(data / name, tmp_path / "away")
    with pytest.raises(DataError, match=r"set/data/.*: is a link to .*/away/.*, outside .*set/data"):
        ingest(f"minari:{tmp_path / 'set'}", tmp_path / "out")


def test_a_minari_file_opens_no_other(tmp_path: Path, secret: Path) -> None:
    data = minari(tmp_path / "set")
    with h5py.File(data / "main_data.hdf5", "a") as file:
        del file["episode_0/observations"]
        file["episode_0"].create_dataset("observations", (3, 1), np.float32, external=[(str(secret), 0, 12)])
    with pytest.raises(DataError, match=r"main_data.hdf5, episode_0/observations: keeps its numbers in other files"):
        ingest(f"minari:{tmp_path / 'set'}", tmp_path / "out", quarantine=True)


def test_a_minari_pipe_is_not_waited_for(tmp_path: Path) -> None:
    data = minari(tmp_path / "set")
    (data / "main_data.hdf5").unlink()
    os.mkfifo(data / "main_data.hdf5")
    with pytest.raises(DataError, match=r"main_data.hdf5: found a named pipe there"):
        ingest(f"minari:{tmp_path / 'set'}", tmp_path / "out")


@pytest.mark.parametrize("changes", [{"total_steps": "many"}, {"total_episodes": None}, {"action_space": "{"}, None])
def test_minari_metadata_that_is_not_as_minari_writes_it_is_refused(tmp_path: Path, changes: Any) -> None:
    data = minari(tmp_path / "set")
    metadata = json.loads((data / "metadata.json").read_text())
    (data / "metadata.json").write_text("[" * 100_000 if changes is None else json.dumps(metadata | changes))
    with pytest.raises(DataError, match=r"metadata.json: is not (as minari writes it|a JSON object)"):
        ingest(f"minari:{tmp_path / 'set'}", tmp_path / "out")


def test_minari_flags_are_flags_and_a_damaged_episode_may_be_left_out(tmp_path: Path) -> None:
    data = minari(tmp_path / "set")
    metadata = json.loads((data / "metadata.json").read_text())
    (data / "metadata.json").write_text(json.dumps(metadata | {"total_episodes": 2, "total_steps": 4}))
    with h5py.File(data / "main_data.hdf5", "a") as file:
        file.copy("episode_0", "episode_1")
        del file["episode_1/terminations"]
        file["episode_1/terminations"] = np.array([0.0, np.nan])
        file["episode_0/infos/success"] = np.array([0.0, 0.0, 1.0])
        file["episode_1/infos/success"] = np.array([0.0, np.nan, 0.0])
    message = r"main_data.hdf5: episode_1, terminations: found nan at row 1"
    with pytest.raises(DataError, match=message):
        ingest(f"minari:{tmp_path / 'set'}", tmp_path / "out")
    report = ingest(f"minari:{tmp_path / 'set'}", tmp_path / "out", quarantine=True)
    assert (report.episodes, report.counts.quarantined) == (1, 1)
    assert replay.open(tmp_path / "out").episodes["success"].tolist() == [1]
