"""`report.html`: a run on one page that loads nothing else, in light and in dark colours.

Everything on it comes from the run folder: `config.json`, `metrics.jsonl` and, once it has ended, `summary.json`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from markupsafe import Markup

from cluster import durable
from cluster.errors import RunError
from cluster.report.charts import INTERACTION, SCORES, evaluation_charts, is_number, metric_charts, speed_charts
from cluster.report.checks import check_metrics, check_summary
from cluster.report.html import page, render, section
from cluster.report.overestimation import VALUES, overestimation
from cluster.report.tables import commands_again, configuration_tables, dataset_name, datasets_table, roles_tables
from cluster.run_folder import RunFolder

Record = Mapping[str, Any]

_ELSEWHERE = {"step", "kind", "seconds", "episodes", "steps_per_second", "staleness", *VALUES, *INTERACTION}


def write_report(run: Path) -> Path:
    """Write `report.html` into the run's folder. Raises `RunError` where there is no run, where it has no record
    yet, and, naming file and field, where it holds what no run writes."""
    folder = RunFolder(run)
    config = folder.read_config()
    metrics = folder.read_metrics()
    if not metrics:
        raise RunError(f"{folder.metrics}: holds nothing yet; wait for the first --log-every steps of the run.")
    check_metrics(metrics, str(folder.metrics))
    summary_file = run / "summary.json"
    summary = None
    with suppress(FileNotFoundError):
        summary = durable.read_json(summary_file)
        check_summary(summary, str(summary_file))
    content = draw(run, config, metrics, summary)
    path = run / "report.html"
    durable.write_text(path, content)
    return path


def draw(run: Path, config: Record, metrics: Sequence[Record], summary: Record | None) -> str:
    """The page. `summary` is None for a run that is still going, or that was stopped."""
    recipe = config["recipe"]
    learned_from = [dataset_name(dataset) for dataset in config["datasets"]]
    if "online" in config:
        learned_from.append(config["environment"]["id"])
    title = f"{recipe['algorithm'].upper()} on {_and(learned_from)}"
    steps = max(record["step"] for record in metrics)
    state = "finished" if summary else f"at step {steps:,} of {recipe['steps']:,}"
    # An evaluation is recorded when it is done, which may be after later steps.
    evaluations = sorted((r for r in metrics if r["kind"] == "evaluation"), key=lambda record: record["step"])
    sections = [
        render(
            "header.html",
            title=title,
            run=run.resolve().name,
            state=state,
            tiles=_headline(config, metrics, evaluations, summary),
        ),
        section("Evaluation", evaluation_charts(evaluations)) if evaluations else Markup(),
        section("Interaction", metric_charts(metrics, lambda name: name in INTERACTION)),
        section("Losses", metric_charts(metrics, lambda name: "loss" in name)),
        section("Overestimation", overestimation(config, metrics, evaluations)),
        section(
            "Other diagnostics",
            metric_charts(metrics, lambda name: "loss" not in name and name not in _ELSEWHERE),
        ),
        section("Speed", speed_charts(metrics)),
        section("Data", [datasets_table(config["datasets"])] if config["datasets"] else []),
        section("Who did what", roles_tables(summary)) if summary else Markup(),
        section("Configuration", configuration_tables(config)),
        section("Do it again", [commands_again(config, run)]),
    ]
    return page(title, sections)


# --- Headline ---


def _headline(
    config: Record, metrics: Sequence[Record], evaluations: Sequence[Record], summary: Record | None
) -> list[tuple[str, str]]:
    tiles = []
    if evaluations:
        first, last = evaluations[0], evaluations[-1]
        before = "untrained" if first["step"] == 0 else f"at step {first['step']:,}"
        for key, name, unit in SCORES:
            if last.get(key) is not None:
                after = _score(last[key], unit)
                earlier = (
                    f"{_score(first[key], unit)} → " if len(evaluations) > 1 and first.get(key) is not None else ""
                )
                tiles.append((f"{name}, {before} → trained" if earlier else name, earlier + after))
        tiles.append(("episodes an evaluation", f"{last['episodes']:,}"))
    train = [record for record in metrics if record["kind"] == "train"]
    steps = summary["steps"] if summary else max(record["step"] for record in metrics)
    tiles.append(("gradient steps", f"{steps:,}"))
    tiles.append(("transitions in the data", f"{sum(dataset['transitions'] for dataset in config['datasets']):,}"))
    gathered = [record["env_steps"] for record in metrics if is_number(record.get("env_steps"))]
    if gathered:
        tiles.append(("environment steps", f"{int(max(gathered)):,}"))
    speeds = sorted(record["steps_per_second"] for record in train if record.get("steps_per_second"))
    if speeds:
        tiles.append(("steps a second, median", f"{speeds[len(speeds) // 2]:,.0f}"))
    seconds = summary["seconds"] if summary else metrics[-1].get("seconds")
    if seconds is not None:
        tiles.append(("time", _duration(seconds)))
    return tiles


def _score(value: float, unit: str) -> str:
    return f"{100 * value:.0f}%" if unit == "%" else f"{value:,.4g}"


# --- Words ---


def _and(names: Iterable[str]) -> str:
    listed = list(names)
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
