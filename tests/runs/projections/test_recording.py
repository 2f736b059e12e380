"""The recording of a run: every piece of every call in order, with its time."""

from __future__ import annotations

from service.domain import ReasoningPiece, ToolCall
from service.errors import UpstreamBroken
from service.llm.decoding.think_tags import ThinkTags
from service.llm.reply import Reply
from service.runs.log import RunLog
from service.runs.projections.recording import (
    Recording,
    decode_recording,
    encode_recording,
    list_pieces,
)
from service.strategies.calls.recorder import RECALLED, TEXT, CallRecorder
from tests._support.llm.scripted import a_call, an_ask, model
from tests._support.runs.event_samples import SAMPLES
from tests._support.runs.service import service

FINAL = next(event for event in SAMPLES if event.final)
AUTO: ThinkTags = "auto"


def _recorder(
    *pieces: str | ReasoningPiece | ToolCall, text: str, thoughts: str = ""
) -> CallRecorder:
    reply = Reply.for_model(AUTO, "m")
    reply.was_sent = True
    reply.content.parts, reply.content.thoughts = [text], [thoughts]
    recorder = CallRecorder("llm-1", a_call("m"), reply, 10.0)
    for number, piece in enumerate(pieces, 1):
        recorder.add(piece, 10.0 + number / 100)
    recorder.ended_at = 11.0
    return recorder


def _encode(*recorders: CallRecorder) -> Recording:
    clock = iter([9.5, 12.0])
    recording = decode_recording(
        encode_recording(RunLog(clock=lambda: next(clock)), FINAL, recorders), []
    )
    assert recording is not None
    return recording


def test_a_call_is_recorded_piece_by_piece_with_the_times_between_them() -> None:
    [call] = _encode(_recorder("Hello ", "world é 👋", text="Hello world é 👋")).calls
    assert [piece.content for piece in list_pieces(call)] == ["Hello ", "world é 👋"]
    assert [piece.after_ms for piece in list_pieces(call)] == [10, 10]
    assert (call.at, call.took) == (500, 1000)


def test_reasoning_and_tool_calls_keep_their_places() -> None:
    tool = ToolCall(0, "id", "look", "{}")
    [call] = _encode(
        _recorder(ReasoningPiece("Hm."), "Well: ", tool, text="Well: ", thoughts="Hm.")
    ).calls
    assert [piece.content for piece in list_pieces(call)] == ["Hm.", "Well: ", tool]


def test_text_that_was_recalled_as_reasoning_is_recorded_as_it_arrived() -> None:
    pieces = ("I thi", "nk. ", ReasoningPiece("I think. ", recalls=True), "Yes.")
    [call] = _encode(_recorder(*pieces, text="Yes.", thoughts="I think. ")).calls
    found = [(piece.kind, piece.content) for piece in list_pieces(call)]
    assert found == [(TEXT, "I thi"), (TEXT, "nk. "), (RECALLED, "I think. "), (TEXT, "Yes.")]


def test_text_without_a_recorded_time_is_the_last_piece() -> None:
    [call] = _encode(_recorder("One ", text="One two three")).calls
    assert "".join(str(piece.content) for piece in list_pieces(call)) == "One two three"


def test_a_failure_is_recorded_with_the_facts_of_the_response() -> None:
    recorder = _recorder("Half", text="Half")
    recorder.error = UpstreamBroken("m ended its answer.", retry_after_s=2.5)
    [call] = _encode(recorder).calls
    assert call.failure is not None
    assert (call.failure.code, call.failure.retry_after_s) == ("upstream_incomplete", 2.5)
    assert call.finish == ""


def test_a_call_that_was_not_sent_is_not_recorded() -> None:
    recorder = _recorder(text="")
    recorder.reply.was_sent = False
    assert not _encode(recorder).calls


async def test_the_end_of_a_run_stores_the_times_of_all_events_and_all_calls() -> None:
    agents = {
        "a": {"model": model("a", tokens=12)},
        "b": {"model": model("b", fault="status", status=500)},
    }
    async with service(agents, {"model": model("combine", tokens=9)}) as here:
        run = await here.finish(an_ask())
        data = await here.memory.runs.read_recording(run.owner, run.id)
        events, answers = await here.kept_events(run), await here.answers(run)
    recording = decode_recording(data, events)
    assert recording is not None
    assert len(recording.times_ms) == len(events)
    assert [*recording.times_ms] == sorted(recording.times_ms)
    calls = {call.agent: call for call in recording.calls}
    assert calls["a"].text == answers["a"].report.text
    assert "".join(str(piece.content) for piece in list_pieces(calls["a"])) == calls["a"].text
    assert sum(call.agent == "b" for call in recording.calls) == 3  # with two retries
