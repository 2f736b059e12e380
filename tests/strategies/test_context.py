"""Each agent receives as much of the conversation as fits its model, and always the question."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from service.domain import Message, RunRequest
from service.events import AgentFinished
from service.llm.tokens.cache import RedisCounts
from service.llm.tokens.counter import TokenCounter
from telemetry import AgentOperation, Telemetry
from tests._support.llm.scripted import an_ask, model
from tests._support.runs.strategy_play import Outcome, play
from tests._support.telemetry.capture import Capture, capturing

TURN = "word " * 100  # 100 tokens, 500 bytes
QUESTION = "Why is the sky blue?"


class Watched(TokenCounter):
    """Notes what it has to count."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def count(
        self, texts: Sequence[str], model: str, parent: AgentOperation | None = None
    ) -> list[int]:
        self.asked += texts
        return await super().count(texts, model, parent)


def _ask(exchanges: int, turn: str = TURN) -> RunRequest:
    messages: list[Message] = []
    for n in range(exchanges):
        messages += [Message("user", f"u{n} {turn}"), Message("assistant", f"a{n} {turn}")]
    return an_ask(messages=(*messages, Message("user", QUESTION)))


def _agent(name: str, context_tokens: int | None = None, **fields: Any) -> dict[str, Any]:
    window = {} if context_tokens is None else {"context_tokens": context_tokens}
    return {"model": model(name), "max_tokens": 10, **window, **fields}


def _heard(outcome: Outcome, name: str) -> list[str]:
    """Return how each message begins that model `name` was sent last."""
    asked = [each for each in outcome.server.asked if each["model"].partition("?")[0] == name]
    return [message["content"].split()[0] for message in asked[-1]["messages"]]


async def _solo(agent: Mapping[str, Any], ask: RunRequest, **more: Any) -> Outcome:
    return await play({"a": agent}, None, ask=ask, **more)


async def test_an_agent_receives_the_complete_conversation_if_it_fits_the_window() -> None:
    outcome = await _solo(_agent("gpt-4o", 10_000), _ask(2))
    assert _heard(outcome, "gpt-4o") == ["u0", "a0", "u1", "a1", "Why"]


async def test_the_oldest_exchanges_are_left_out_for_a_small_window() -> None:
    outcome = await _solo(_agent("gpt-4o", 250), _ask(3))
    assert _heard(outcome, "gpt-4o") == ["u2", "a2", "Why"]


async def test_each_agent_receives_what_fits_its_own_window() -> None:
    agents = {"wide": _agent("gpt-4o", 10_000), "narrow": _agent("gpt-4o-mini", 250)}
    outcome = await play(agents, _agent("combine"), ask=_ask(2), straggler_grace_s="none")
    assert _heard(outcome, "gpt-4o") == ["u0", "a0", "u1", "a1", "Why"]
    assert _heard(outcome, "gpt-4o-mini") == ["u1", "a1", "Why"]


async def test_the_prompt_is_never_left_out_and_counts_against_the_window() -> None:
    agent = _agent("gpt-4o", 250, prompt="Prompt " * 50)
    outcome = await _solo(agent, _ask(2))
    assert _heard(outcome, "gpt-4o") == ["Prompt", "Why"]


async def test_max_tokens_of_the_window_are_reserved_for_the_answer() -> None:
    outcome = await _solo(_agent("gpt-4o", 460, max_tokens=10), _ask(2))
    assert _heard(outcome, "gpt-4o") == ["u0", "a0", "u1", "a1", "Why"]
    outcome = await _solo(_agent("gpt-4o", 460, max_tokens=100), _ask(2))
    assert _heard(outcome, "gpt-4o") == ["u1", "a1", "Why"]


async def test_a_question_that_is_too_long_is_sent_anyway() -> None:
    agent = _agent("gpt-4o", 20)
    ask = an_ask(messages=(Message("user", "Hm"), Message("assistant", "Yes?"), _long_question()))
    outcome = await _solo(agent, ask)
    assert _heard(outcome, "gpt-4o") == ["word"]


def _long_question() -> Message:
    return Message("user", TURN)


async def test_the_combiner_leaves_out_history_but_no_part_of_an_answer() -> None:
    agents = {name: _agent(name, 10_000) for name in ("one", "two")}
    outcome = await play(agents, _agent("gpt-4o", 180), ask=_ask(2))
    assert _heard(outcome, "gpt-4o") == ["Question:"]
    prompt = outcome.server.last_message("gpt-4o")
    answers = [event.report.text.strip() for event in outcome.of(AgentFinished)[:2]]
    assert len(answers) == 2
    assert all(answer in prompt for answer in answers)


async def test_a_fallback_receives_what_fits_the_smallest_window_of_the_models() -> None:
    first = model("gpt-4", fault="status", status=500)
    agent = {"model": first, "fallbacks": [model("gpt-4o")], "max_tokens": 10, "retries": 0}
    outcome = await _solo(agent, _ask(20, TURN * 4))  # 16,000 tokens; gpt-4 takes 8,192
    assert len(_heard(outcome, "gpt-4")) < 41
    assert _heard(outcome, "gpt-4o") == _heard(outcome, "gpt-4")


async def test_the_tokens_of_a_retried_call_are_counted_once() -> None:
    tokens = Watched()
    agent = _agent("x", 250, model=model("gpt-4o", fault="status", status=503, times=1))
    outcome = await _solo(agent, _ask(2), tokens=tokens)
    assert len(outcome.server.asked) == 2
    assert len(tokens.asked) == 5


# --- no counting for short input ---


@pytest.mark.parametrize("exchanges", [0, 20])
async def test_the_tokens_of_a_short_conversation_are_not_counted(exchanges: int) -> None:
    tokens = Watched()
    agents = {"a": _agent("one"), "b": _agent("two")}
    await play(agents, _agent("combine"), ask=_ask(exchanges), tokens=tokens)
    assert tokens.asked == []


async def test_the_tokens_of_a_question_alone_are_never_counted() -> None:
    tokens = Watched()
    ask = an_ask(messages=(_long_question(),))
    await _solo(_agent("one", 20), ask, tokens=tokens)
    assert tokens.asked == []


# --- telemetry ---


@pytest.fixture
def capture() -> Capture:
    seen = capturing()
    seen.telemetry.set_labels(agents={"a"})
    return seen


async def test_trimmed_messages_are_recorded_on_the_agents_span_and_in_the_metric(
    capture: Capture,
) -> None:
    await _solo(_agent("gpt-4o", 250), _ask(3), telemetry=capture.telemetry)
    (event,) = capture.span("invoke_agent a").events
    assert event.name == "app.context_trimmed"
    assert event.attributes == {"app.dropped_messages": 4}
    assert 'fanout_context_trims_total{agent="a"} 1.0' in capture.page()


async def test_a_complete_conversation_records_no_trim(capture: Capture) -> None:
    await _solo(_agent("gpt-4o"), _ask(3), telemetry=capture.telemetry)
    assert not capture.span("invoke_agent a").events


def test_lookups_of_counts_in_redis_are_below_the_agents_span(
    redis_url: str, capture: Capture
) -> None:
    async def ask(telemetry: Telemetry) -> None:
        counts = RedisCounts(redis_url, telemetry, timeout_s=5)
        tokens = TokenCounter(counts)
        await _solo(_agent("gpt-4o", 250), _ask(3), telemetry=telemetry, tokens=tokens)
        await tokens.close()

    asyncio.run(ask(capture.telemetry))  # a usual loop: Redis takes real time
    looked_up = [span for span in capture.spans if span.name == "count_tokens"]
    assert [capture.parent_name(span) for span in looked_up] == ["invoke_agent a"] * 2
    assert {span.attributes["db.system.name"] for span in looked_up if span.attributes} == {"redis"}
