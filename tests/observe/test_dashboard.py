"""The dashboard's queries in a live Prometheus, and traces of its exemplars in a live Jaeger."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from tests._support.observe.queries import Jaeger, Prometheus, Span, named, until
from tests._support.observe.traffic import Traffic
from tests._support.paths import ROOT
from tests._support.telemetry.dashboard import Query, board, queries

QUERIES = queries()
WITH_DOTS = [query for query in QUERIES if query.exemplar]
LINKS = "exemplarTraceIdDestinations"
SOURCES = ROOT / "deploy/grafana/provisioning/datasources/stack.yml"

# Panels without data in the traffic of these tests: no agent has a fallback, the mock's models
# have no price and no circuit breakers, too few calls for hedges, and no limits.
SILENT = {"Step-downs, per minute", "Cost per hour, by agent", "Cost per hour, by model"}
SILENT |= {"Cost of a run", "Spent", "Models not called, calls that wait", "Hedges, per minute"}
SILENT |= {"Refused by limits, per minute"}


def fill_variables(expr: str) -> str:
    """Return a query as Grafana sends it, over the time of the tests."""
    return re.sub(r"\$(workflow|agent)\b", ".*", re.sub(r"\$__\w+", "15m", expr))


def test_every_panel_has_something_to_show(traffic: Traffic, prometheus: Prometheus) -> None:
    empty = {query.panel for query in QUERIES} - SILENT

    def all_have() -> bool:
        for query in QUERIES:
            if any(
                not math.isnan(each.value) for each in prometheus.query(fill_variables(query.expr))
            ):
                empty.discard(query.panel)
        return not empty

    until(all_have, f"nothing in {empty}")


def test_graphs_can_be_drawn(traffic: Traffic, prometheus: Prometheus) -> None:
    for query in QUERIES:
        prometheus.query_range(fill_variables(query.expr))  # raises for an invalid query


@pytest.mark.parametrize(
    ("panel", "labels"),
    [
        ("Agents without an answer, per minute", {"agent": "bad-cut", "outcome": "failed"}),
        ("Retries, per minute", {"agent": "again", "reason": "upstream_busy"}),
        ("Cut off, per minute", {"agent": "endless-1", "outcome": "skipped"}),
        ("Runs that ended, by how, per minute", {"outcome": "failed"}),
    ],
)
def test_a_single_event_is_visible_in_its_panel(
    panel: str, labels: Mapping[str, str], traffic: Traffic, prometheus: Prometheus
) -> None:
    expr = next(query.expr for query in QUERIES if query.panel == panel)

    def is_seen() -> bool:
        found = prometheus.query(fill_variables(expr))
        return any(labels.items() <= each.labels.items() and each.value > 0 for each in found)

    until(is_seen, f"{labels} is not in {panel}")


def test_the_dashboard_variables_list_ensembles_and_agents(
    traffic: Traffic, prometheus: Prometheus
) -> None:
    found = {}
    for variable in board()["templating"]["list"]:
        metric = variable["query"]["query"].removeprefix("label_values(").partition(",")[0]
        path = f"/api/v1/label/{variable['name']}/values"
        found[variable["name"]] = set(prometheus.get(path, **{"match[]": metric}))
    assert found["workflow"] >= set(Traffic.RUNS)
    assert found["agent"] >= {"llm-1", "llm-2", "llm-combine"}


# --- from metrics to traces, and back ---


def _data_source(name: str) -> dict[str, Any]:
    found = yaml.safe_load(SOURCES.read_text("utf-8"))["datasources"]
    source: dict[str, Any] = next(each for each in found if each["name"] == name)
    return source


@pytest.mark.parametrize("query", WITH_DOTS, ids=lambda query: query.panel)
def test_an_exemplar_of_a_panel_has_a_trace_in_jaeger(
    query: Query, traffic: Traffic, prometheus: Prometheus, jaeger: Jaeger
) -> None:
    dots = until(lambda: prometheus.exemplars(fill_variables(query.expr)), "there are no exemplars")
    (label,) = {each["name"] for each in _data_source("Prometheus")["jsonData"][LINKS]}
    led_to = {dot.labels[label] for dot in dots}
    until(lambda: all(jaeger.trace(trace_id) for trace_id in led_to), "Jaeger lacks one of them")


@pytest.mark.parametrize(
    "span_name", ["POST /api/process", "invoke_agent llm-1", "invoke_workflow fanout"]
)
def test_a_span_links_to_the_metrics_of_its_kind(
    span_name: str, traffic: Traffic, prometheus: Prometheus, jaeger: Jaeger
) -> None:
    span = named(jaeger.until(traffic.well.trace_id, span_name), span_name)
    link = _data_source("Jaeger")["jsonData"]["tracesToMetrics"]
    how_long = link["queries"][0]["query"].replace("$$__tags", _matchers(span, link["tags"]))
    found = {sample.labels["span_name"] for sample in prometheus.query(how_long)}
    assert span_name in found


def _matchers(span: Span, tags: list[dict[str, str]]) -> str:
    """Return Grafana's value for `$__tags`: the configured tags that the span has."""
    has = {**span.resource, **span.attributes}
    return ", ".join(f'{each["value"]}="{has[each["key"]]}"' for each in tags if each["key"] in has)
