"""A run's folder from anybody: whatever is not as a run writes it is refused by file and field, by every command."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster import checkpoint, cli
from cluster.checkpoint_record import sealed
from cluster.commands import finetune, train
from cluster.errors import RunError
from cluster.options import Cadence, OnlineRecipe, Recipe, Topology, as_json
from cluster.policy import load_policy
from cluster.report.page import write_report
from cluster.run_folder import MetricsWriter, RunFolder
from cluster.run_record import check_config
from cluster.snapshots import Snapshots
from tests.cluster.run_folders import config, metrics, write_run
from tests.cluster.runs import QUIET, make_dataset, recipe, run_once
from tests.cluster.test_finetune_command import online_config

GONE = object()
HUGE = 10**400


def changed(record: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """The record with another value at a place such as `datasets.0.path`; GONE takes it out."""
    record = json.loads(json.dumps(record))
    *parents, last = [int(key) if key.isdigit() else key for key in place.split(".")]
    inner: Any = record
    for key in parents:
        inner = inner[key]
    if value is GONE:
        del inner[last]
    else:
        inner[last] = value
    return record


FIELDS: list[tuple[str, Any, str]] = [
    ("recipe", [], "recipe: found [], expected an object"),
    ("recipe", GONE, "recipe: found None, expected an object"),
    ("recipe.algorithm", GONE, "recipe.algorithm is missing"),
    ("recipe.algorithm", "iqn", "recipe.algorithm: algorithm: found 'iqn', expected one of"),
    ("recipe.algorithm", 3, "recipe.algorithm: found 3, expected text"),
    ("recipe.steps", "4000", "recipe.steps: found '4000', expected a whole number, 1 to"),
    ("recipe.steps", 4000.0, "recipe.steps: found 4000.0, expected a whole number"),
    ("recipe.steps", True, "recipe.steps: found True, expected a whole number"),
    ("recipe.steps", HUGE, "recipe.steps: found 1000"),
    ("recipe.batch_size", -1, "recipe.batch_size: found -1, expected a whole number"),
    ("recipe.importance_exponent", "x", "recipe.importance_exponent: found 'x', expected a number, 0 to 1"),
    ("recipe.importance_exponent", HUGE, "recipe.importance_exponent: found 1000"),
    ("recipe.fused", 1, "recipe.fused: found 1, expected true or false"),
    ("recipe.color", 1, "recipe has unknown entries ['color']; was it written by another version?"),
    ("recipe.label_reuse", 3, "recipe: --label-reuse: 3 does not divide --chunk-steps 8"),
    ("recipe.datasets", {}, "recipe.datasets: found {}, expected a list"),
    ("recipe.datasets.0", "/data", "recipe.datasets: found ['/data'], expected a list"),
    ("recipe.datasets.0.0", "a\0b", r"recipe.datasets[0][0]: found 'a\x00b', expected a path"),
    ("recipe.datasets.0.0", "\ud800", r"recipe.datasets[0][0]: found '\ud800', expected a path"),
    ("recipe.datasets.0.1", "2", "recipe.datasets: found [['/data/umaze-far', '2']]"),
    ("recipe.datasets", [], "datasets: found 1, and recipe.datasets has 0"),
    ("recipe.knobs", [], "recipe.knobs: found [], expected an object"),
    ("recipe.knobs.expectile", "x", "recipe.knobs.expectile: found 'x', expected a"),
    ("recipe.knobs.expectile", 7, "config.json: recipe.knobs"),
    ("recipe.knobs.hidden", 256, "recipe.knobs.hidden: found 256, expected a list"),
    ("recipe.knobs.hidden", [[1], 8], "recipe.knobs.hidden: found ([1], 8), expected a list"),
    ("recipe.knobs.expectil", 0.9, "recipe.knobs has unknown entries ['expectil']"),
    ("topology", None, "topology: found None, expected an object"),
    ("topology.learners", GONE, "topology.learners: found None, expected an object"),
    ("topology.learners", 2, "topology.learners: found 2, expected an object"),
    ("topology.learners.count", "2", "topology.learners.count: found '2', expected a whole number"),
    ("topology.learners.num_cpus", HUGE, "topology.learners.num_cpus: found 1000"),
    ("topology.learners.resources", [], "topology.learners.resources: found [], expected an object, each entry a"),
    ("topology.learners.cpus", 2, "topology.learners has unknown entries ['cpus']"),
    ("topology.serial", "no", "topology.serial: found 'no', expected true or false"),
    ("topology.replay_shards.count", 0, "topology"),
    ("cadence", 3, "cadence: found 3, expected an object"),
    ("cadence.log_every", [], "cadence.log_every: found [], expected a whole number"),
    ("cadence.eval_every", HUGE, "cadence.eval_every: found 1000"),
    ("cadence.often", 1, "cadence has unknown entries ['often']"),
    ("spaces", GONE, "spaces: found None, expected an object"),
    ("spaces.observation", [], "spaces.observation: found [], expected an object"),
    (
        "spaces.observation.type",
        "ring",
        "spaces.observation.type: found 'ring', expected box or discrete or image or d",
    ),
    ("spaces.action.type", "dict", "spaces.action.type: found 'dict', expected box or discrete or image"),
    ("spaces.observation.shape", ["x"], "spaces.observation.shape: found ['x'], expected a list (each a whole number"),
    (
        "spaces.observation.shape",
        [2**31, 2**31],
        "spaces.observation.shape: found [2147483648, 2147483648], expected at",
    ),
    ("spaces.observation.dtype", "float128", "spaces.observation.dtype: found 'float128', expected one of float16"),
    ("spaces.observation.low", [0, 0], "spaces.observation.low: found [0, 0], expected a list of 1 or 4 bounds"),
    ("spaces.observation.low", "x", "spaces.observation.low: found 'x', expected a list"),
    ("statistics", [], "statistics: found [], expected an object or null"),
    ("statistics", {"observation": 3}, "statistics.observation: found 3, expected an object"),
    ("statistics", {"observation": {"mean": ["0", "0", "0", "0"]}}, "statistics.observation.mean: found ['0'"),
    ("statistics", {"observation": {"mean": [[0], [0, 1]]}}, "statistics.observation.mean: found [[0], [0, 1]]"),
    ("statistics", {"observation": {"mean": [0, 0]}}, "statistics.observation.mean: found 2 numbers, expected 4"),
    ("environment", GONE, "environment is missing"),
    ("environment", "Pendulum-v1", "environment: found 'Pendulum-v1', expected an object"),
    ("environment.id", ["Pendulum-v1"], "environment.id: found ['Pendulum-v1'], expected text"),
    ("environment.id", "", "environment.id: found '', expected a name"),
    ("environment.kwargs", [1], "environment.kwargs: found [1], expected an object"),
    ("environment.reset_options", 0, "environment.reset_options: found 0, expected an object or null"),
    ("environment.entry_point", "os:system", "environment has unknown entries ['entry_point']"),
    ("reference_scores", "nonsense", "reference_scores: found 'nonsense', expected two finite numbers, the lower one"),
    ("reference_scores", [1], "reference_scores: found [1], expected two finite numbers"),
    ("reference_scores", [0, "x"], "reference_scores: found [0, 'x'], expected two finite numbers"),
    ("reference_scores", [5, 5], "reference_scores: found [5, 5], expected two finite numbers, the lower one first"),
    ("reference_scores", [0, HUGE], "reference_scores: found [0, 1000"),
    ("datasets", {}, "datasets: found {}, expected a list"),
    ("datasets.0", "logs", "datasets[0]: found 'logs', expected an object"),
    ("datasets.0.path", GONE, "datasets[0].path is missing"),
    ("datasets.0.path", "", "datasets[0].path: found '', expected a path"),
    ("datasets.0.transitions", -1, "datasets[0].transitions: found -1, expected a whole number, 0 to"),
    ("datasets.0.digest", 5, "datasets[0].digest: found 5, expected text"),
    ("datasets.0.snapshot", "last", "datasets[0].snapshot: found 'last', expected a whole number"),
    ("datasets.0.provenance", "mine", "datasets[0].provenance: found 'mine', expected an object or null"),
    ("id", 3, "id: found 3, expected text"),
    ("machine", [], "machine: found [], expected an object of text, or null"),
    ("machine", {"torch": 2}, "machine: found {'torch': 2}, expected an object of text, or null"),
    ("machines", {}, "machines: found {}, expected a list or null"),
    ("machines", [{"step": "0", "machine": {}}], "machines[0].step: found '0', expected a whole number"),
    ("format", True, "format is True, and this version of Quiver reads 1"),
    ("format", HUGE, "format is 1000"),
]
ONLINE: list[tuple[str, Any, str]] = [
    ("online", None, "online: found None, expected an object"),
    ("online.env_steps", "x", "online.env_steps: found 'x', expected a whole number"),
    ("online.env_steps", GONE, "online.env_steps is missing"),
    ("online.share", "half", "online.share: found 'half', expected a"),
    ("online.colour", 1, "online has unknown entries ['colour']"),
    ("environment", None, "environment: found None, expected an object"),
    ("from", "offline", "from: found 'offline', expected an object"),
    ("from.run", 5, "from.run: found 5, expected text"),
    ("from.run", "\0", r"from.run: found '\x00', expected a path"),
    ("from.checkpoint", GONE, "from.checkpoint is missing"),
    ("topology.env_runners", GONE, "topology.env_runners is missing"),
]


def refused(field: tuple[str, Any, str], record: dict[str, Any]) -> None:
    place, value, message = field
    with pytest.raises(RunError) as refusal:
        folder_of(changed(record, place, value))
    assert str(refusal.value).startswith(f"run/config.json: {message}")
    assert "\n" not in str(refusal.value)


def folder_of(record: dict[str, Any]) -> None:
    Path("run").mkdir(exist_ok=True)
    Path("run/config.json").write_text(json.dumps(record))
    RunFolder(Path("run")).read_config()


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field[0])
def test_each_field_of_a_configuration_is_held_to_what_a_run_writes(
    field: tuple[str, Any, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if field[2].startswith("config.json: "):
        field = (*field[:2], field[2].removeprefix("config.json: "))
    refused(field, config())


@pytest.mark.parametrize("field", ONLINE, ids=lambda field: field[0])
def test_so_is_that_of_fine_tuning(
    field: tuple[str, Any, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(field, online_config())


TEXTS: dict[str, tuple[bytes, str]] = {
    "a list": (b"[]", "holds no JSON object"),
    "nothing": (b"", "not valid JSON"),
    "NaN": (json.dumps({**config(), "note": float("nan")}).encode(), "found NaN, expected a number"),
    "a number beyond all": (b'{"format": 1e999}', "found '1e999', expected a number that fits in 64 bits"),
    "digits without end": (b'{"format": ' + b"1" * 5_000 + b"}", "not valid JSON"),
    "levels without end": (b'{"a":' * 100_000, "not valid JSON"),
    "many levels": (b'{"a":' * 300 + b"1" + b"}" * 300, "lists and objects in more than 100 others"),
    "UTF-16": (json.dumps(config()).encode("utf-16"), "not valid JSON"),
    "a mark before it": (b"\xef\xbb\xbf{}", "not valid JSON"),
    "bytes": (b"\xff\xfe\x00", "not valid JSON"),
}
COMMANDS: dict[str, list[str]] = {
    "report": ["report", "run"],
    "evaluate": ["evaluate", "run"],
    "collect": ["collect", "--env", "Pendulum-v1", "--policy", "run", "--episodes", "1", "--out", "new"],
    "train": ["train", "--run", "run", "--resume"],
    "finetune": ["finetune", "--run", "run", "--resume"],
    "from": ["finetune", "--from", "run", "--run", "new", "--env-steps", "9", "--serial"],
}


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_no_configuration_is_refused_by_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(TEXTS[text][0])
    with pytest.raises(RunError, match=rf"config\.json: .*{TEXTS[text][1]}.*; restore the file\.$"):
        RunFolder(tmp_path).read_config()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_reads_a_run_refuses_it_in_one_line_and_leaves_nothing(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(Path("run"), reference_scores="nonsense")
    assert cli.main(COMMANDS[command]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: run/config.json: reference_scores: found 'nonsense', expected two finite numbers")
    assert sorted(os.listdir("run")) == ["config.json", "metrics.jsonl", "summary.json"]
    assert os.listdir() == ["run"]


def test_a_configuration_of_the_first_version_is_read(tmp_path: Path) -> None:
    """What came later: evaluators' GPUs aside, roles of fine-tuning, drawn actions, identities, snapshots."""
    old = config()
    for role in ("env_runners", "online_writers"):
        del old["topology"][role]
    del old["cadence"]["eval_stochastic"]
    run = write_run(tmp_path / "run", topology=old["topology"], cadence=old["cadence"])
    assert train.parse(["--run", str(run), "--resume"]).cadence.eval_stochastic is False
    assert finetune.parse(["--from", str(run), "--run", "x", "--env-steps", "5"]).cadence.eval_stochastic is False
    assert "quiver evaluate run-again" in write_report(run).read_text()


def test_what_fine_tuning_did_not_record_has_its_default(tmp_path: Path) -> None:
    record = online_config()
    record["online"] = {"env_steps": 1_000}
    (tmp_path / "config.json").write_text(json.dumps(record))
    options = finetune.parse(["--run", str(tmp_path), "--resume"])
    assert options.online == OnlineRecipe(1_000)


def test_paths_that_no_text_can_hold_are_read_again() -> None:
    name = os.fsdecode(b"/data/\xff")
    record = changed(changed(config(), "datasets.0.path", name), "recipe.datasets.0.0", name)
    check_config(json.loads(json.dumps(record)), "config.json")


# --- Something else in a file's place ---


def become_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def become_endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def become_sparse(path: Path) -> None:
    os.truncate(path, 2**43)


OTHERS: list[Callable[[Path], None]] = [become_a_pipe, become_endless, become_a_folder, become_sparse]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("become", OTHERS, ids=lambda become: become.__name__)
@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "summary.json"])
def test_what_is_no_regular_file_of_a_size_is_not_read(
    become: Callable[[Path], None], name: str, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run")
    become(run / name)
    with pytest.raises(RunError, match=rf"run/{name}: (is (a link|no regular file)|has 8,796,093,022,208 bytes)"):
        write_report(run)


@pytest.mark.parametrize("name", ["checkpoints", "tensorboard", "online", "metrics.jsonl", "episodes.jsonl"])
def test_a_run_whose_files_and_folders_are_none_does_not_begin_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(Path("run"), lines=[])
    place = Path("run") / name
    if place.suffix:
        place.unlink(missing_ok=True)
        place.mkdir()
    else:
        place.write_text("mine")
    assert cli.main([*COMMANDS["train"], "--serial"]) == 2
    kind = "regular file" if place.suffix else "folder"
    assert f"error: run/{name}: is no {kind}, and a run has one there; put it" in capsys.readouterr().err


# --- Lines ---


def test_a_line_that_is_being_written_is_not_there_yet(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    whole = (run / "metrics.jsonl").read_bytes()
    for torn in (1, 10, 40):
        (run / "metrics.jsonl").write_bytes(whole + whole[:torn])
        assert RunFolder(run).read_metrics() == metrics()
        write_report(run)


@pytest.mark.parametrize("line", [b"", b"\xff", b"\0" * 20, b"{]", b"{" * 2_000, b"[" * 100_000, b"1" * 5_000])
def test_a_line_that_is_no_record_is_named_by_its_number(line: bytes, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    lines = (run / "metrics.jsonl").read_bytes().splitlines()
    (run / "metrics.jsonl").write_bytes(b"\n".join([*lines[:4], line, *lines[4:], b""]))
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 5: a line is no JSON \(.*\); restore the file, or take"):
        write_report(run)


def test_metrics_go_on_behind_a_whole_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also where the place that a checkpoint names is inside of one."""
    run = write_run(tmp_path / "run", summary=False)
    MetricsWriter(RunFolder(run), offset=(run / "metrics.jsonl").read_bytes().index(b"\n") + 9, step=0).close()
    assert RunFolder(run).read_metrics() == metrics()[:1]
    MetricsWriter(RunFolder(run), offset=2**62, step=0).close()
    assert "records are missing" in caplog.text
    assert RunFolder(run).read_metrics() == metrics()[:1]


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b'{"chunk": 2}',
        b'{"chunk": 2.0, "snapshot": 9}',
        b'{"chunk": "2", "snapshot": 9}',
        b'{"chunk": 2, "snapshot": true}',
        b'{"chunk": 2, "snapshot": -9}',
        b'{"chunk": 2, "snapshot": 1e999}',
        b'{"chunk": 2, "snapshot": ' + str(HUGE).encode() + b"}",
        b'{"chunk": 1, "snapshot": 9}',
        b'{"chunk": 2, "snapshot": 3}',
    ],
)
def test_a_snapshot_that_is_none_is_named_by_its_line(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "snapshots.jsonl"
    path.write_bytes(b'{"chunk": 0, "snapshot": 3}\n{"chunk": 1, "snapshot": 5}\n' + line + b"\n")
    with pytest.raises(
        RunError, match=r"snapshots\.jsonl, line 3: found .*, expected chunk 2 and its snapshot, 5 or more"
    ):
        Snapshots(path)


# --- Checkpoints ---


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    data = make_dataset(folder / "logs", episodes=6)
    run_once(folder / "run", recipe(data, "bc", fused=True, steps=4), cadence=QUIET)
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("step", HUGE, "step is 1000"),
        ("metrics_offset", HUGE, "metrics_offset is 1000"),
        ("metrics_offset", "0", "metrics_offset is '0', expected a whole number"),
        ("history", [], r"history is \[\], expected an object"),
        ("history.seconds", "x", "history.seconds is 'x', expected a number"),
        ("history.seconds", -1, "history.seconds is -1, expected a number, 0 to"),
        ("history.learner_restarts", None, "history.learner_restarts is None, expected a whole number"),
        ("history.best", 5, "history.best is 5, expected an object or null"),
        ("history.best", {"step": 4}, "history.best.score is None, expected a finite number"),
        ("history.best", {"step": "4", "score": 1}, "history.best.step is '4', expected a whole number"),
        ("files", [], "files are not described as in format 2"),
        ("files.learner\\.safetensors", 1, "files are not described as in format 2"),
        ("run", "another", "it was written by another run"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_each_field_of_a_checkpoint_is_held_to_what_a_run_writes(
    place: str, value: Any, message: str, run: Path
) -> None:
    file = run / "checkpoints" / "step-000000004" / "checkpoint.json"
    record = json.loads(file.read_text())
    del record["sha256"]
    if place.startswith("files."):
        record["files"]["learner.safetensors"] = value
    else:
        record = changed(record, place, value)
    file.write_text(json.dumps(sealed(record)))
    with pytest.raises(RunError, match=rf"step-000000004: not a whole checkpoint \(.*{message}"):
        load_policy(run)


@pytest.mark.parametrize("header", ["length", "shape", "dtype", "offsets", "names", "levels"])
def test_a_header_that_lies_is_refused(header: str, run: Path) -> None:
    """Format 1 had no hashes: all that stands between such a header and memory are the reader's own checks."""
    folder = run / "checkpoints" / "step-000000004"
    file = folder / "learner.safetensors"
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    tensors, rest = json.loads(content[8 : 8 + size]), content[8 + size :]
    first = next(name for name in tensors if name != "__metadata__")
    if header == "shape":
        tensors[first]["shape"] = [2**40, 2**40]
    elif header == "dtype":
        tensors[first]["dtype"] = "BF16"
    elif header == "offsets":
        tensors[first]["data_offsets"] = [0, 2**60]
    elif header == "names":
        tensors = [tensors]
    text = b"[" * 100_000 if header == "levels" else json.dumps(tensors).encode()
    file.write_bytes((2**62 if header == "length" else len(text)).to_bytes(8, "little") + text + rest)
    record = json.loads((folder / "checkpoint.json").read_text())
    old = {name: record[name] for name in ("step", "metrics_offset", "history")}
    (folder / "checkpoint.json").write_text(json.dumps({"format": 1, **old}))
    with pytest.raises(RunError, match=r"step-000000004: not a whole checkpoint \(learner\.safetensors: "):
        load_policy(run)


@pytest.mark.parametrize(
    "which", ["step-²", "step-" + "9" * 5_000, "step-", "-1", "step-1e3", ""], ids=lambda which: which[:9]
)
def test_a_checkpoint_that_no_name_names_is_not_found(which: str, run: Path) -> None:
    with pytest.raises(RunError, match=r"no checkpoint .*; found step-000000004"):
        checkpoint.find(run / "checkpoints", which)


def test_statistics_that_do_not_fit_name_the_run(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = json.loads((run / "config.json").read_text())
    del record["statistics"]["observation"]
    (run / "config.json").write_text(json.dumps(record))
    assert cli.main(["evaluate", str(run), "--env", "Pendulum-v1"]) == 2
    assert f"error: {run}/config.json: statistics: no mean of column 'observation'" in capsys.readouterr().err


def test_what_a_run_writes_is_what_is_read(trained: Path) -> None:
    read = RunFolder(trained).read_config()
    assert set(read["recipe"]) == set(as_json(Recipe((), "bc")))
    assert set(read["topology"]) == set(as_json(Topology()))
    assert set(read["cadence"]) == set(as_json(Cadence()))
