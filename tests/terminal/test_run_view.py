"""The state of a run from its events, and its pictures."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from service.api.runs.event_json import fields_of
from service.domain import AgentReport, Usage
from service.events import (
    AgentFailed,
    AgentFinished,
    AgentRetrying,
    AgentSkipped,
    AgentStarted,
    CombineStarted,
    Event,
    RunFailed,
    RunFinished,
    RunStarted,
)
from service.terminal.panels import LivePanels, render_answer
from service.terminal.run_view import WatchedRun
from service.terminal.safe_text import make_line, make_printable
from tests._support.runs.event_samples import SAMPLES


def _view(*events: Event) -> WatchedRun:
    view = WatchedRun()
    for seq, event in enumerate(events, 1):
        view.apply(fields_of(seq, event))
    return view


def _draw(view: WatchedRun, width: int = 100, height: int = 30) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, height=height, force_terminal=True)
    console.print(LivePanels(view))
    return file.getvalue()


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: event.type)
def test_every_event_is_understood(event: Event) -> None:
    fields = {"message": "text", "source": "a", **_fields(event)}
    view = WatchedRun()
    view.apply(fields)
    assert view.outcome == (fields if event.final else None)
    assert _draw(view)


def _fields(event: Event) -> dict[str, object]:
    try:
        return fields_of(1, event)
    except KeyError:  # a delta, which the encoder writes as text
        return {"type": event.type}


def test_agents_have_their_states_in_words() -> None:
    assert {type(each) for each in SAMPLES} >= {
        RunStarted, AgentStarted, AgentRetrying, AgentFinished, AgentFailed, AgentSkipped,
        CombineStarted, RunFinished, RunFailed,
    }  # fmt: skip
    view = WatchedRun()
    view.apply({"type": "run.started", "run_id": "r", "ensemble": "e", "agents": ["a", "b", "c"]})
    view.apply({"type": "agent.started", "source": "a", "model": "m"})
    view.apply({"type": "agent.delta", "source": "a", "message": "Hello"})
    report = AgentReport(
        agent="b",
        model="m",
        text="",
        usage=Usage(1, 7),
        cost=0.5,
        elapsed_ms=9.0,
        first_token_ms=8.0,
    )
    view.apply(fields_of(4, AgentFinished("b", report)))
    states = {name: agent.state for name, agent in view.agents.items()}
    assert states == {"a": "answering", "b": "answered", "c": "waiting"}
    assert (view.agents["b"].tokens, view.cost_usd) == (7, 0.5)
    drawn = _draw(view)
    assert "Hello" in drawn
    assert "$0.5" in drawn


def test_an_answer_that_starts_again_replaces_the_first_one() -> None:
    view = WatchedRun()
    view.apply({"type": "answer.delta", "source": "w", "message": "wrong"})
    view.apply({"type": "answer.reset", "source": "w"})
    view.apply({"type": "answer.delta", "source": "w", "message": "right"})
    assert view.text == "right"


@pytest.mark.parametrize(("width", "height"), [(20, 6), (40, 10), (200, 60)])
def test_pictures_fit_every_window(width: int, height: int) -> None:
    view = WatchedRun()
    names = [f"agent-{number}" for number in range(50)]
    view.apply({"type": "run.started", "run_id": "r", "ensemble": "e", "agents": names})
    view.apply({"type": "answer.delta", "source": "w", "message": "line\n" * 10_000})
    drawn = _draw(view, width, height)
    assert drawn.count("\n") <= max(height, 12)


def test_a_model_cannot_control_the_terminal() -> None:
    hostile = "\x1b]0;title\x07\x1b[2J\x9b31m\rover\u202ereversed\x7f"
    assert not set(make_printable(hostile)) & set("\x1b\x07\x9b\r\u202e\x7f")
    view = WatchedRun()
    view.apply({"type": "run.started", "run_id": "r", "ensemble": "e", "agents": [hostile]})
    view.apply({"type": "agent.delta", "source": hostile, "message": hostile})
    view.apply({"type": "answer.delta", "source": "w", "message": hostile})
    file = io.StringIO()
    console = Console(file=file, force_terminal=True)
    console.print(LivePanels(view))
    console.print(render_answer(f"# {hostile}\n`{hostile}`"))
    assert "\x1b]0" not in file.getvalue()
    assert "\x1b[2J" not in file.getvalue()
    assert not set(file.getvalue()) & set("\x07\x9b\r\u202e")
    assert "\n" not in make_line("two\nlines")
