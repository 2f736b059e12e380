"""A run as messages for the chat page, while it happens and afterwards.

A message is a server-sent event with JSON: `run` and `agents` are complete states, so that a
repeated message changes nothing; `texts` are changes at positions. The id of a message is the
number of the last event that it covers, and a reader continues behind it.

A text is sent token by token as plain text, which a browser appends at once. A few times a second
the open block is sent as HTML, which replaces that text, and a complete block is sent once. So the
cost of an answer grows with its length, not with its square.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import Any, Final

from service.api.http.frames import encode_event
from service.events import (
    AgentDelta,
    AgentFailed,
    AgentFinished,
    AgentReasoning,
    AgentSkipped,
    AgentStarted,
    AnswerDelta,
    AnswerReasoning,
    AnswerReset,
    CombineStarted,
    Event,
)
from service.pages.chat.view import OPEN_STATES, RunView
from service.pages.markdown.blocks import MarkdownBlocks
from service.runs.run import Run

ANSWER: Final = "answer"
_OPEN_EVERY_S: Final = 0.1
_COST_SHARE: Final = 20  # an open block is rendered in at most a 20th of the time
_MESSAGE_CHARS: Final = 8_000  # of texts; the time to render them is that of one step of the loop
_REPORTS: Final = AgentFinished | AgentFailed | AgentSkipped


class LiveText:
    """One text of a run: the answer, that of an agent, or reasoning (which is not Markdown).

    `of` is "answer" or "agent", `name` that of the agent, `kind` "text" or "reasoning".
    """

    def __init__(self, of: str, name: str, kind: str) -> None:
        self._head = {"of": of, "name": name, "kind": kind}
        self._is_markdown = kind == "text"
        self._blocks = MarkdownBlocks()
        self._length = 0
        self._pending: list[str] = []
        self._is_reset = False
        self._is_stale = False  # the open block has text that is not rendered yet
        self._render_at = 0.0

    @property
    def is_empty(self) -> bool:
        return self._length == 0 and not self._pending

    def append(self, text: str) -> None:
        self._pending.append(text)

    def reset(self) -> None:
        """Start the text again."""
        self._blocks, self._length, self._pending = MarkdownBlocks(), 0, []
        self._is_reset = True

    def skip(self) -> None:
        """Mark the text so far as received by the reader."""
        text = self._take()
        self._blocks.skip(text)
        self._is_reset, self._is_stale = False, True

    def flush(self, *, is_final: bool) -> dict[str, Any] | None:
        """Return the change since the last one, None without any.

        `at` and `length` are the numbers of characters before and after it.
        """
        if not (self._pending or self._is_reset or (is_final and self._is_stale)):
            return None
        change: dict[str, Any] = {**self._head, "at": self._length}
        if self._is_reset:
            change["reset"], self._is_reset = True, False
        text = self._take()
        change["length"] = self._length
        if not self._is_markdown:
            return {**change, "add": text}
        first, parts = self._blocks.count, [*self._blocks.add(text)]
        self._is_stale = True
        if not parts and not is_final and monotonic() < self._render_at:
            return {**change, "add": text}
        started = monotonic()
        change |= {"from": first, "parts": parts, "open": self._blocks.render_open()}
        self._is_stale = False
        ended = monotonic()
        self._render_at = ended + max(_OPEN_EVERY_S, _COST_SHARE * (ended - started))
        return change

    def _take(self) -> str:
        text = "".join(self._pending)
        self._pending.clear()
        self._length += len(text)
        return text


class LiveEncoder:
    """Encodes the events of a run for one reader; `after` is the number of its last event."""

    def __init__(self, run: Run, after: int) -> None:
        self._run = run
        self._after = after
        self._view = RunView()
        self._texts: dict[tuple[str, str, str], LiveText] = {}
        self._agents_started_s: dict[str, float] = {}  # from the start of the run
        self._is_started = False
        self._sent_run: dict[str, Any] = {}

    def __call__(self, seq: int, events: Sequence[Event]) -> Iterator[str]:
        """Yield the messages for the events that follow event `seq`."""
        if not self._is_started:
            self._start()
        size = 0
        for number, event in enumerate(events, seq + 1):
            size += self._apply(number, event)
            if size >= _MESSAGE_CHARS and number < seq + len(events):
                yield self._flush(number)
                size = 0
        last = self._run.log.last_seq if events[-1].final else seq + len(events)
        yield self._flush(last)

    def _start(self) -> None:
        """Apply the events that the reader has received, without a message."""
        self._is_started = True
        for number, event in enumerate(self._run.log.after(0)[: self._after], 1):
            self._apply(number, event)
        for text in self._texts.values():
            text.skip()
        if self._after:
            self._view.changed.clear()

    def _apply(self, number: int, event: Event) -> int:
        """Apply an event; return the number of characters of its text."""
        self._view.apply(event)
        match event:
            case AgentStarted(agent=name) | CombineStarted(agent=name):
                text = ""
                self._note_start(name, number)
            case AnswerDelta(text=text):
                self._find(ANSWER, "", "text").append(text)
            case AnswerReasoning(text=text):
                self._find(ANSWER, "", "reasoning").append(text)
            case AgentDelta(agent=name, text=text):
                self._find("agent", name, "text").append(text)
            case AgentReasoning(agent=name, text=text):
                self._find("agent", name, "reasoning").append(text)
            case AnswerReset():
                text = ""
                self._find(ANSWER, "", "text").reset()
            case _ if isinstance(event, _REPORTS):
                text = self._add_report(event)
            case _:
                text = ""
        return len(text)

    def _add_report(self, event: AgentFinished | AgentFailed | AgentSkipped) -> str:
        """Add the texts of a run whose agents are not streamed; return the first."""
        report = event.report
        for kind, text in (("text", report.text), ("reasoning", report.reasoning)):
            found = self._find("agent", event.agent, kind)
            if text and found.is_empty:
                found.append(text)
        return report.text

    def _note_start(self, name: str, number: int) -> None:
        times_s = self._run.log.list_times_s()
        if number < len(times_s):  # a run of this process
            self._agents_started_s[name] = times_s[number - 1]

    def _show_agent(self, name: str) -> dict[str, Any]:
        """Return an agent; `working_ms` is its time so far, if that is known, until it ends."""
        row = self._view.agents[name]
        started_s = self._agents_started_s.get(name)
        if started_s is None or row.state not in OPEN_STATES:
            return row.as_json()
        now_s = self._run.log.list_times_s()[-1]
        return {**row.as_json(), "working_ms": round((now_s - started_s) * 1000)}

    def _find(self, of: str, name: str, kind: str) -> LiveText:
        key = (of, name, kind)
        if key not in self._texts:
            self._texts[key] = LiveText(of, name, kind)
        return self._texts[key]

    def _flush(self, seq: int) -> str:
        view = self._view
        changes = (text.flush(is_final=view.phase == "done") for text in self._texts.values())
        message: dict[str, Any] = {
            "agents": [self._show_agent(name) for name in view.agents if name in view.changed],
            "texts": [change for change in changes if change],
        }
        view.changed.clear()
        shown = view.as_json()
        if shown != self._sent_run:
            self._sent_run = {**shown, "notes": [*view.notes]}
            message["run"] = {**shown, "elapsed_ms": self._run.elapsed_ms}
        return encode_event(json.dumps(message), event_id=f"{self._run.id}-{seq}")
