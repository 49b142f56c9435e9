"""The report: one file, everything in it, readable whatever the run holds."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import RunError
from cluster.report.page import write_report
from cluster.report.svg import Axis, Curve, axis, line_chart, number, thinned
from tests.cluster.report_page import Page
from tests.cluster.run_folders import metrics, write_run


def report(run: Path) -> Page:
    path = write_report(run)
    assert path == run / "report.html"
    return Page(path.read_text())


SPEED = {
    "Gradient steps a second": {"steps per second": [(step, 100 + step / 1_000) for step in range(500, 4_001, 500)]},
    "Age of the weights behind the labels, in steps": {"staleness": [(step, 11.5) for step in range(500, 4_001, 500)]},
}


def test_it_tells_what_was_trained_and_how_it_went(tmp_path: Path):
    page = report(write_run(tmp_path / "far"))
    assert page.title == "IQL on umaze-far"
    assert page.state == "run far, finished"
    assert page.headline == {
        "success, untrained → trained": "0% → 80%",
        "mean return, untrained → trained": "0 → 1",
        "episodes an evaluation": "20",
        "gradient steps": "4,000",
        "transitions in the data": "60,000",
        "steps a second, median": "102",
        "time": "1 min 23 s",
    }
    assert list(page.sections) == [
        "Evaluation", "Losses", "Overestimation", "Speed", "Data", "Who did what", "Configuration", "Do it again"
    ]  # fmt: skip


def test_its_charts_show_the_records(tmp_path: Path):
    page = report(write_run(tmp_path / "far"))
    assert page.charts("Evaluation") == {
        "Success": {"success": [(0, 0.0), (2_000, 0.4), (4_000, 0.8)]},
        "Mean return": {"mean return ± standard deviation": [(0, 0.0), (2_000, 0.5), (4_000, 1.0)]},
    }
    losses = page.charts("Losses")
    assert {title: list(curves) for title, curves in losses.items()} == {
        "Value loss": ["train", "validation"],
        "Critic loss": ["train"],
    }
    assert losses["Value loss"]["validation"] == [(1_000, 0.0015), (2_000, 0.00075), (3_000, 0.0005), (4_000, 0.000375)]
    # A loss that was no number is a gap.
    assert [step for step, _ in losses["Critic loss"]["train"]] == [500, 1_500, 2_000, 2_500, 3_000, 3_500, 4_000]
    assert [value for _, value in losses["Critic loss"]["train"]] == pytest.approx(
        [2 / step for step in (500, 1_500, 2_000, 2_500, 3_000, 3_500, 4_000)], rel=1e-3
    )
    assert page.charts("Speed") == SPEED


def test_its_tables_show_the_data_who_did_what_and_the_configuration(tmp_path: Path):
    page = report(write_run(tmp_path / "far"))
    # "<raw>" is escaped in the file, and whole for the reader.
    assert page.tables("Data") == [
        [
            ["dataset", "transitions", "episodes", "collected by", "source", "reward", "licence"],
            ["umaze-far", "60,000", "300", "scripted", "logs/umaze <raw>", "function reach_far_end", "MIT"],
        ]
    ]
    assert page.tables("Who did what") == [
        [["replay shard", "rows served"], ["shard 0", "700,123"], ["shard 1", "324,877"]],
        [["Bellman updater", "chunks labelled"], ["updater 0", "500"]],
    ]
    assert page.sentences("Who did what") == ["Restarts of the learner: 1."]
    recipe, knobs, topology, cadence, environment, machine = map(dict, page.tables("Configuration"))
    assert (recipe["algorithm"], recipe["seed"], recipe["fused"], recipe["where"]) == ("iql", "3", "no", "–")
    assert knobs == {"expectile": "0.9", "hidden": "256 256"}
    assert topology["replay_shards"] == "count 2, num_cpus 0.5"
    assert topology["env_runners"] == "count 1, num_cpus 0.5"
    assert cadence["eval_every"] == "2000"
    assert environment == {"id": "PointMaze_UMaze-v3", "reset_options": '{"goal_cell": [3, 1]}'}
    assert machine == {"torch": "2.13.0", "capability": "AVX2"}


def test_it_needs_nothing_from_anywhere(tmp_path: Path):
    html = write_report(write_run(tmp_path / "far")).read_text()
    page = Page(html)
    assert {element.tag for element in page.elements}.isdisjoint({"script", "link", "img", "iframe", "object"})
    assert not re.search(r"https?://|@import|url\(", html)
    [style] = page.root.within("style")
    assert re.search(r"@media *\(prefers-color-scheme: *dark\)", style.text)


def test_it_says_how_to_do_it_again(tmp_path: Path):
    assert report(write_run(tmp_path / "far")).commands() == [
        "quiver train --dataset /data/umaze-far --algo iql --run far-again --steps 4000 --seed 3 --depth 1 "
        "--expectile 0.9 --eval-every 2000 --shards 2 --updaters 1 "
        """--env PointMaze_UMaze-v3 --reset-options '{"goal_cell": [3, 1]}'""",
        """quiver evaluate far-again --env PointMaze_UMaze-v3 --reset-options '{"goal_cell": [3, 1]}' --episodes 20""",
        "quiver report far-again",
    ]


def test_a_run_that_is_still_going(tmp_path: Path):
    lines = [line for line in metrics() if line["step"] <= 1_000]
    page = report(write_run(tmp_path / "young", lines=lines, summary=False))
    assert page.state == "run young, at step 1,000 of 4,000"
    # One evaluation is no change.
    assert (page.headline["success"], page.headline["mean return"]) == ("0%", "0")
    assert page.headline["gradient steps"] == "1,000"
    assert page.charts("Evaluation")["Success"] == {"success": [(0, 0.0)]}
    assert "Who did what" not in page.sections


def test_a_run_without_environment(tmp_path: Path):
    lines = [line for line in metrics() if line["kind"] != "evaluation"]
    page = report(write_run(tmp_path / "blind", lines=lines, environment=None))
    assert list(page.sections) == [
        "Losses", "Overestimation", "Speed", "Data", "Who did what", "Configuration", "Do it again"
    ]  # fmt: skip
    assert [command.split()[1] for command in page.commands()] == ["train", "report"]
    assert list(page.charts("Losses")) == ["Value loss", "Critic loss"]
    assert page.charts("Speed") == SPEED


def test_a_normalised_score_is_a_headline(tmp_path: Path):
    lines = [line | ({"normalized_score": 42.5} if line["kind"] == "evaluation" else {}) for line in metrics()]
    page = report(write_run(tmp_path / "scored", lines=lines))
    assert page.headline["normalised score, untrained → trained"] == "42.5 → 42.5"


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


Q_DATA, Q_POLICY, ACHIEVED = "Q at the data's actions", "Q at the policy's actions", "achieved discounted return"
GAP = "gap: Q at the policy's actions − achieved"
HEAD = ["last values", "mean", "at step"]


def told(page: Page, start: str) -> bool:
    """Whether one of the section's sentences begins so."""
    return any(sentence.startswith(start) for sentence in page.sentences("Overestimation"))


def test_what_is_believed_beside_what_is_achieved(tmp_path: Path):
    page = report(write_run(tmp_path / "far", lines=achieving(metrics())))
    assert page.charts("Overestimation") == {
        "Mean values on a fixed probe and achieved discounted return": {
            Q_DATA: [(step, 0.4) for step in (1_000, 2_000, 3_000, 4_000)],
            Q_POLICY: [(1_000, 0.5), (2_000, 1.0), (3_000, 1.5), (4_000, 2.0)],
            ACHIEVED: [(0, 0.0), (2_000, 0.1), (4_000, 0.2)],
        }
    }
    assert page.tables("Overestimation") == [
        [
            HEAD,
            [Q_DATA, "0.4", "4,000"],
            [Q_POLICY, "2", "4,000"],
            [ACHIEVED, "0.2", "4,000"],
            [GAP, "1.8", "4,000"],
        ]
    ]
    [chart] = page.sections["Overestimation"].within("svg")
    assert chart.attributes["aria-label"] == (
        f"Mean values on a fixed probe and {ACHIEVED}: "
        f"{Q_DATA} from 0.4 to 0.4; {Q_POLICY} from 0.5 to 2; {ACHIEVED} from 0 to 0.2"
    )
    assert told(page, "How to read it: ")
    # The environment may not give what the function gave.
    assert told(page, "The data's rewards were made by function reach_far_end")


def test_the_gap_is_of_one_moment(tmp_path: Path):
    """The last evaluation came at step 2,000, the last values at 3,000."""
    lines = [line for line in achieving(metrics()) if line["step"] <= 3_000]
    page = report(write_run(tmp_path / "going", lines=lines, summary=False))
    assert page.tables("Overestimation") == [
        [
            HEAD,
            [Q_DATA, "0.4", "2,000"],
            [Q_POLICY, "1", "2,000"],
            [ACHIEVED, "0.1", "2,000"],
            [GAP, "0.9", "2,000"],
        ]
    ]
    # Of an untrained policy alone there is no gap to tell.
    lines = [line for line in lines if line["step"] <= 1_000]
    page = report(write_run(tmp_path / "young", lines=lines, summary=False))
    assert page.tables("Overestimation") == [
        [HEAD, [Q_DATA, "0.4", "1,000"], [Q_POLICY, "0.5", "1,000"], [ACHIEVED, "0", "0"]]
    ]


def test_a_method_without_q_says_so(tmp_path: Path):
    lines = without(achieving(metrics()), "q_data", "q_policy")
    page = report(write_run(tmp_path / "bc", lines=lines))
    assert page.charts("Overestimation") == {
        "Achieved discounted return": {ACHIEVED: [(0, 0.0), (2_000, 0.1), (4_000, 0.2)]}
    }
    assert page.tables("Overestimation") == [[HEAD, [ACHIEVED, "0.2", "4,000"]]]
    assert told(page, "iql has recorded no Q, so there is none to overestimate.")
    assert not told(page, "How to read it")


def test_values_without_evaluation_say_so(tmp_path: Path):
    lines = [line for line in achieving(metrics()) if line["kind"] != "evaluation"]
    page = report(write_run(tmp_path / "blind", lines=lines, environment=None))
    assert page.tables("Overestimation") == [[HEAD, [Q_DATA, "0.4", "4,000"], [Q_POLICY, "2", "4,000"]]]
    assert told(page, "The run was not evaluated, so what its policy achieves is not known.")


def test_evaluations_of_an_earlier_version_say_so(tmp_path: Path):
    page = report(write_run(tmp_path / "old"))
    assert page.tables("Overestimation") == [[HEAD, [Q_DATA, "0.4", "4,000"], [Q_POLICY, "0.5", "4,000"]]]
    assert told(page, "The evaluations hold no discounted return: an earlier version recorded them.")
    assert not told(page, "The data's rewards were made by")


def test_values_of_other_batches_where_there_is_no_probe(tmp_path: Path):
    lines = [line for line in achieving(metrics()) if line["kind"] != "probe"]
    page = report(write_run(tmp_path / "training", lines=lines))
    assert page.charts("Overestimation") == {
        f"Mean values on training batches and {ACHIEVED}": {
            Q_DATA: [(step, step / 4_000) for step in range(500, 4_001, 500)],
            ACHIEVED: [(0, 0.0), (2_000, 0.1), (4_000, 0.2)],
        }
    }
    assert page.tables("Overestimation") == [[HEAD, [Q_DATA, "1", "4,000"], [ACHIEVED, "0.2", "4,000"]]]
    assert told(page, "Q at the policy's actions was not recorded (--validate-every 0 leaves it out)")
    lines = [line | ({"q_policy": 0.75} if line["kind"] == "validation" else {}) for line in lines]
    page = report(write_run(tmp_path / "validated", lines=lines))
    assert page.charts("Overestimation")[f"Mean values on validation episodes and {ACHIEVED}"][Q_POLICY] == [
        (step, 0.75) for step in (1_000, 2_000, 3_000, 4_000)
    ]
    assert page.tables("Overestimation")[0][-1] == [GAP, "0.55", "4,000"]


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
    # Each point has a mark, and so has the one that alone makes no line.
    [figure] = Page(svg).root.within("svg")
    assert [mark.text for mark in figure.within("circle")] == ["c: 1 at step 0", "c: 2 at step 2", "c: 3 at step 3"]


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
    [figure] = Page(line_chart("t", [Curve("c", [0], [math.nan])])).root.within("figure")
    assert [part.text for part in figure.within("figcaption", "p", "svg")] == ["t", "nothing recorded"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.25, "0.25"), (1_500, "1.5k"), (2e6, "2M"), (-40, "-40"), (3e-6, "3e-06"), (5e9, "5e+09")],
)
def test_ticks_are_short(value: Any, text: str):
    assert number(value) == text
