"""`report.html`: a run on one page that needs nothing else, readable in a light and in a dark room.

Everything on it comes from the run folder: `config.json`, `metrics.jsonl` and, once it has ended, `summary.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from cluster import durable
from cluster.errors import RunError
from cluster.report_charts import INTERACTION, SCORES, evaluation_charts, metric_charts, speed_charts
from cluster.report_overestimation import VALUES, overestimation
from cluster.report_tables import commands_again, configuration_tables, dataset_name, datasets_table, roles_tables
from cluster.run_folder import RunFolder

Record = Mapping[str, Any]

_ELSEWHERE = {"step", "kind", "seconds", "episodes", "steps_per_second", "staleness", *VALUES, *INTERACTION}


def write_report(run: Path) -> Path:
    """Write `report.html` into the run's folder. Raises `RunError` where there is no run, or nothing to tell yet."""
    folder = RunFolder(run)
    config = folder.read_config()
    try:
        metrics = folder.read_metrics()
    except json.JSONDecodeError as error:
        raise RunError(f"{folder.metrics}: a line is no JSON ({error}); remove it, or resume the run.") from error
    if not metrics:
        raise RunError(f"{folder.metrics}: holds nothing yet; wait for the first --log-every steps of the run.")
    summary_file = run / "summary.json"
    summary = json.loads(summary_file.read_text()) if summary_file.exists() else None
    page = render(run, config, metrics, summary)
    path = run / "report.html"
    durable.write_text(path, page)
    return path


def render(run: Path, config: Record, metrics: Sequence[Record], summary: Record | None) -> str:
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
        f"<header><h1>{escape(title)}</h1><p>run <b>{escape(run.resolve().name)}</b>, {escape(state)}</p></header>",
        _tiles(_headline(config, metrics, evaluations, summary)),
        section("Evaluation", evaluation_charts(evaluations), "no environment to evaluate in") if evaluations else "",
        section("Interaction", metric_charts(metrics, lambda name: name in INTERACTION)),
        section("Losses", metric_charts(metrics, lambda name: "loss" in name)),
        section("Overestimation", overestimation(config, metrics, evaluations)),
        section(
            "Other diagnostics",
            metric_charts(metrics, lambda name: "loss" not in name and name not in _ELSEWHERE),
        ),
        section("Speed", speed_charts(metrics)),
        section("Data", [datasets_table(config["datasets"])] if config["datasets"] else []),
        section("Who did what", roles_tables(summary)) if summary else "",
        section("Configuration", configuration_tables(config)),
        section("Do it again", [commands_again(config, run)]),
    ]
    return page(title, sections)


def page(title: str, sections: Iterable[str]) -> str:
    """A page in the report's style; `title` is text, the sections are HTML, and empty ones are left out."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><main>\n"
        + "\n".join(found for found in sections if found)
        + "\n</main></body></html>\n"
    )


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
    gathered = [record["env_steps"] for record in metrics if "env_steps" in record]
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


def _tiles(tiles: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in tiles)
    return f'<section class="tiles">{cells}</section>'


def section(title: str, parts: Sequence[str], empty: str = "") -> str:
    content = "".join(parts) or (f"<p>{escape(empty)}</p>" if empty else "")
    return f'<section><h2>{escape(title)}</h2><div class="parts">{content}</div></section>' if content else ""


# --- Words ---


def _and(names: Iterable[str]) -> str:
    listed = list(names)
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


_STYLE = """
:root{color-scheme:light dark;--bg:#fcfcfb;--card:#fff;--ink:#1d2126;--dim:#626a73;--rule:#e3e5e8;
--c0:#2563c9;--c1:#c65d0b;--c2:#15803d;--c3:#8b3fc0}
@media(prefers-color-scheme:dark){:root{--bg:#15181c;--card:#1d2126;--ink:#e8eaed;--dim:#9aa3ad;--rule:#343a42;
--c0:#7aa7ff;--c1:#ffa45c;--c2:#5fd08a;--c3:#c99bf2}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1120px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:27px;line-height:1.2;margin:0}h2{font-size:18px;margin:34px 0 10px}h3{font-size:14px;margin:0 0 4px}
header p{margin:4px 0 0;color:var(--dim)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px;margin-top:20px}
.tiles div,figure,.parts>div,.parts>p{background:var(--card);border:1px solid var(--rule);border-radius:8px}
.tiles div{padding:12px 14px}.tiles b{display:block;font-size:21px;line-height:1.25;font-variant-numeric:tabular-nums}
.tiles span{color:var(--dim);font-size:13px}
.parts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,420px),1fr));gap:12px;align-items:start}
.parts>div,.parts>p{padding:10px 14px;margin:0}.parts>details,.parts>pre,.parts>.scroll:has(th+th+th){grid-column:1/-1}
figure{margin:0;padding:12px 14px}figcaption{font-weight:600;font-size:14px;margin-bottom:4px}
svg{display:block;width:100%;height:auto}
text{fill:var(--dim);font-size:12px;font-variant-numeric:tabular-nums}
text.y{text-anchor:end}text.x{text-anchor:middle}
.grid{stroke:var(--rule);stroke-width:1}
polyline{fill:none;stroke:currentColor;stroke-width:1.8;stroke-linejoin:round}
circle{fill:currentColor}.band{fill:currentColor;opacity:.15}
.c0{color:var(--c0)}.c1{color:var(--c1)}.c2{color:var(--c2)}.c3{color:var(--c3)}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:13px;margin-top:4px}
.legend span::before{content:"";display:inline-block;width:14px;height:3px;margin-right:6px;vertical-align:middle;
background:currentColor;border-radius:2px}
.none{color:var(--dim)}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:13.5px}
th{text-align:left;color:var(--dim);font-weight:500}
.parts>div>p{margin:8px 0 0}
th,td{padding:4px 12px 4px 0;border-bottom:1px solid var(--rule);vertical-align:top;overflow-wrap:anywhere}
tr:last-child td{border-bottom:0}.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
pre{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:12px 14px;margin:0;overflow-x:auto;
font-size:13px;white-space:pre-wrap;overflow-wrap:anywhere}
summary{cursor:pointer;color:var(--dim);font-size:13.5px;margin:2px 0}
@media print{body{background:#fff}figure,.tiles div{break-inside:avoid}}
"""
