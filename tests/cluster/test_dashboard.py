"""`deploy/prometheus.yml` and `deploy/grafana_dashboard.json`: that they ask for what Ray and Quiver export."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy/grafana_dashboard.json"


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def test_prometheus_reads_what_ray_writes():
    from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

    (job,) = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())["scrape_configs"]
    assert job["file_sd_configs"] == [{"files": [f"/tmp/ray/{PROMETHEUS_SERVICE_DISCOVERY_FILE}"]}]


def test_grafana_takes_the_dashboard():
    dashboard = json.loads(DASHBOARD.read_text())
    assert {"uid", "title", "schemaVersion", "templating", "panels", "time", "refresh"} <= dashboard.keys()
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    assert variables["run"]["query"]["query"] == "label_values(ray_quiver_step, run)"
    every = dashboard["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    for panel in panels():
        assert panel["title"]
        assert panel["description"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all(target["refId"] and target["expr"] and target["legendFormat"] for target in panel["targets"])
    covered = [
        (x, y)
        for panel in every
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(covered) == len(set(covered))
    assert max(x for x, _ in covered) == 23


def test_the_dashboard_shows_what_quiver_and_ray_export():
    from cluster.reporter import GAUGES

    ray = importlib.util.find_spec("ray")
    assert ray is not None
    assert ray.submodule_search_locations
    theirs = Path(ray.submodule_search_locations[0], "dashboard/modules/metrics/dashboards/default_dashboard_panels.py")
    text = theirs.read_text()
    ours = set()
    for expression in [target["expr"] for panel in panels() for target in panel["targets"]]:
        names = re.findall(r"\bray_\w+", expression)
        assert names
        for name in names:
            if name.startswith("ray_quiver_"):
                assert f'{name}{{run=~"$run"}}' in expression
                ours.add(name.removeprefix("ray_quiver_"))
            else:
                assert re.search(rf"\b{name}\b", text), f"Ray exports no {name}"
    assert ours <= GAUGES.keys()
    assert {"step", "steps_per_second", "return_mean", "env_steps"} <= ours
