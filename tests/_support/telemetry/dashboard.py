"""The Grafana dashboard as data: panels, queries, and the metrics that they name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests._support.paths import ROOT

FILE = ROOT / "deploy/grafana/dashboards/llm-sse-service.json"
_OPERATORS = {"and", "or", "unless"}


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel, with Grafana's variables still in it."""

    panel: str
    expr: str
    legend: str
    exemplar: bool

    def __str__(self) -> str:
        return f"{self.panel}: {self.expr}"


def board() -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = json.loads(FILE.read_text("utf-8"))
    return loaded


def panels() -> list[Mapping[str, Any]]:
    """Return the panels that show something, in their order."""
    return [panel for panel in board()["panels"] if panel["type"] != "row"]


def queries() -> list[Query]:
    return [
        Query(
            panel["title"], each["expr"], each.get("legendFormat", ""), each.get("exemplar", False)
        )
        for panel in panels()
        for each in panel["targets"]
    ]


def selectors(expr: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each metric that a query names, with the labels that it is matched by."""
    bare = re.sub(r"\b(by|without) \([^)]*\)|\[[^\]]*\]", "", expr)
    for name, matchers, call in re.findall(r"([a-zA-Z_]\w*)(?:\{([^}]*)\})?(\s*\()?", bare):
        if not call and name not in _OPERATORS:
            yield name, set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", matchers))


def groupings(expr: str) -> Iterator[tuple[set[str], str]]:
    """Yield the labels of each `by (…)`, with the expression that it groups."""
    for found in re.finditer(r"\bby \(([^)]*)\) \(", expr):
        depth, end = 1, found.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(expr[end], 0)
            end += 1
        yield set(re.findall(r"\w+", found[1])), expr[found.end() : end - 1]


def family(name: str) -> str:
    """Return the metric that a series belongs to: a histogram has three kinds of them."""
    return re.sub(r"_(bucket|count|sum)$", "", name)
