"""Text of a dataset or a run from somebody else: it steers no terminal, and is no HTML in a report."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import logging
import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import cli
from cluster.errors import RunError
from cluster.plain_text import plain_text
from cluster.report.html import page, section
from cluster.report.page import write_report
from cluster.report.svg import Curve, line_chart
from learners.errors import LearnerError
from tests.cluster.report_page import Page
from tests.cluster.run_folders import SUMMARY, config, metrics, write_run
from tests.cluster.runs import make_dataset
from tests.cluster.test_finetune_command import online_config

ESCAPES = "\x1b]0;owned\x07\x1b[31m\x9b2J\r\u202eevil\u2069\ud800[/b][link=file:///etc]:bomb:"
SCRIPT = "</title></style></pre><script>alert(1)</script><img src=x onerror='alert(1)'>\""


def harmless(text: str) -> bool:
    """Whether a terminal shows it as it is."""
    return not [c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


# --- Terminals ---


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("naïve 机器人 🤖", "naïve 机器人 🤖"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b2J\x7f\x00", "\\x9b2J\\x7f\\x00"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("a\u2028b\ud800\U000e0041", "a\\u2028b\\ud800\\U000e0041"),
        ("two\nlines\tand\rone", "two\nlines\tand\\rone"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text: str, shown: str) -> None:
    assert plain_text(text) == shown


def test_one_line_stays_one_line() -> None:
    assert plain_text("a\nerror: b\tc", keep="") == "a\\nerror: b\\tc"


def test_inspect_shows_escapes_and_markup_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "600")
    text = ESCAPES.replace("\ud800", "")  # no file holds it
    data = str(make_dataset(tmp_path / "a\x1b[31mb", episodes=4, note=text, **{text: {"deep": [text]}}))
    assert cli.main(["inspect", data]) == 0
    shown = capsys.readouterr().out
    assert harmless(shown)
    assert "\\x1b]0;owned\\x07\\x1b[31m\\x9b2J\\r\\u202eevil\\u2069[/b][link=file:///etc]:bomb:" in shown
    assert cli.main(["inspect", data, "--json"]) == 0
    written = capsys.readouterr().out
    assert harmless(written)
    assert json.loads(written)["provenance"]["note"] == text


def test_every_line_of_the_command_line_is_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_dataset(tmp_path / "a\x1b[31m", episodes=4, env_spec={"id": f"[/b]{ESCAPES[:20]}", "kwargs": {}})
    data, run = str(tmp_path / "b\x1b[31m"), str(tmp_path / "run\x1b[31m")
    training = ["train", "--dataset", data, "--algo", "bc", "--run", run, "--serial", "--hidden", "8", "--steps", "8"]
    for arguments, code in (
        (["ingest", str(source), "--out", data], 0),
        (["ingest", str(source), "--out", data], 2),
        ([*training, "--split", "all"], 0),
        (["report", run], 0),
        (["evaluate", run], 2),
        (["inspect", f"{run}\u202e"], 2),
    ):
        assert cli.main(arguments) == code
        said = capsys.readouterr()
        assert said.out + said.err != ""
        assert harmless(said.out)
        assert harmless(said.err)
        assert "\\x1b[31m" in said.out + said.err or "--env: is missing" in said.err


def test_notes_warnings_and_tracebacks_are_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import warnings

    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    cli.say_as_text()
    logging.getLogger("replay").warning("found %s", ESCAPES)
    error = ValueError(ESCAPES)
    sys.excepthook(ValueError, error, None)
    said = capsys.readouterr().err + warnings.formatwarning(ESCAPES, UserWarning, "a.py", 1)
    assert harmless(said)
    assert said.count("\\x1b]0;owned\\x07") == 3
    assert said.startswith("note: found \\x1b]")


# --- Pages ---


def leaves(record: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where everything in a JSON value stands."""
    if path:
        yield path
    if isinstance(record, dict | list):
        for key, value in record.items() if isinstance(record, dict) else enumerate(record):
            yield from leaves(value, (*path, key))


def with_value(record: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(record)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


LINES = [next(line for line in metrics() if line["kind"] == kind) for kind in ("train", "probe", "evaluation")]
FILES: dict[str, Any] = {
    "config.json": {**online_config(), "machine": {"torch": "2"}},
    "metrics.jsonl": LINES,
    "summary.json": SUMMARY,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("hostile") / "run", lines=LINES)


def reported(run: Path, files: dict[str, Any]) -> str | None:
    """The page of a run with these files, or None where it is refused."""
    for name, content in files.items():
        lines = content if name == "metrics.jsonl" else [content]
        (run / name).write_text("\n".join(json.dumps(line) for line in lines))
    try:
        return write_report(run).read_text()
    except (RunError, LearnerError):
        return None


@pytest.mark.parametrize("name", list(FILES))
@pytest.mark.parametrize("value", [SCRIPT + ESCAPES, {SCRIPT: [SCRIPT]}, 10**400, None], ids=type)
def test_no_field_of_a_run_reaches_the_page_as_html(run: Path, name: str, value: Any) -> None:
    told = 0
    for path in leaves(FILES[name]):
        html = reported(run, {**FILES, name: with_value(FILES[name], path, value)})
        if html is not None:
            told += 1
            assert "<script" not in html
            assert "<img" not in html
            assert harmless(html)
    assert told > 0


def test_text_of_a_run_is_there_to_read(run: Path) -> None:
    lines = [{**line, f"{SCRIPT}_loss": 1.0} for line in LINES]
    html = reported(run, {**FILES, "metrics.jsonl": lines})
    assert html is not None
    found = Page(html)
    assert f"{SCRIPT}_loss".replace("_", " ").capitalize() in found.charts("Losses")
    assert not [name for element in found.elements for name in element.attributes if name.startswith("on")]


@pytest.mark.parametrize(
    ("name", "path", "message"),
    [
        ("summary.json", ("steps",), r"summary\.json: steps: found '<b>', expected a whole number from 0 up"),
        ("summary.json", ("seconds",), r"summary\.json: seconds: found '<b>', expected a finite number"),
        ("summary.json", ("shards", 1, "rows"), r"summary\.json: shards\[1\]\.rows: found '<b>'"),
        ("summary.json", ("learner_restarts",), r"summary\.json: learner_restarts: found '<b>'"),
        ("metrics.jsonl", (0, "step"), r"metrics\.jsonl, line 1: step: found '<b>', expected a whole number"),
        ("metrics.jsonl", (2, "return_mean"), r"metrics\.jsonl, line 3: return_mean: found '<b>', expected a finite"),
        ("config.json", ("datasets", 0, "transitions"), r"config\.json: datasets\[0\]\.transitions: found '<b>'"),
        ("config.json", ("recipe", "steps"), r"config\.json: recipe\.steps: found '<b>'"),
        ("config.json", ("environment",), r"config\.json: environment: found '<b>', expected an object"),
    ],
)
def test_a_number_that_is_text_is_refused_by_its_name(
    tmp_path: Path, name: str, path: tuple[Any, ...], message: str
) -> None:
    run = write_run(tmp_path / "run", lines=LINES)
    content = with_value({**FILES, "config.json": config()}[name], path, "<b>")
    (run / name).write_text("\n".join(map(json.dumps, content)) if name == "metrics.jsonl" else json.dumps(content))
    with pytest.raises(RunError, match=message):
        write_report(run)
    assert not (run / "report.html").exists()


@pytest.mark.parametrize("name", list(FILES))
@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5_000, "\ufeff", "3"])
def test_a_file_that_is_no_record_is_refused_by_its_name(tmp_path: Path, name: str, text: str) -> None:
    run = write_run(tmp_path / "run")
    (run / name).write_text(text)
    with pytest.raises(RunError, match=re.escape(name)):
        write_report(run)


def test_a_browser_is_told_to_run_nothing(tmp_path: Path) -> None:
    html = write_report(write_run(tmp_path / "run")).read_text()
    [policy] = [
        element.attributes["content"]
        for element in Page(html).elements
        if element.attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    [style] = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert " style=" not in html  # which the policy would leave without effect
    assert html.index("Content-Security-Policy") < html.index("<title>")


def test_only_what_a_template_made_is_html() -> None:
    chart = line_chart("<b>", [Curve("<i>", [0, 1], [1.0, 2.0])])
    made = page("<u>", [section("<h>", [chart, "<script>"])])  # type: ignore[list-item]
    found = Page(made)
    assert {element.tag for element in found.elements}.isdisjoint({"b", "i", "u", "h", "script"})
    assert found.charts("<h>") == {"<b>": {"<i>": [(0, 1.0), (1, 2.0)]}}
    assert found.sections["<h>"].text.endswith("<script>")


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", list(FILES))
@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_a_report_reads_regular_files_only(tmp_path: Path, name: str, kind: str) -> None:
    """A pipe would never end, and a link show a file from elsewhere."""
    run = write_run(tmp_path / "run", lines=LINES)
    (run / name).rename(tmp_path / "elsewhere")
    if kind == "pipe":
        os.mkfifo(run / name)
    else:
        (run / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match=rf"{name}: is .*, and a run's own files are none"):
        write_report(run)
