"""Alert rules and the Grafana dashboard ask for series that exist, by labels that they have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gearmesh.metrics.series import QUEUE_SERIES, WORKER_SERIES, Series

ROOT = Path(__file__).parents[3]
PROMETHEUS = ROOT / "deploy/prometheus"
SERIES = {**WORKER_SERIES, **QUEUE_SERIES}
#: Labels that Prometheus adds, and that of a bucket.
FOREIGN_LABELS = {"instance", "job", "le"}
_SELECTOR = re.compile(r"(gearmesh_\w+)(?:\{([^}]*)\})?")
_GROUPING = re.compile(r"\b(?:by|on) \(([^)]*)\)")


def exposed(series: Series) -> set[str]:
    """The names of its samples."""
    if series.kind == "counter":
        return {f"{series.name}_total"}
    if series.kind == "histogram":
        return {f"{series.name}_{part}" for part in ("bucket", "sum", "count")}
    return {series.name}


SAMPLES = {sample: series for series in SERIES.values() for sample in exposed(series)}


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def grafana() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "deploy/grafana/gearmesh.json").read_text())
    return found


def expressions() -> Iterator[str]:
    for rule in rules():
        yield rule["expr"]
    for panel in grafana()["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


@pytest.mark.parametrize("expression", list(expressions()))
def test_each_expression_asks_for_existing_series_and_labels(expression: str) -> None:
    selectors = _SELECTOR.findall(expression)
    assert selectors
    labels = set(FOREIGN_LABELS)
    for sample, conditions in selectors:
        series = SAMPLES[sample]
        labels |= set(series.labels)
        asked = set(re.findall(r"(\w+)(?:=~|!=|!~|=)", conditions))
        assert asked <= set(series.labels) | FOREIGN_LABELS, sample
    for grouping in _GROUPING.findall(expression):
        assert {label.strip() for label in grouping.split(",")} <= labels


def test_each_series_is_on_the_grafana_dashboard() -> None:
    text = json.dumps(grafana())
    shown = {SAMPLES[sample].name for sample, _ in _SELECTOR.findall(text) if sample in SAMPLES}
    assert set(SERIES) - shown == {
        "gearmesh_queue_consumers",
        "gearmesh_delayed_messages",
    }


def test_alerts_have_a_name_a_severity_and_a_summary() -> None:
    for rule in rules():
        assert rule["alert"].startswith("Gearmesh")
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert rule["annotations"]["summary"].endswith(".")


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in grafana()["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
