"""What options and records may hold is declared with them: ranges of numbers, and kinds of text."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest

from cluster import cli
from cluster.commands import collect, evaluate, finetune, ingest, inspect, report, run_options
from cluster.errors import RunError
from cluster.json_text import json_object
from cluster.limiter import SamplesToInserts
from cluster.options import Cadence, OnlineRecipe, Recipe, Role, Topology
from cluster.settings import NEW_FOLDER, PATH, RUN_FOLDER, check_seeds, real_number, step_of, text_of, whole_number
from replay.ranges import fits, hints, range_of

COMMANDS = (
    run_options.Place,
    run_options.Environment,
    finetune.Start,
    evaluate.Evaluate,
    collect.Collect,
    ingest.Ingest,
    inspect.Inspect,
    report.Report,
)
RECORDS = (Recipe, OnlineRecipe, SamplesToInserts, Role, Topology, Cadence)


def bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def holds_numbers(kind: Any) -> bool:
    """Whether an annotation has a number somewhere that is no boolean."""
    parts = [part for part in get_args(kind) if not isinstance(part, str)]
    return bare(kind) in (int, float) or any(holds_numbers(part) for part in parts if bare(part) is not Any)


@pytest.mark.parametrize("record", [*COMMANDS, *RECORDS], ids=lambda record: record.__name__)
def test_every_number_has_a_range_and_every_text_a_kind(record: type):
    for name, kind in hints(record).items():
        if holds_numbers(kind):
            assert range_of(kind) is not None, f"{record.__name__}.{name} declares no Range"
        elif bare(kind) in (str, str | None, tuple[str, ...]):
            assert text_of(kind) is not None, f"{record.__name__}.{name} declares no kind of text"


# --- From Python ---


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (lambda: Recipe((), "iql", seed=-1), "--seed: found -1, expected a whole number, 0 to"),
        (lambda: Recipe((), "iql", seed=2**63), "--seed: found 9223372036854775808"),
        (lambda: Recipe((), "iql", batch_size=10**12), "--batch-size: found 1000000000000"),
        (lambda: Recipe((), "iql", threads=10**6), "--threads: found 1000000, expected a whole number, 1 to 1,024"),
        (lambda: Recipe((), "iql", chunk_steps=10**9), "--chunk-steps: found"),
        (lambda: Recipe((), "iql", depth=True), "--depth: found True, expected a whole number"),
        (lambda: Recipe((), "iql", importance_exponent=-5), "--importance-exponent: found -5"),
        (lambda: Recipe((), "iql", split=""), "--split: found '', expected a name"),
        (lambda: Recipe((), "iql", device="cuda:99"), "--device: found 'cuda:99', expected auto, cpu or cuda"),
        (lambda: Recipe((("a", float("nan")),), "iql"), "--dataset: found"),
        (lambda: Cadence(keep=-4), "--keep: found -4, expected a whole number, 1 to"),
        (lambda: Cadence(eval_episodes=-3), "--eval-episodes: found -3"),
        (lambda: Cadence(log_every=0.5), "--log-every: found 0.5, expected a whole number"),  # type: ignore[arg-type]
        (lambda: OnlineRecipe(10, updates_per_step=10**9), "--updates-per-step: found 1000000000"),
        (lambda: OnlineRecipe(10, updates_per_step=1e-9), "--updates-per-step: .* make 0 gradient steps, expected 1"),
        (lambda: OnlineRecipe(10**12, updates_per_step=2), "--updates-per-step: .* gradient steps, expected 1 to 1e"),
        (lambda: OnlineRecipe(10, slack=float("nan")), "--slack: found nan"),
        (lambda: OnlineRecipe(10, min_return=float("inf")), "--min-return: found inf, expected a finite number"),
        (lambda: Topology(late_chunk_seconds=float("inf")), "--late-chunk-seconds: found inf"),
        (lambda: Topology(stage=""), "--stage: found '', expected a path"),
        (lambda: Role(count=-1), "count: found -1"),
        (lambda: Role(num_cpus=1e-9), "num_cpus: found 1e-09, expected 0, or at least 0.0001"),
        (lambda: Role(resources={"arm": float("nan")}), "resources: found"),
    ],
)
def test_records_from_python_are_held_to_the_same(record: Any, message: str):
    with pytest.raises(RunError, match=f"^{message}"):
        record()


def test_the_seed_of_the_last_episode_must_fit():
    check_seeds(2**63 - 10, 10)
    check_seeds(2**63 - 1, 0)
    with pytest.raises(RunError, match="--seed: found 9223372036854775798, expected at most 9223372036854775797"):
        check_seeds(2**63 - 10, 11)


# --- Numbers in text ---


@pytest.mark.parametrize(
    ("text", "whole", "real"),
    [
        ("0", 0, 0.0),
        ("-12", -12, -12.0),
        ("007", 7, 7.0),
        ("1.5", None, 1.5),
        (".5", None, 0.5),
        ("5.", None, 5.0),
        ("1e-3", None, 1e-3),
        ("-inf", None, float("-inf")),
        ("1e999", None, float("inf")),
        *(
            (text, None, None)
            for text in ("", "²", "١٢", "１", "1_000", "+5", " 5", "5\n", "0x10", "--5", "1e", "e5", ".")
        ),
        ("9" * 40, int("9" * 40), float("9" * 40)),
        ("9" * 5_000, None, None),
        ("1e99999", None, None),
    ],
)
def test_numbers_are_ascii_digits(text: str, whole: int | None, real: float | None):
    assert whole_number(text) == whole
    assert real_number(text) == real


def test_a_checkpoint_is_named_by_its_step():
    assert [step_of(text) for text in ("step-8", "step-000000008", "8")] == [8, 8, 8]
    assert {step_of(text) for text in ("step-", "step-²", "step--1", "latest", f"step-{'9' * 5_000}")} == {None}


# --- From the command line ---

TRAIN = ("train", "--dataset", "logs", "--algo", "iql", "--run", "run")
FINETUNE = ("finetune", "--algo", "iql", "--env", "Pendulum-v1", "--run", "run", "--env-steps", "10")
EVALUATE = ("evaluate", "run")
COLLECT = ("collect", "--env", "Pendulum-v1", "--policy", "random", "--episodes", "1", "--out", "out")
INGEST = ("ingest", "logs", "--out", "out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(
            ((*TRAIN, "--steps", text), r"--steps: found .*, expected a whole number, 1 to 1e12\.")
            for text in ("²", "1_000", " 5", "+5", "", "\udcff", "-5", "9" * 5_000)
        ),
        ((*TRAIN, "--hidden", "8", "²"), "--hidden: found '²', expected a whole number"),
        ((*TRAIN, "--expectile", "0x1"), "--expectile: found '0x1', expected a"),
        ((*TRAIN, "--shards-per-draw", "²"), "--shards-per-draw: found '²', expected a whole number, .* or none"),
        ((*TRAIN, "--updaters", "²"), "--updaters: found '²', expected a whole number, 0 to 10,000, or auto"),
        ((*TRAIN, "--dataset", "more=²"), "--dataset more=²: the weight is '²', expected a number, above 0"),
        ((*TRAIN, "--dataset", "=2"), "--dataset =2: found '', expected a path"),
        ((*TRAIN, "--dataset", ""), "--dataset: found '', expected a path"),
        ((*TRAIN, "--run", ""), "--run: found '', expected a run's folder"),
        ((*TRAIN, "--run=-x"), "--run: found '-x', expected a run's folder"),
        ((*TRAIN, "--run", "a\0b", "--resume"), r"--run: found 'a\\x00b', expected a run's folder"),
        ((*TRAIN, "--run", "\udcff", "--resume"), r"--run: found '\\udcff', expected a run's folder"),
        ((*TRAIN, "--config", ""), "--config: found '', expected a path"),
        ((*TRAIN, "--config", "a\0b"), r"--config: found 'a\\x00b', expected a path"),
        ((*TRAIN, "--address", ""), "--address: found '', expected HOST:PORT"),
        ((*TRAIN, "--stage", ""), "--stage: found '', expected a path"),
        ((*TRAIN, "--resume-from", "latest"), "--resume-from: found 'latest', expected step-N"),
        *(
            ((*command, "--device", word), f"--device: found '{word}', expected .*cpu or cuda")
            for command, word in (
                (TRAIN, "gpu"),
                (TRAIN, "CUDA"),
                (TRAIN, ""),
                (TRAIN, "cpu,cuda"),
                (FINETUNE, "mps"),
                (EVALUATE, "cuda:99"),
            )
        ),
        *(
            ((*FINETUNE, "--share", text), "--share: found .*, expected a number, 0 to 1, or all")
            for text in ("²", "2", "")
        ),
        ((*FINETUNE, "--from", ""), "--from: found '', expected a path"),
        ((*FINETUNE, "--runners", "0"), "--runners: found 0, expected a whole number, 1 to 10,000"),
        ((*FINETUNE, "--envs-per-runner", "1000000"), "--envs-per-runner: found 1000000"),
        ((*FINETUNE, "--vectorization", "threads"), "--vectorization: found 'threads', expected sync, async or native"),
        ((*FINETUNE, "--checkpoint", "step-²"), "--checkpoint: found 'step-²', expected latest, best or step-N"),
        ((*EVALUATE, "--episodes", "0"), "--episodes: found 0, expected a whole number, 1 to 1e7"),
        ((*EVALUATE, "--seed", str(2**63 - 1)), "--seed: found .*, expected at most"),
        (("evaluate", ""), "RUN: found '', expected a path"),
        (("inspect", "a\0b"), r"DATASET: found 'a\\x00b', expected a path"),
        (("report", "a" * 300), "RUN: found 'aaa.*, expected a path"),
        ((*COLLECT, "--out", "."), r"--out: found '\.', expected a folder's path"),
        (
            (*COLLECT, "--validation-fraction", "1"),
            "--validation-fraction: found 1.0, expected a number, at least 0, below 1",
        ),
        ((*INGEST, "--split-seed", "-1"), "--split-seed: found -1"),
        ((*INGEST, "--success-timing", "mid"), "--success-timing: found 'mid', expected pre or post"),
        (("ingest", "", "--out", "out"), "SOURCE: found '', expected minari:ID"),
    ],
)
def test_a_bad_option_is_refused_by_its_name(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    said = capsys.readouterr()
    assert re.match(f"error: {message}", said.err), said.err
    assert said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [(*TRAIN, "--stepps"), (*TRAIN, "--steps"), (*TRAIN, "---"), ("train",), ("finetune",)]
)
def test_what_is_no_option_and_what_is_missing_end_with_usage(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert f"quiver {arguments[0]} --help" in capsys.readouterr().err


def test_what_is_no_text_is_quoted_as_text(capsys: pytest.CaptureFixture[str]):
    for stray in ("\udcff", "--\udcff"):
        with pytest.raises(SystemExit, match="2"):
            cli.main([*TRAIN, stray])
        assert "Unrecognized options" in (told := capsys.readouterr().err)
        assert "\\udcff" in told


def test_help_tells_a_range_and_a_default(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Newest checkpoints to keep; the best one is always kept. (1 to 1,000,000; default: 3)" in shown
    assert "(0 to 1; default: 0.4)" in shown


# --- Texts ---


@pytest.mark.parametrize(
    ("text", "path", "new", "run"),
    [
        ("runs/maze", True, True, True),
        ("a\x1b[31m b", True, True, True),  # odd, and a name all the same
        ("é" * 127, True, True, True),
        ("./-x", True, True, True),
        ("-x", True, False, False),
        ("~/maze", True, False, False),
        (".", True, False, True),  # a run that is there: `cd RUN; quiver train --run . --resume`
        ("a/../..", True, False, True),
        ("/", True, False, True),
        ("", False, False, False),
        ("a\0", False, False, False),
        ("\ud800", False, False, False),
        (os.fsdecode(b"caf\xe9"), True, False, False),  # may be there, and is not made
        ("é" * 128, False, False, False),
        ("a/" * 2_048, False, False, False),
    ],
)
def test_paths_are_such_as_can_be_made(text: str, path: bool, new: bool, run: bool):
    assert (PATH.fits(text), NEW_FOLDER.fits(text), RUN_FOLDER.fits(text)) == (path, new, run)


# --- JSON ---


def test_json_keeps_its_values():
    assert json_object('{"a": {"b": [1, -2.5, 1e3, true, null, "é", ""]}}', "--x") == {
        "a": {"b": [1, -2.5, 1000.0, True, None, "é", ""]}
    }
    assert json_object(None, "--x") == {}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", ""),
        ("[1]", "it is no object"),
        ("{", "Expecting"),
        ('{"a": 1, "a": 2}', "the name 'a' is given twice"),
        ('{"a": NaN}', "JSON has no NaN"),
        ('{"a": [-Infinity]}', "JSON has no -Infinity"),
        ('{"a": 1e999}', "1e999 is no number"),
        ('{"a": ' + "9" * 5_000 + "}", "999.* is no number"),
        ('{"a": "\\ud800"}', r"'\\ud800' is no text"),
        ('{"a": "\\u0000"}', r"'\\x00' is no text"),
        ('{"a": ' + "[" * 40 + "]" * 40 + "}", "more than 32 levels"),
        ("[" * 100_000, "more than 32 levels"),
        ('{"a": "' + "x" * 10_000_000 + '"}', ""),
    ],
)
def test_json_that_means_two_things_or_nothing_is_refused(text: str, why: str):
    with pytest.raises(RunError, match=f"--env-kwargs: found .*, expected a JSON object .*{why}") as caught:
        json_object(text, "--env-kwargs")
    assert len(str(caught.value)) < 500


# --- Ranges are those of what consumes them ---


def test_the_largest_values_make_records():
    base = {name: range_of(kind) for name, kind in hints(Cadence).items() if range_of(kind)}
    largest = {name: int(span.most) for name, span in base.items() if span is not None}
    assert vars(replace(Cadence(), **largest)).items() >= largest.items()  # type: ignore[arg-type]
    assert fits(2**63 - 1, hints(Recipe)["seed"])
    assert not fits(2**63, hints(Recipe)["seed"])
