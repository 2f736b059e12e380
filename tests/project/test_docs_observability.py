"""docs/observability.md describes every span, event, attribute and metric of the code."""

from __future__ import annotations

import re

import pytest

from telemetry import semconv
from telemetry.instrument import Instrument
from tests._support.paths import ROOT
from tests._support.telemetry.dashboard import panels

PAGE = (ROOT / "docs" / "observability.md").read_text("utf-8")
INSTRUMENTS = {each.name: each for each in vars(semconv).values() if isinstance(each, Instrument)}
NAMES = {key: value for key, value in vars(semconv).items() if isinstance(value, str)}
_METRIC = re.compile(
    r"`((?:http_server|gen_ai|fanout|db_client|journal|store|limit|process|telemetry|event_loop)_[a-z_]+)"
    r"(?:`|\{)"
)
_SAME = re.compile(r"the same(?: without `(\w+)`)?(?: and `(\w+)`)?")


def _rows() -> dict[str, tuple[str, str]]:
    """Return the rows of the metric tables: name, then description and labels as written."""
    page = PAGE[PAGE.index("## Metrics") : PAGE.index("## Logs")]
    rows = re.findall(r"^\| (`[^|]+) \| ([^|]+) \| ?([^|]*?) ?\|$", page, re.MULTILINE)
    return {name: (text, labels) for names, text, labels in rows for name in _METRIC.findall(names)}


ROWS = _rows()


def _labels() -> dict[str, set[str]]:
    """Return each metric's labels as the page gives them; "the same" are those of the row above."""
    found: dict[str, set[str]] = {}
    before: set[str] = set()
    for name, (_, text) in ROWS.items():
        if same := _SAME.match(text):
            labels = before - {same[1]} | ({same[2]} if same[2] else set())
        else:
            labels = set(re.findall(r"`(\w+)`", text))
        found[name] = before = labels
    return found


LABELS = _labels()


def test_the_page_explains_every_metric_and_no_other() -> None:
    assert set(ROWS) == set(INSTRUMENTS)


@pytest.mark.parametrize("name", sorted(INSTRUMENTS))
def test_a_metric_is_described_with_its_labels_and_type(name: str) -> None:
    spec = INSTRUMENTS[name]
    assert LABELS[name] == set(spec.labels)
    assert ROWS[name][0].startswith("histogram: ") == (spec.kind == "histogram")


def test_the_page_names_only_existing_metrics() -> None:
    assert set(_METRIC.findall(PAGE)) <= set(INSTRUMENTS)


@pytest.mark.parametrize("name", sorted(v for k, v in NAMES.items() if k.startswith("EVENT_")))
def test_a_span_event_is_explained(name: str) -> None:
    assert f"`{name}`" in PAGE


def test_the_page_names_only_existing_attributes() -> None:
    named = set(re.findall(r"`((?:app|db|gen_ai|http|run|url)\.[a-z_.]+[a-z])`", PAGE))
    assert named <= set(NAMES.values())
    assert len(named) > 25


def test_every_panel_that_the_page_names_is_on_the_dashboard() -> None:
    questions = PAGE[PAGE.index("## Questions") : PAGE.index("## Metrics")]
    named = set(re.findall(r"\*([A-Z][^*]+)\*", questions))
    assert len(named) > 12
    assert named <= {panel["title"] for panel in panels()}


def test_every_file_linked_from_the_page_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", PAGE)
    assert links
    assert not [link for link in links if not (ROOT / "docs" / link).exists()]
