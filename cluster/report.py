"""`report.html`: a run on one page that needs nothing else, readable in a light and in a dark room.

Everything on it comes from the run folder: `config.json`, `metrics.jsonl` and, once it has ended, `summary.json`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from cluster import durable, reproduce
from cluster.errors import RunError
from cluster.run_folder import RunFolder
from cluster.svg import Curve, line_chart

Record = Mapping[str, Any]

_NOT_CURVES = {"step", "kind", "seconds", "episodes", "steps_per_second", "staleness"}
_Q = ("q_data", "q_policy", "value")


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
    title = f"{recipe['algorithm'].upper()} on {_and(_name(dataset) for dataset in config['datasets'])}"
    steps = max(record["step"] for record in metrics)
    state = "finished" if summary else f"at step {steps:,} of {recipe['steps']:,}"
    # An evaluation is recorded when it is done, which may be after later steps.
    evaluations = sorted((r for r in metrics if r["kind"] == "evaluation"), key=lambda record: record["step"])
    sections = [
        f"<header><h1>{escape(title)}</h1><p>run <b>{escape(run.resolve().name)}</b>, {escape(state)}</p></header>",
        _tiles(_headline(config, metrics, evaluations, summary)),
        _section("Evaluation", _evaluation_charts(evaluations), "no environment to evaluate in") if evaluations else "",
        _section("Losses", _metric_charts(metrics, lambda name: "loss" in name)),
        _section("Values", [_q_chart(metrics)]),
        _section(
            "Other diagnostics",
            _metric_charts(metrics, lambda name: "loss" not in name and name not in _Q and name not in _NOT_CURVES),
        ),
        _section("Speed", _speed_charts(metrics)),
        _section("Data", [_datasets(config["datasets"])]),
        _section("Who did what", _roles(summary)) if summary else "",
        _section("Configuration", _configuration(config)),
        _section("Do it again", [_commands(config, run)]),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><main>\n"
        + "\n".join(section for section in sections if section)
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
        for key, name, unit in _SCORES:
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
    speeds = sorted(record["steps_per_second"] for record in train if record.get("steps_per_second"))
    if speeds:
        tiles.append(("steps a second, median", f"{speeds[len(speeds) // 2]:,.0f}"))
    seconds = summary["seconds"] if summary else metrics[-1].get("seconds")
    if seconds is not None:
        tiles.append(("time", _duration(seconds)))
    return tiles


_SCORES = (
    ("success_rate", "success", "%"),
    ("normalized_score", "normalised score", ""),
    ("return_mean", "mean return", ""),
)


def _score(value: float, unit: str) -> str:
    return f"{100 * value:.0f}%" if unit == "%" else f"{value:,.4g}"


def _tiles(tiles: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in tiles)
    return f'<section class="tiles">{cells}</section>'


# --- Curves ---


def _evaluation_charts(evaluations: Sequence[Record]) -> list[str]:
    charts = []
    for key, name, unit in _SCORES:
        if any(record.get(key) is not None for record in evaluations):
            curve = _curve(name, evaluations, key)
            if key == "return_mean":
                spread = [_number(record.get("return_std")) for record in evaluations]
                curve = Curve("mean return ± standard deviation", curve.steps, curve.values, spread)
            ceiling = 1.0 if unit == "%" else None
            charts.append(line_chart(name.capitalize(), [curve], floor=0.0 if unit == "%" else None, ceiling=ceiling))
    return charts


def _metric_charts(metrics: Sequence[Record], chosen: Callable[[str], bool]) -> list[str]:
    """One chart for each metric, its value in training and on validation episodes together."""
    kinds = {kind: [record for record in metrics if record["kind"] == kind] for kind in ("train", "validation")}
    names = dict.fromkeys(name for records in kinds.values() for record in records for name in record if chosen(name))
    charts = []
    for name in names:
        curves = [_curve(kind, records, name) for kind, records in kinds.items() if _recorded(records, name)]
        if curves:
            charts.append(line_chart(name.replace("_", " ").capitalize(), curves))
    return charts


def _q_chart(metrics: Sequence[Record]) -> str:
    """Mean Q at the data's actions and at the policy's, on the same states: apart, the policy exploits errors of Q."""
    probes = [record for record in metrics if record["kind"] == "probe"]
    records = probes or [record for record in metrics if record["kind"] == "train"]
    labels = {"q_data": "Q at the data's actions", "q_policy": "Q at the policy's actions", "value": "V"}
    curves = [_curve(label, records, name) for name, label in labels.items() if _recorded(records, name)]
    return line_chart(f"Mean values on {'a fixed probe' if probes else 'training batches'}", curves) if curves else ""


def _speed_charts(metrics: Sequence[Record]) -> list[str]:
    train = [record for record in metrics if record["kind"] == "train"]
    charts = []
    for name, title in (
        ("steps_per_second", "Gradient steps a second"),
        ("staleness", "Age of the weights behind the labels, in steps"),
    ):
        if _recorded(train, name):
            charts.append(line_chart(title, [_curve(name.replace("_", " "), train, name)], floor=0.0))
    return charts


def _recorded(records: Sequence[Record], name: str) -> bool:
    return any(_is_number(record.get(name)) for record in records)


def _curve(name: str, records: Sequence[Record], key: str) -> Curve:
    records = [record for record in records if key in record]
    return Curve(name, [record["step"] for record in records], [_number(record[key]) for record in records])


def _number(value: Any) -> float:
    return float(value) if _is_number(value) else math.nan


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# --- Tables ---


def _datasets(datasets: Sequence[Record]) -> str:
    rows = []
    for dataset in datasets:
        provenance = dataset.get("provenance") or {}
        rows.append(
            [
                _name(dataset),
                f"{dataset['transitions']:,}",
                f"{dataset['episodes']:,}",
                provenance.get("collected_by", "not recorded"),
                provenance.get("source", ""),
                _reward(provenance.get("reward")),
                provenance.get("licence") or provenance.get("license") or "not recorded",
            ]
        )
    heads = ("dataset", "transitions", "episodes", "collected by", "source", "reward", "licence")
    details = "".join(
        f"<details><summary>provenance of {escape(_name(dataset))}</summary>"
        f"<pre>{escape(json.dumps(dataset.get('provenance') or {}, indent=1, ensure_ascii=False))}</pre></details>"
        for dataset in datasets
    )
    return _table(heads, rows, numeric=(1, 2)) + details


def _reward(reward: Any) -> str:
    if isinstance(reward, Mapping):
        return str(reward.get("from", "")) or json.dumps(reward)
    return "as in the source" if reward is None else str(reward)


def _roles(summary: Record) -> list[str]:
    parts = []
    for key, role, unit, name in (
        ("shards", "replay shard", "rows", "rows served"),
        ("updaters", "Bellman updater", "chunks", "chunks labelled"),
    ):
        if summary.get(key):
            rows = [[entry["name"], f"{entry[unit]:,}"] for entry in summary[key]]
            parts.append(_table((role, name), rows, numeric=(1,)))
    return [*parts, f"<p>Restarts of the learner: {summary.get('learner_restarts', 0)}.</p>"]


def _configuration(config: Record) -> list[str]:
    recipe = {key: value for key, value in config["recipe"].items() if key not in ("knobs", "datasets")}
    topology = dict(config["topology"])
    roles = {
        role: ", ".join(f"{key} {_plain(value)}" for key, value in topology.pop(role).items() if value)
        for role in ("replay_shards", "bellman_updaters", "learners", "evaluators")
        if role in topology
    }
    tables = {
        "Recipe (decides the result)": recipe,
        "Knobs of the algorithm": config["recipe"]["knobs"],
        "Topology (decides the speed)": {**roles, **topology},
        "Cadence": config["cadence"],
        "Environment": config.get("environment") or {},
        "Machine": config.get("machine") or {},
    }
    return [
        f"<div><h3>{escape(name)}</h3>{_table(('', ''), [[key, _plain(value)] for key, value in values.items()])}</div>"
        for name, values in tables.items()
        if values
    ]


def _commands(config: Record, run: Path) -> str:
    target = f"{run.resolve().name}-again"
    commands = [reproduce.train_command(config, target), reproduce.evaluate_command(config, target)]
    commands.append(f"quiver report {target}")
    return f"<pre>{escape(chr(10).join(command for command in commands if command))}</pre>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=n' if i in numeric else ''}>{escape(str(cell))}</{tag}>" for i, cell in enumerate(row)
        )

    head = f"<thead><tr>{cells('th', heads)}</tr></thead>" if any(heads) else ""
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'


def _section(title: str, parts: Sequence[str], empty: str = "") -> str:
    content = "".join(parts) or (f"<p>{escape(empty)}</p>" if empty else "")
    return f'<section><h2>{escape(title)}</h2><div class="parts">{content}</div></section>' if content else ""


# --- Words ---


def _name(dataset: Record) -> str:
    return Path(dataset["path"]).name


def _and(names: Iterable[str]) -> str:
    listed = list(names)
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"


def _plain(value: Any) -> str:
    """A JSON value as a person would write it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return " ".join(_plain(item) for item in value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


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
th,td{padding:4px 12px 4px 0;border-bottom:1px solid var(--rule);vertical-align:top;overflow-wrap:anywhere}
tr:last-child td{border-bottom:0}.n{text-align:right;font-variant-numeric:tabular-nums}
pre{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:12px 14px;margin:0;overflow-x:auto;
font-size:13px;white-space:pre-wrap;overflow-wrap:anywhere}
summary{cursor:pointer;color:var(--dim);font-size:13.5px;margin:2px 0}
@media print{body{background:#fff}figure,.tiles div{break-inside:avoid}}
"""
