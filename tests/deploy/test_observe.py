"""The dashboard and the alerts: they speak of metrics that exist, and the alerts of pages that do."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from satchel.server.metrics import METRICS

ROOT = Path(__file__).parents[2]
OBSERVE = ROOT / "deploy" / "observe"
BESIDE = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_max_fds"}


def _known() -> dict[str, set[str]]:
    """Every name that can be asked for, with its labels."""
    known = {name: {"job", "instance"} for name in BESIDE}
    for one in METRICS:
        labels = {*one.labels, "job", "instance"}
        if one.kind == "histogram":
            known |= {f"{one.name}_bucket": labels | {"le"}, f"{one.name}_sum": labels, f"{one.name}_count": labels}
        else:
            known[f"{one.name}_total" if one.kind == "counter" else one.name] = labels
    return known


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((OBSERVE / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = json.loads((OBSERVE / "dashboard.json").read_text())["panels"]
    return panels


def _queries() -> Iterator[str]:
    yield from (rule["expr"] for rule in _rules())
    yield from (target["expr"] for panel in _panels() for target in panel.get("targets", ()))


def test_every_metric_and_label_that_is_asked_for_exists() -> None:
    known = _known()
    recorded = {rule["record"] for rule in _rules() if "record" in rule}
    for query in _queries():
        for name, labels in re.findall(r"\b((?:satchel|process|python|up)[\w:]*)(\{[^}]*(?:\{p\}[^}]*)*\})?", query):
            assert name in known or name in recorded, f"{name} in {query}"
            asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', '""', labels)))
            assert asked <= known.get(name, set()), f"{asked} of {name} in {query}"


def test_every_route_that_is_asked_for_exists() -> None:
    openapi = json.loads((ROOT / "docs" / "reference" / "openapi.json").read_text())
    paths = {path.removeprefix("/api/v1") for path in openapi["paths"]}
    for query in _queries():
        for pattern in re.findall(r'route[=!]~"([^"]*)"', query):
            for one in re.sub(r"\((.*?)\)", lambda m: m[1].split("|")[0], pattern).split("|"):
                wanted = re.compile(one.replace("{p}", r"\{p\}") + r"\Z")
                assert any(wanted.match(path) for path in paths), one


def test_every_alert_leads_to_what_to_do() -> None:
    page = (ROOT / "docs" / "guide" / "operate" / "slo.md").read_text()
    headings = set(re.findall(r"^## (\w+)$", page, re.MULTILINE))
    alerts = [rule for rule in _rules() if "alert" in rule]
    assert {rule["alert"] for rule in alerts} == headings
    for rule in alerts:
        assert rule["annotations"]["runbook"] == f"docs/guide/operate/slo.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"page", "ticket", "info"}


def test_panels_of_the_dashboard_have_titles_of_their_own_and_do_not_overlap() -> None:
    panels = _panels()
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells


@pytest.mark.system("promtool")
def test_prometheus_takes_the_rules_and_they_speak_when_they_should() -> None:
    for words in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]):
        done = subprocess.run(["promtool", *words], cwd=OBSERVE, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
