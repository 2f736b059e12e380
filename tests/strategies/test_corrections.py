"""A request whose form a model's server refuses is repeated in another form, and remembered."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest

from service.domain import Message, RequestOptions
from service.events import AgentFinished, AgentRetrying
from service.llm.client import LLMClient
from tests._support.llm.scripted import DONE, an_ask, chunk
from tests._support.runs.strategy_play import Outcome, play

Refuse = Callable[[Mapping[str, Any]], str | None]


def _server(refuse: Refuse) -> httpx.MockTransport:
    """Return a server that answers 400 with the sentence of `refuse`, or answers "Blue."."""

    def handle(request: httpx.Request) -> httpx.Response:
        sentence = refuse(json.loads(request.content))
        if sentence:
            return httpx.Response(400, json={"error": {"message": sentence}})
        body = chunk("Blue.", finish="stop") + DONE
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body)

    return httpx.MockTransport(handle)


def _refuse_parameters(*names: str) -> Refuse:
    def refuse(body: Mapping[str, Any]) -> str | None:
        refused = [name for name in names if name in body]
        return f"Unsupported parameter: '{refused[0]}'" if refused else None

    return refuse


async def _play(refuse: Refuse, *, client: LLMClient | None = None, **agent: Any) -> Outcome:
    ask = agent.pop("ask", None)
    fields = {"model": "m", "prompt": "Be brief.", **agent}
    return await play({"a": fields}, None, ask=ask, server=_server(refuse), client=client)


async def test_a_refused_parameter_is_left_out_and_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        outcome = await _play(_refuse_parameters("temperature"), temperature=0.5)
    assert [("temperature" in asked) for asked in outcome.server.asked] == [True, False]
    assert outcome.good.degraded_by == ()
    retrying = outcome.one(AgentRetrying)
    assert (retrying.code, retrying.delay_ms) == ("request_corrected", 0)
    assert retrying.message.endswith("It is called again without temperature.")
    assert outcome.one(AgentFinished).report.left_out == ("temperature",)
    assert len(caplog.records) == 1


async def test_several_refused_parameters_are_left_out_one_after_the_other() -> None:
    names = ("temperature", "top_p", "stream_options", "max_tokens")
    outcome = await _play(_refuse_parameters(*names), temperature=0.5, top_p=0.5)
    assert len(outcome.server.asked) == 5
    assert outcome.server.asked[-1].keys().isdisjoint(names)
    assert outcome.server.asked[-1]["max_completion_tokens"] == 100


async def test_the_next_run_is_right_at_once() -> None:
    refuse = _refuse_parameters("temperature")
    first = await _play(refuse, temperature=0.5)
    second = await _play(refuse, temperature=0.5, client=first.kit.client)
    assert len(second.server.asked) == 1
    assert not second.of(AgentRetrying)
    assert second.one(AgentFinished).report.left_out == ("temperature",)


async def test_a_correction_that_does_not_help_is_not_remembered() -> None:
    def refuse(_body: Mapping[str, Any]) -> str:
        return "Unsupported parameter: 'temperature'"

    first = await _play(refuse, temperature=0.5)
    assert len(first.server.asked) == 2
    assert first.bad.code == "upstream_invalid_request"
    second = await _play(lambda _: None, temperature=0.5, client=first.kit.client)
    assert second.server.asked[0]["temperature"] == 0.5


async def test_corrections_need_no_retries_and_no_budget() -> None:
    outcome = await _play(_refuse_parameters("temperature"), temperature=0.5, retries=0)
    assert outcome.error is None


async def test_a_parameter_that_changes_the_meaning_is_not_left_out() -> None:
    parameters = {"response_format": {"type": "json_object"}, "stop": "x"}
    ask = an_ask(options=RequestOptions(parameters=parameters))
    for name in parameters:
        outcome = await _play(_refuse_parameters(name), ask=ask)
        assert len(outcome.server.asked) == 1
        assert name in outcome.bad.message


async def test_each_fallback_has_its_own_corrections() -> None:
    def refuse(body: Mapping[str, Any]) -> str | None:
        if body["model"] == "m":
            return _refuse_parameters("temperature")(body) or "The model is broken."
        return None

    outcome = await _play(refuse, temperature=0.5, fallbacks=["spare"])
    assert outcome.server.asked_models() == ["m", "m", "spare"]
    assert outcome.server.asked[-1]["temperature"] == 0.5


# --- messages ---


def _roles(outcome: Outcome) -> list[list[str]]:
    return [[each["role"] for each in asked["messages"]] for asked in outcome.server.asked]


SEVERAL = an_ask(
    messages=(
        Message("system", "Answer in French."),
        Message("user", "Hi"),
        Message("system", "Be kind."),
        Message("user", "Why?"),
    )
)


async def test_all_system_messages_are_sent_as_one_that_is_first() -> None:
    outcome = await _play(lambda _: None, ask=SEVERAL)
    (asked,) = outcome.server.asked
    assert asked["messages"][0] == {
        "role": "system",
        "content": "Be brief.\n\nAnswer in French.\n\nBe kind.",
    }
    assert _roles(outcome) == [["system", "user", "user"]]


async def test_the_roles_are_adapted_to_a_template_that_refuses_them() -> None:
    def refuse(body: Mapping[str, Any]) -> str | None:
        roles = [each["role"] for each in body["messages"]]
        if "system" in roles:
            return "System role not supported"
        if any(one == two for one, two in itertools.pairwise(roles)):
            return "Conversation roles must alternate user/assistant/user/assistant/..."
        return None

    outcome = await _play(refuse, ask=SEVERAL)
    assert _roles(outcome) == [["system", "user", "user"], ["user", "user"], ["user"]]
    assert outcome.error is None
    again = await _play(refuse, ask=SEVERAL, client=outcome.kit.client)
    assert _roles(again) == [["user"]]
