"""The window of a model is learned from its server's counts and refusals of tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import pytest

from service.domain import Message, RunRequest
from service.events import AgentRetrying
from service.llm.client import LLMClient
from tests._support.llm.scripted import DONE, an_ask, chunk, event
from tests._support.runs.strategy_play import Outcome, play

ANSWER = "42 " * 20
MAX_TOKENS = 100


class _OtherTokenizer(httpx.AsyncBaseTransport):
    """A server whose tokenizer makes a token of each character; it refuses beyond its window.

    With `has_usage` it reports its counts; `refusal` is its sentence, with the two numbers.
    """

    def __init__(
        self, window: int, *, has_usage: bool = True, refusal: str = "Context size exceeded."
    ) -> None:
        self.window = window
        self.has_usage = has_usage
        self.refusal = refusal
        self.refused = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(await request.aread())
        tokens = self._count(body["messages"])
        if tokens + body["max_tokens"] > self.window:
            self.refused += 1
            message = self.refusal.format(window=self.window, tokens=tokens)
            return httpx.Response(400, json={"error": {"message": message}})
        usage = {"prompt_tokens": tokens, "completion_tokens": 20}
        last = event({"choices": [], "usage": usage}) if self.has_usage else b""
        content = chunk(ANSWER) + chunk(finish="stop") + last + DONE
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=content)

    def _count(self, messages: Sequence[Mapping[str, Any]]) -> int:
        return sum(len(each["content"]) + 3 for each in messages)


async def _ask(
    server: _OtherTokenizer,
    turns: Sequence[Message],
    client: LLMClient | None = None,
    **agent: Any,
) -> Outcome:
    fields = {"model": "m", "max_tokens": MAX_TOKENS, "context_tokens": 2_048, **agent}
    ask: RunRequest = an_ask(messages=(*turns, Message("user", "What is the sum of these?")))
    return await play({"a": fields}, None, ask=ask, server=server, client=client)


async def _converse(server: _OtherTokenizer, turns: int, **agent: Any) -> list[Outcome]:
    """Return the outcomes of a conversation in which each question has 70 numbers."""
    history: list[Message] = []
    outcomes: list[Outcome] = []
    for turn in range(turns):
        question = " ".join(str(turn * 70 + number) for number in range(70))
        history.append(Message("user", question))
        history.append(Message("assistant", ANSWER))
        client = outcomes[-1].kit.client if outcomes else None
        outcomes.append(await _ask(server, history, client, **agent))
    return outcomes


async def test_a_servers_own_counts_prevent_refusals() -> None:
    server = _OtherTokenizer(2_048)
    outcomes = await _converse(server, 12)
    assert [each.error for each in outcomes] == [None] * 12
    assert server.refused <= 1
    assert all(len(each.server.asked) == 1 for each in outcomes[-6:])


@pytest.mark.parametrize(
    "refusal",
    [
        "Context size exceeded.",
        "maximum context length is {window} tokens. However, you requested {tokens} tokens.",
        "prompt is too long: {tokens} tokens > {window} maximum",
    ],
)
async def test_without_counts_a_conversation_continues_after_refusals(refusal: str) -> None:
    server = _OtherTokenizer(2_048, has_usage=False, refusal=refusal)
    outcomes = await _converse(server, 16)
    assert [each.error for each in outcomes[-8:]] == [None] * 8
    assert server.refused < 10


@pytest.mark.parametrize(
    "refusal", ["Context size exceeded.", "the context size ({window} tokens) is exceeded"]
)
async def test_a_much_smaller_window_than_configured_is_learned(refusal: str) -> None:
    server = _OtherTokenizer(1_500, refusal=refusal)
    outcomes = await _converse(server, 16, context_tokens=128_000)
    assert [each.error for each in outcomes[-6:]] == [None] * 6


async def test_a_refused_conversation_is_sent_once_more_without_its_oldest_exchange() -> None:
    server = _OtherTokenizer(900, has_usage=False)
    history = [
        Message("user", "1 " * 150), Message("assistant", "a"),
        Message("user", "2 " * 150), Message("assistant", "b"),
        Message("user", "3 " * 150), Message("assistant", "c"),
    ]  # fmt: skip
    outcome = await _ask(server, history)
    first, second = outcome.server.asked
    assert len(first["messages"]) == 7
    assert second["messages"] == first["messages"][2:]
    retrying = outcome.one(AgentRetrying)
    assert retrying.code == "request_corrected"
    assert retrying.message.endswith("It is called again without the oldest 2 messages.")
    assert outcome.error is None


async def test_a_second_refusal_is_the_result() -> None:
    outcome = await _ask(_OtherTokenizer(110), [Message("user", "1"), Message("assistant", "a")])
    assert len(outcome.server.asked) == 2
    assert outcome.bad.code == "context_length_exceeded"


async def test_a_question_alone_that_is_too_long_is_sent_once() -> None:
    outcome = await _ask(_OtherTokenizer(110), [])
    assert len(outcome.server.asked) == 1
    assert outcome.bad.code == "context_length_exceeded"
