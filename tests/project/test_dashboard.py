"""The dashboard: queries of existing metrics and labels, and readable panels."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import pytest
import yaml

from telemetry import semconv
from telemetry.instrument import Instrument
from tests._support.paths import ROOT
from tests._support.telemetry.dashboard import (
    Query,
    board,
    family,
    groupings,
    panels,
    queries,
    selectors,
)

PANELS = panels()
QUERIES = queries()
INSTRUMENTS = {each.name: each for each in vars(semconv).values() if isinstance(each, Instrument)}
OF_TARGETS = {"job", "instance"}
SPAN_METRICS = ("traces_span_metrics_calls_total", "traces_span_metrics_duration_seconds")


def _of_spans() -> set[str]:
    """Return the labels of the span metrics: the connector's own and the configured ones."""
    connector = yaml.safe_load((ROOT / "otel-collector.yaml").read_text())["connectors"]
    named = {each["name"].replace(".", "_") for each in connector["span_metrics"]["dimensions"]}
    return named | {"service_name", "span_name", "span_kind", "status_code"}


def _known() -> dict[str, set[str]]:
    """Return the labels of every existing metric."""
    return {
        **{name: {*each.labels} for name, each in INSTRUMENTS.items()},
        **{name: _of_spans() for name in SPAN_METRICS},
        "up": set(),
        "ALERTS": {"alertname", "alertstate", "severity"},
    }


KNOWN = _known()


def _metric(name: str) -> str:
    """Return the metric that a series belongs to."""
    return name if name in KNOWN else family(name)


def _labels(name: str) -> set[str]:
    return KNOWN[_metric(name)] | OF_TARGETS | ({"le"} if name.endswith("_bucket") else set())


def _faults(missing: Callable[[Query], set[str]]) -> dict[str, set[str]]:
    """Return the surplus names of each query, by query."""
    return {str(query): missing(query) for query in QUERIES if missing(query)}


def test_queries_name_metrics_that_exist() -> None:
    assert all(list(selectors(query.expr)) for query in QUERIES)
    assert not _faults(
        lambda query: {name for name, _ in selectors(query.expr) if _metric(name) not in KNOWN}
    )


def test_queries_match_labels_that_the_metric_has() -> None:
    assert not _faults(
        lambda query: {
            label for name, used in selectors(query.expr) for label in used - _labels(name)
        }
    )


def test_queries_group_by_labels_that_every_metric_in_them_has() -> None:
    assert not _faults(
        lambda query: {
            label
            for labels, grouped in groupings(query.expr)
            for name, _ in selectors(grouped)
            for label in labels - _labels(name)
        }
    )


def test_legends_name_labels_that_the_query_leaves() -> None:
    assert not _faults(
        lambda query: (
            set(re.findall(r"{{(\w+)}}", query.legend))
            - set().union(*(labels for labels, _ in groupings(query.expr)))
        )
    )


def test_counters_are_shown_as_rates() -> None:
    grown = re.compile(r"(?:rate|increase)\((\w+)(?:{[^}]*})?\[\$__(?:rate_interval|range)\]\)")
    assert not _faults(
        lambda query: (
            {
                name
                for name, _ in selectors(query.expr)
                if re.search("_(total|bucket|count|sum)$", name)
            }
            - set(grown.findall(query.expr))
        )
    )


def test_every_query_is_right_with_several_workers_and_instances() -> None:
    assert all(re.search(r"\b(sum|min|max|count)\b", query.expr) for query in QUERIES)


def test_every_metric_of_the_service_is_on_the_dashboard() -> None:
    shown = {_metric(name) for query in QUERIES for name, _ in selectors(query.expr)}
    assert set(INSTRUMENTS) <= shown


def test_the_times_of_runs_agents_calls_and_the_store_lead_to_traces() -> None:
    leading = {
        _metric(name) for each in QUERIES if each.exemplar for name, _ in selectors(each.expr)
    }
    assert leading == {
        semconv.FIRST_OUTPUT.name,
        semconv.WORKFLOW_DURATION.name,
        semconv.AGENT_DURATION.name,
        semconv.CALL_FIRST_CHUNK.name,
        semconv.STORE_DURATION.name,
        "traces_span_metrics_duration_seconds",
    }


def test_dashboard_variables_come_from_existing_labels() -> None:
    for variable in board()["templating"]["list"]:
        found = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
        assert found
        assert found[2] == variable["name"]
        assert found[2] in _labels(found[1])


@pytest.mark.parametrize("variable", ["workflow", "agent"])
def test_a_dashboard_variable_filters_every_panel_with_its_label(variable: str) -> None:
    for query in QUERIES:
        for labels, grouped in groupings(query.expr):
            if variable in labels:
                assert f'{variable}=~"${variable}"' in grouped, query


# --- panels ---


def test_the_dashboard_and_its_panels_have_unique_ids() -> None:
    numbers = [panel["id"] for panel in board()["panels"]]
    assert len(set(numbers)) == len(numbers)
    assert board()["uid"] == "llm-sse-service"
    assert "id" not in board()  # a number that each Grafana assigns automatically


def test_no_panel_covers_another() -> None:
    places = [panel["gridPos"] for panel in board()["panels"]]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)


def _but(is_right: Callable[[Mapping[str, Any]], object]) -> list[str]:
    """Return the titles of the panels that are not right."""
    return [panel["title"] for panel in PANELS if not is_right(panel)]


def test_every_panel_description_asks_a_question() -> None:
    assert not _but(lambda panel: re.match(r"[A-Z][^?]+\?", panel["description"]))


def test_every_panel_has_a_unit() -> None:
    assert not _but(lambda panel: panel["fieldConfig"]["defaults"]["unit"])


def test_every_panel_asks_a_data_source_that_is_provisioned() -> None:
    path = ROOT / "deploy/grafana/provisioning/datasources/stack.yml"
    sources = yaml.safe_load(path.read_text("utf-8"))["datasources"]
    known = [{"type": each["type"], "uid": each["uid"]} for each in sources]
    assert not _but(
        lambda panel: all(asked["datasource"] in known for asked in [panel, *panel["targets"]])
    )
