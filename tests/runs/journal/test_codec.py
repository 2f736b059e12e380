"""The stored format of events: every event and every text survives, one line per block."""

from __future__ import annotations

import json

import msgspec
import pytest

from service.domain import AgentReport, MissingAgent, Usage
from service.events import AgentFinished, AnswerDelta, Event, RunFailed, RunFinished
from service.runs.journal.codec import decode_events, encode_events, join_lines
from tests._support.runs.event_samples import REPORT, SAMPLES

OLD_END = {  # before `missing` and `degraded_by` were added
    "type": "run.finished",
    "agent": "c",
    "usage": {"input_tokens": 1, "output_tokens": 2},
    "cost": None,
    "elapsed_ms": 3.0,
    "answered_by": "a",
    "combiner": None,
}
AWKWARD = ["", "\n", "\r\n", "\0", "\u2028", "\x85", '"', "\\", "]\n[", "é", "\U0001f600", " "]


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: event.type)
def test_every_event_is_decoded_as_it_was_encoded(event: Event) -> None:
    assert decode_events(encode_events([event])) == [event]


def test_all_fields_of_an_event_survive_encoding() -> None:
    report = AgentReport(
        agent="a",
        model="m",
        text="said",
        usage=Usage(1, 2, 3, 4, estimated=True),
        cost=0.1 + 0.2,
        elapsed_ms=1.5,
        first_token_ms=0.5,
        finish_reason="stop",
        partial=True,
        config_hash="hash",
        reused=True,
    )
    events: list[Event] = [
        AgentFinished("a", report),
        RunFinished(
            "c",
            Usage(),
            0.1,
            3.0,
            "c",
            degraded=True,
            combiner=report,
            missing=(MissingAgent("a", "straggler"),),
            degraded_by=("agents",),
        ),
        RunFailed("c", "code", "Why.", True, Usage(), None, None, unfinished=(report, REPORT)),
    ]
    assert decode_events(encode_events(events)) == events


@pytest.mark.parametrize(("degraded", "reasons"), [(True, ("combiner",)), (False, ())])
def test_an_end_without_reasons_was_degraded_by_its_combiner(
    degraded: bool, reasons: tuple[str, ...]
) -> None:
    line = json.dumps([{**OLD_END, "degraded": degraded}]).encode()
    (event,) = decode_events(line)
    assert isinstance(event, RunFinished)
    assert (event.degraded, event.degraded_by, event.missing) == (degraded, reasons, ())


@pytest.mark.parametrize("text", AWKWARD)
def test_any_text_is_encoded_in_one_line(text: str) -> None:
    line = encode_events([AnswerDelta("a", text)])
    assert b"\n" not in line
    assert decode_events(line) == [AnswerDelta("a", text)]


def test_several_lines_are_decoded_in_order() -> None:
    lines = [encode_events(SAMPLES[:3]), encode_events(SAMPLES[3:4]), encode_events(SAMPLES[4:])]
    assert decode_events(join_lines(lines)) == SAMPLES


@pytest.mark.parametrize("line", [b"", b"[", b"{}", b'[{"type":"unheard"}]', b"[]\n"])
def test_a_malformed_line_raises_a_decode_error(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_events(line)
