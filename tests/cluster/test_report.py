"""The report: one file, everything in it, readable whatever the run holds."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import RunError
from cluster.report.page import write_report
from cluster.report.svg import Axis, Curve, axis, line_chart, number, thinned
from tests.cluster.run_folders import metrics, write_run


class Page(HTMLParser):
    """The page's elements and text; notices tags that do not close."""

    VOID = frozenset({"meta", "line", "polyline", "polygon"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style" and data.strip():
            self.text.append(data.strip())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def report(run: Path) -> Page:
    path = write_report(run)
    assert path == run / "report.html"
    return Page(path.read_text())


def test_it_tells_what_was_trained_and_how_it_went(tmp_path: Path):
    page = report(write_run(tmp_path / "far"))
    text = " ".join(page.text)
    assert "IQL on umaze-far" in text
    assert "0% → 80%" in page.text  # the first evaluation and the last
    assert "1 min 23 s" in page.text
    assert "700,123" in page.text
    assert "324,877" in page.text
    assert "500" in page.text
    assert "Restarts of the learner: 1." in text
    assert "logs/umaze <raw>" in page.text  # escaped in the file, whole for the reader
    assert "function reach_far_end" in page.text
    # success, return, two losses, values, speed, staleness
    assert page.count("svg") == 7


def test_it_needs_nothing_from_anywhere(tmp_path: Path):
    html = write_report(write_run(tmp_path / "far")).read_text()
    page = Page(html)
    assert page.count("script") == page.count("link") == page.count("img") == 0
    assert not re.search(r"https?://|@import|url\(", html)
    assert "prefers-color-scheme:dark" in html


def test_it_says_how_to_do_it_again(tmp_path: Path):
    text = "\n".join(report(write_run(tmp_path / "far")).text)
    assert (
        "quiver train --dataset /data/umaze-far --algo iql --run far-again --steps 4000 --seed 3 --depth 1 "
        "--expectile 0.9 --eval-every 2000 --shards 2 --updaters 1 "
        """--env PointMaze_UMaze-v3 --reset-options '{"goal_cell": [3, 1]}'"""
    ) in text
    assert "quiver evaluate far-again --env PointMaze_UMaze-v3" in text


def test_a_run_that_is_still_going(tmp_path: Path):
    lines = [line for line in metrics() if line["step"] <= 1_000]
    page = report(write_run(tmp_path / "young", lines=lines, summary=False))
    assert "at step 1,000 of 4,000" in " ".join(page.text)
    assert "0%" in page.text  # one evaluation is no change


def test_a_run_without_environment(tmp_path: Path):
    lines = [line for line in metrics() if line["kind"] != "evaluation"]
    page = report(write_run(tmp_path / "blind", lines=lines, environment=None))
    assert "Evaluation" not in page.text
    assert "quiver evaluate" not in " ".join(page.text)
    assert page.count("svg") == 5


def test_a_normalised_score_is_a_headline(tmp_path: Path):
    lines = [line | ({"normalized_score": 42.5} if line["kind"] == "evaluation" else {}) for line in metrics()]
    assert "42.5 → 42.5" in report(write_run(tmp_path / "scored", lines=lines)).text


# --- Overestimation ---


def achieving(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines with achieved returns of 0, .1 and .2, and Q at the policy's actions of .5, 1, 1.5 and 2."""
    changes = {
        "evaluation": lambda step: {"discounted_return": step / 20_000},
        "probe": lambda step: {"q_policy": step / 2_000},
    }
    return [line | changes.get(line["kind"], lambda _: {})(line["step"]) for line in lines]


def without(lines: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name not in names} for line in lines]


def words(page: Page) -> str:
    return " | ".join(page.text)


GAP = "gap: Q at the policy's actions − achieved"


def test_what_is_believed_beside_what_is_achieved(tmp_path: Path):
    page = report(write_run(tmp_path / "far", lines=achieving(metrics())))
    text = words(page)
    assert "| Overestimation | Mean values on a fixed probe and achieved discounted return |" in text
    assert (
        "| last values | mean | at step | "
        "Q at the data's actions | 0.4 | 4,000 | Q at the policy's actions | 2 | 4,000 | "
        f"achieved discounted return | 0.2 | 4,000 | {GAP} | 1.8 | 4,000 | How to read it: "
    ) in text
    [chart] = [attrs["aria-label"] for tag, attrs in page.tags if tag == "svg" and "achieved" in str(attrs)]
    assert str(chart).endswith(
        "Q at the data's actions from 0.4 to 0.4; Q at the policy's actions from 0.5 to 2; "
        "achieved discounted return from 0 to 0.2"
    )
    # The environment may not give what the function gave.
    assert "The data's rewards were made by function reach_far_end" in text


def test_the_gap_is_of_one_moment(tmp_path: Path):
    """The last evaluation came at step 2,000, the last values at 3,000."""
    lines = [line for line in achieving(metrics()) if line["step"] <= 3_000]
    text = words(report(write_run(tmp_path / "going", lines=lines, summary=False)))
    assert "| Q at the policy's actions | 1 | 2,000 | achieved discounted return | 0.1 | 2,000 |" in text
    assert f"| {GAP} | 0.9 | 2,000 |" in text
    # Of an untrained policy alone there is no gap to tell.
    lines = [line for line in lines if line["step"] <= 1_000]
    text = words(report(write_run(tmp_path / "young", lines=lines, summary=False)))
    assert "| Q at the policy's actions | 0.5 | 1,000 | achieved discounted return | 0 | 0 |" in text
    assert "gap:" not in text


def test_a_method_without_q_says_so(tmp_path: Path):
    lines = without(achieving(metrics()), "q_data", "q_policy")
    page = report(write_run(tmp_path / "bc", lines=lines))
    assert "iql has recorded no Q, so there is none to overestimate." in page.text
    assert "| Overestimation | Achieved discounted return |" in words(page)
    assert "| achieved discounted return | 0.2 | 4,000 |" in words(page)
    assert "How to read it" not in words(page)
    assert page.count("svg") == 7


def test_values_without_evaluation_say_so(tmp_path: Path):
    lines = [line for line in achieving(metrics()) if line["kind"] != "evaluation"]
    text = words(report(write_run(tmp_path / "blind", lines=lines, environment=None)))
    assert "| Q at the policy's actions | 2 | 4,000 |" in text
    assert "The run was not evaluated, so what its policy achieves is not known." in text
    assert "gap:" not in text


def test_evaluations_of_an_earlier_version_say_so(tmp_path: Path):
    text = words(report(write_run(tmp_path / "old")))
    assert "| Q at the policy's actions | 0.5 | 4,000 |" in text
    assert "The evaluations hold no discounted return: an earlier version recorded them." in text
    assert "The data's rewards were made by" not in text


def test_values_of_other_batches_where_there_is_no_probe(tmp_path: Path):
    lines = [line for line in achieving(metrics()) if line["kind"] != "probe"]
    text = words(report(write_run(tmp_path / "training", lines=lines)))
    assert "Mean values on training batches and achieved discounted return" in text
    assert "| Q at the data's actions | 1 | 4,000 | achieved discounted return | 0.2 | 4,000 |" in text
    assert "Q at the policy's actions was not recorded (--validate-every 0 leaves it out)" in text
    lines = [line | ({"q_policy": 0.75} if line["kind"] == "validation" else {}) for line in lines]
    text = words(report(write_run(tmp_path / "validated", lines=lines)))
    assert "Mean values on validation episodes and achieved discounted return" in text
    assert f"| {GAP} | 0.55 | 4,000 |" in text


def test_what_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(RunError, match=r"config.json: not found"):
        write_report(tmp_path)
    with pytest.raises(RunError, match=r"metrics.jsonl: holds nothing yet"):
        write_report(write_run(tmp_path / "new", lines=[]))
    run = write_run(tmp_path / "torn")
    (run / "metrics.jsonl").write_text('{"step": 1, "ki')
    with pytest.raises(RunError, match=r"metrics.jsonl: holds nothing yet"):
        write_report(run)


# --- Curves ---


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([0, 10], Axis(0, 10, (0, 5, 10))),
        ([0, 4_000], Axis(0, 4_000, (0, 1_000, 2_000, 3_000, 4_000))),
        ([-1, 1], Axis(-1, 1, (-1, -0.5, 0, 0.5, 1))),
        ([3, 3], Axis(1, 5, (1, 2, 3, 4, 5))),
        ([0, math.nan], Axis(-0.5, 0.5, (-0.5, 0, 0.5))),
    ],
)
def test_axes_end_at_round_numbers(numbers: list[float], expected: Axis):
    found = axis(numbers)
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert found.ticks == pytest.approx(expected.ticks)


def points(svg: str, tag: str = "polyline") -> list[list[tuple[float, float]]]:
    found = re.findall(rf'<{tag}[^>]* points="([^"]*)"', svg)
    return [[(float(x), float(y)) for x, y in (pair.split(",") for pair in line.split())] for line in found]


def test_a_curve_is_drawn_to_scale():
    [line] = points(line_chart("t", [Curve("c", [0, 500, 1_000], [0.0, 1.0, 0.5])], floor=0.0))
    (x0, y0), (x1, y1), (x2, y2) = line
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 > y2 > y1  # pixels grow downwards
    assert y0 - y2 == pytest.approx((y0 - y1) / 2, abs=0.2)


def test_gaps_stay_gaps():
    svg = line_chart("t", [Curve("c", [0, 1, 2, 3], [1.0, math.nan, 2.0, 3.0])])
    assert [len(line) for line in points(svg)] == [1, 2]
    assert svg.count("<circle") == 3  # a point alone makes no line, so it has a mark


def test_a_band_goes_around_its_curve():
    svg = line_chart("t", [Curve("c", [0, 1], [1.0, 2.0], [0.5, 0.5])])
    [band], [line] = points(svg, "polygon"), points(svg)
    assert len(band) == 4
    assert band[0][1] < line[0][1] < band[3][1]


def test_long_curves_are_drawn_as_means():
    curve = thinned(Curve("c", list(range(10)), [float(i) for i in range(10)]), limit=5)
    assert curve.steps == [0.5, 2.5, 4.5, 6.5, 8.5]
    assert curve.values == [0.5, 2.5, 4.5, 6.5, 8.5]


def test_nothing_recorded_is_said():
    assert "nothing recorded" in line_chart("t", [Curve("c", [0], [math.nan])])


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.25, "0.25"), (1_500, "1.5k"), (2e6, "2M"), (-40, "-40"), (3e-6, "3e-06"), (5e9, "5e+09")],
)
def test_ticks_are_short(value: Any, text: str):
    assert number(value) == text
