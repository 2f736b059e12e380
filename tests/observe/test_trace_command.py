"""`python -m tools.observe trace`: a trace in the terminal, and as SVG."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests._support.observe.queries import Jaeger
from tests._support.observe.traffic import Traffic
from tools.observe import svg, waterfall
from tools.observe.jaeger import Event, Span, Trace, Value
from tools.observe.programs import ROOT
from tools.observe.stack import Stack
from tools.observe.tree import build_rows, format_cost, format_duration

PROCESS = "POST /api/process"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def environment(stack: Stack) -> dict[str, str]:
    return {
        **os.environ,
        "OBSERVE_JAEGER_PORT": str(stack.addresses.jaeger_port),
        "COLUMNS": "140",
        "PYTHONUTF8": "1",
    }


def trace(environment: dict[str, str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.observe", "trace", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_a_run_is_shown_as_a_tree_with_bars_and_figures(
    traffic: Traffic, jaeger: Jaeger, environment: dict[str, str]
) -> None:
    jaeger.until(traffic.well.trace_id, PROCESS)
    done = trace(environment, traffic.well.trace_id)
    assert done.returncode == 0, done.stderr
    head, totals, _, *lines = done.stdout.splitlines()
    assert head == f"Trace {traffic.well.trace_id}"
    assert re.fullmatch(r"llm-sse-service, [\d.]+ m?s, 13 spans", totals)
    names = [line[:40].rstrip() for line in lines if "◆" not in line]
    assert names[:3] == [PROCESS, "├ open_run", "└ invoke_workflow fanout"]
    assert names[3] == "  ├ invoke_agent llm-1"
    assert names[4].startswith("  │ └ chat mock?tokens=20&first_ms=5")
    assert names[-1] == "  └ end_run"
    assert re.search(r"█▕ 200$", lines[0])
    assert re.search(r"█ *▕ completed, \d+ tokens in, 70 out$", lines[2])
    assert "app.first_output" in lines[3]


def test_errors_are_shown_beside_their_span(
    traffic: Traffic, jaeger: Jaeger, environment: dict[str, str]
) -> None:
    for run in (traffic.failed_agent, traffic.retried, traffic.straggler):
        jaeger.until(run.trace_id, PROCESS)
    output = trace(environment, traffic.failed_agent.trace_id).stdout
    assert re.search(r"invoke_agent bad-status .*▕ ERROR \w+", output)
    assert re.search(r"invoke_workflow one-status .*▕ completed", output)
    output = trace(environment, traffic.retried.trace_id).stdout
    assert re.search(r"◆ *▕ app\.retry delay_s=[\d.]+ reason=\w+", output)
    output = trace(environment, traffic.straggler.trace_id).stdout
    assert re.search(r"invoke_agent endless-1 .*▕ skipped", output)
    assert "\x1b" not in output  # not a terminal


def test_a_trace_is_found_by_the_url_of_its_page(
    traffic: Traffic, stack: Stack, environment: dict[str, str]
) -> None:
    elsewhere = {**environment, "OBSERVE_JAEGER_PORT": "1"}
    done = trace(elsewhere, f"{stack.addresses.jaeger}/trace/{traffic.well.trace_id}?uiFind=x")
    assert done.stdout.startswith(f"Trace {traffic.well.trace_id}\n"), done.stderr


def test_without_an_id_the_latest_run_is_shown(
    traffic: Traffic, environment: dict[str, str]
) -> None:
    assert trace(environment).stdout.startswith(f"Trace {traffic.left}\n")


def test_the_svg_is_self_contained(
    traffic: Traffic, jaeger: Jaeger, environment: dict[str, str], tmp_path: Path
) -> None:
    jaeger.until(traffic.failed_agent.trace_id, PROCESS)
    path = tmp_path / "trace.svg"
    done = trace(environment, traffic.failed_agent.trace_id, "--svg", path)
    assert done.returncode == 0, done.stderr
    root = ET.parse(path).getroot()
    title = root.find(f"{SVG}title")
    assert title is not None
    assert title.text == f"Trace {traffic.failed_agent.trace_id}"
    words = "".join(root.itertext())
    assert "invoke_agent bad-status" in words
    assert "ERROR upstream" in words
    assert not re.search(r"href|url\(|<image|<script|<style", path.read_text())
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for bar in root.iter(f"{SVG}rect"):
        assert float(bar.get("x", 0)) + float(bar.attrib["width"]) <= width
        assert float(bar.get("y", 0)) + float(bar.attrib["height"]) <= height


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("not-an-id", "There is no trace id in 'not-an-id'"),
        ("0" * 31 + "1", "does not know trace 00000000000000000000000000000001"),
    ],
)
def test_an_unknown_trace_gives_a_one_line_error(
    environment: dict[str, str], wanted: str, message: str
) -> None:
    done = trace(environment, wanted)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_jaeger_the_error_names_its_address() -> None:
    done = trace({**os.environ, "OBSERVE_JAEGER_PORT": "1"}, "0" * 32)
    assert done.returncode == 1
    assert "No Jaeger answers at http://127.0.0.1:1 " in done.stderr
    assert done.stderr.count("\n") == 1


def make_trace(*spans: Span) -> Trace:
    return Trace("0" * 32, "some-service", spans)


def test_a_span_with_a_missing_parent_is_a_root() -> None:
    alone = make_trace(Span("b", "a", "below", 10, 5, {}), Span("c", "b", "under it", 11, 1, {}))
    assert [(row.depth, row.span.name) for row in build_rows(alone)] == [
        (0, "below"),
        (1, "under it"),
    ]


def test_nothing_is_drawn_outside_the_bars() -> None:
    """Clocks of machines differ, so an event may lie before its span or after the trace."""
    early, late = Event("early", -900, {}), Event("late", 10**8, {})
    odd = make_trace(Span("a", "", "a", 0, 0, {}, [early, late]), Span("b", "a", "b", 100, 0, {}))
    lines = waterfall.draw(odd, 100, colour=False).splitlines()[3:]
    assert len({line.index("▕") for line in lines}) == 1
    ET.fromstring(svg.draw(odd))


def test_the_cost_is_shown_beside_the_span() -> None:
    attributes: dict[str, Value] = {"app.outcome": "completed", "app.cost_usd": 0.00018}
    paid = make_trace(Span("a", "", "a", 0, 10, attributes))
    assert waterfall.draw(paid, 100, colour=False).endswith("▕ completed, $0.00018")


def test_a_name_is_text_and_never_markup() -> None:
    picture = svg.draw(make_trace(Span("a", "", "<script>&", 0, 10, {"app.outcome": "<b>"})))
    assert "<script>" not in picture
    assert "<script>&" in "".join(ET.fromstring(picture).itertext())


@pytest.mark.parametrize(
    ("us", "text"),
    [(0, "0 µs"), (999, "999 µs"), (1_000, "1.0 ms"), (332_400, "332 ms"), (4_719_000, "4.72 s")],
)
def test_durations_have_a_suitable_unit(us: int, text: str) -> None:
    assert format_duration(us) == text


@pytest.mark.parametrize(
    ("usd", "text"),
    [(0.0, "$0.00"), (0.0001869, "$0.000187"), (0.00005, "$0.00005"), (1.5, "$1.50")],
)
def test_small_costs_have_more_digits(usd: float, text: str) -> None:
    assert format_cost(usd) == text
