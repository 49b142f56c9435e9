"""Pictures in a run: what decodes them is on record, and histories and chunks arrive from several nodes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import replay
from cluster.backends.serial_backend import SerialBackend
from cluster.errors import RunError
from cluster.options import Cadence, Role, Topology
from cluster.roles.replay_shard import ReplayShard
from cluster.routing import assemble, route
from cluster.serialization import pack_rows
from cluster.train import train
from replay import Box, DatasetWriter, Dict, Episode, Image, Request, Spaces, Store, View, draw, images
from tests.cluster.runs import SERIAL, recipe

SPACES = Spaces(Dict.of({"eye": Image((4, 5, 3)), "arm": Box((2,))}), Box((2,), low=(-1.0,), high=(1.0,)))


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight episodes of 3 to 10 steps, a shard each; some go on behind terminated and truncated steps."""
    folder = tmp_path_factory.mktemp("logs") / "pictures"
    rng = np.random.default_rng(0)
    with DatasetWriter(folder, SPACES, provenance={"by": "a test"}, shard_bytes=1, validation_fraction=0.0) as writer:
        for steps in range(3, 11):
            seen = {
                "eye": rng.integers(0, 256, (steps + 1, 4, 5, 3), np.uint8),
                "arm": rng.normal(size=(steps + 1, 2)).astype(np.float32),
            }
            action, reward = rng.uniform(-1, 1, (steps, 2)).astype(np.float32), rng.random(steps).astype(np.float32)
            terminated, truncated = ((rng.random(steps) < 0.2).astype(np.uint8) for _ in range(2))
            writer.add(Episode(seen, action, reward, terminated=terminated, truncated=truncated))
        writer.finish()
    return folder


@pytest.fixture
def view(logs: Path) -> View:
    return replay.open(logs).view()


@pytest.mark.parametrize(
    "fields",
    [
        {"history": 2},
        {"history": 2, "n_step": 3},
        {"action_chunk": 1},
        {"action_chunk": 3},
        {"action_chunk": 3, "n_step": 3, "history": 2},
    ],
)
def test_nodes_together_give_the_batch_of_one(view: View, fields: dict[str, Any]) -> None:
    request = Request(**fields)
    rows = draw(view, seed=0, sequence=0, count=40).take(np.random.default_rng(0).permutation(40))
    expected = dict(Store(view).gather(rows, request).columns())
    owner = np.arange(len(view.files)) // (len(view.files) // 2)
    nodes = [ReplayShard(view, np.flatnonzero(owner == node).tolist(), request) for node in (0, 1)]
    routed = route(rows, owner)
    assert [node for node, _ in routed.parts] == [0, 1]
    parts = [nodes[node].gather(pack_rows(part, request)) for node, part in routed.parts]
    found = dict(assemble(routed.assembly, parts).columns())
    assert found.keys() == expected.keys()
    for name in found.keys() - {"index"}:  # which is not sent where nobody asks for it
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_numbers_have_no_decoder(dataset: Path, view: View) -> None:
    assert ReplayShard(replay.open(dataset).view(), [0], Request()).fingerprint() == {}
    assert ReplayShard(view, [0], Request()).fingerprint() == {"decoder.image": images.library()}


def test_shard_actors_decode_on_as_many_threads_as_they_were_given(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    start = SerialBackend.start

    def noting(self: SerialBackend, name: str, role: type, options: Any, *args: Any, restartable: bool) -> Any:
        if role is ReplayShard:
            given.append(args[-1])
        return start(self, name, role, options, *args, restartable=restartable)

    monkeypatch.setattr(SerialBackend, "start", noting)
    run(logs, tmp_path / "run", threads=3)
    assert given == [3]


def test_a_run_goes_on_with_the_decoder_that_it_began_with(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(logs, tmp_path / "run")
    assert config(tmp_path)["machine"]["decoder.image"] == images.library()
    with monkeypatch.context() as patched:
        patched.setattr(images, "library", lambda: "pillow 1.0")
        with pytest.raises(RunError, match=r"steps up to 4 were .*decoder\.image: pillow .* against pillow 1\.0\)"):
            run(logs, tmp_path / "run", steps=8, resume=True)
        run(logs, tmp_path / "run", steps=8, resume=True, allow_mixed=True)
    assert [entry["machine"]["decoder.image"] for entry in config(tmp_path)["machines"]] == [
        images.library(),
        "pillow 1.0",
    ]


def test_a_run_from_before_decoders_were_recorded_goes_on(logs: Path, tmp_path: Path) -> None:
    run(logs, tmp_path / "run")
    record = config(tmp_path)
    for entry in (record["machine"], record["machines"][0]["machine"]):
        del entry["decoder.image"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(record))
    run(logs, tmp_path / "run", steps=8, resume=True)
    machines = config(tmp_path)["machines"]
    assert [(entry["step"], "decoder.image" in entry["machine"]) for entry in machines] == [(0, False), (4, True)]


def test_shard_actors_that_decode_differently_are_refused(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = iter(["pillow 1.0", "pillow 2.0"])
    monkeypatch.setattr(images, "library", lambda: next(versions))
    topology = Topology(serial=True, replay_shards=Role(count=2))
    with pytest.raises(RunError, match=r"replay_shard-0 and replay_shard-1 decode differently \(decoder\.image: pill"):
        run(logs, tmp_path / "run", topology=topology)
    assert not (tmp_path / "run").exists()


def config(folder: Path) -> Any:
    return json.loads((folder / "run" / "config.json").read_text())


def run(
    logs: Path,
    folder: Path,
    *,
    steps: int = 4,
    resume: bool = False,
    allow_mixed: bool = False,
    topology: Topology = SERIAL,
    threads: int = 1,
) -> None:
    what = recipe(logs, "bc", fused=True, steps=steps, batch_size=4, depth=0, threads=threads)
    cadence = Cadence(eval_every=0, checkpoint_every=4)
    train(what, replace(topology, allow_mixed=allow_mixed), cadence, run=folder, resume=resume)
