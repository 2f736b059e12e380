"""Worst cases: no call that keeps to its request costs more, whatever its prompt contains."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from service.domain import Message, RequestOptions
from service.ensembles.agents import Agent
from service.ensembles.prices import Price
from service.llm.requests.learned import LearnedTraits
from service.llm.requests.plan import RequestPlan
from service.llm.tokens.counter import TokenCounter
from service.messages import parse_chat_message
from service.strategies import STRATEGIES
from service.strategies.base import PlannedCalls
from service.strategies.spending.estimate import estimate_steps
from service.strategies.spending.worst_case import Amounts, WorstCases
from tests._support.llm.scripted import a_catalog, an_ask, an_ensemble_file

PRICE = Price(1.0, 10.0, reasoning=20.0, image=3.0)
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}


def an_agent(**fields: Any) -> Agent:
    extra_body = fields.pop("extra_body", {})
    fields = {"model": "gpt-4o", "max_tokens": 100, **fields}
    agent = a_catalog(an_ensemble_file({"a": fields}, None)).agents["a"]
    return replace(agent, extra_body=extra_body)


def worst_cases(learned: LearnedTraits | None = None) -> WorstCases:
    models = ("gpt-4o", "gpt-4o-mini", "llama")
    return WorstCases(TokenCounter(), learned or LearnedTraits(), dict.fromkeys(models, PRICE))


async def estimate(
    agent: Agent, *messages: Message, learned: LearnedTraits | None = None, **ask: Any
) -> Amounts:
    """Return the worst case of a question to one agent."""
    request = an_ask(messages=messages or (Message("user", "Why?"),), **ask)
    (step,) = await estimate_steps(worst_cases(learned), request, (PlannedCalls((agent,)),))
    return step[agent.name]


def user(*parts: dict[str, Any]) -> Message:
    return parse_chat_message(
        {"role": "user", "content": [{"type": "text", "text": "Why?"}, *parts]}
    )


async def test_the_prompt_is_counted_and_the_answer_is_limited() -> None:
    least = await estimate(an_agent())
    assert 100 < least.tokens < 120
    prompt = least.tokens - 100
    assert least.nano_usd == prompt * 1_000 + 100 * 20_000  # all of the answer may be reasoning
    longer = await estimate(an_agent(prompt="word " * 1000))
    assert longer.tokens - least.tokens == pytest.approx(1_000, abs=20)


@pytest.mark.parametrize(
    ("fields", "ask", "output"),
    [
        ({}, {"max_tokens": 7}, 7),
        ({}, {"max_tokens": 700}, 100),  # the agent's own limit is lower
        ({"extra_body": {"max_tokens": 250}}, {}, 250),
        ({"extra_body": {"max_completion_tokens": 300}}, {"max_tokens": 5}, 300),
        ({"extra_body": {"max_tokens": -1}}, {}, 128_000),
        ({"extra_body": {"max_tokens": 0}, "context_tokens": 4_000}, {}, 4_000),
        ({"extra_body": {"n": 3}}, {}, 300),
    ],
)
async def test_the_answer_has_the_limit_that_the_server_receives(
    fields: dict[str, Any], ask: dict[str, Any], output: int
) -> None:
    found = await estimate(an_agent(**fields), **ask)
    assert output < found.tokens < output + 20


async def test_every_call_requests_a_limit_of_its_tokens() -> None:
    agent = an_agent()
    plan = RequestPlan(agent, an_ask(), an_ask().messages, TokenCounter(), LearnedTraits())
    call = plan.build_call("gpt-4o", target=agent, key=None, is_watched=True, timeout_s=1)
    assert json.loads(call.body())["max_tokens"] == 100


async def test_images_are_counted_with_their_price() -> None:
    least = await estimate(an_agent(), user())
    two = await estimate(an_agent(), user(IMAGE, IMAGE))
    assert two - least == Amounts(10_000, 10_000 * 3_000)
    mini = await estimate(an_agent(model="gpt-4o-mini"), user(IMAGE))
    assert mini.tokens > 48_000


async def test_images_that_the_agent_does_not_take_are_not_counted() -> None:
    blind = an_agent(content_parts=[])
    assert (await estimate(blind, user(IMAGE))).tokens < 150


@pytest.mark.parametrize("kind", ["input_audio", "file"])
async def test_parts_that_cannot_be_counted_may_fill_the_window(kind: str) -> None:
    part = {"type": kind, kind: {"data": "AA", "format": "mp3", "file_data": "AA"}}
    assert (await estimate(an_agent(context_tokens=9_000), user(part))).tokens == 9_100


async def test_tools_and_response_formats_are_a_part_of_the_prompt() -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "word " * 500}}
    for parameters in ({"tools": [tool]}, {"response_format": {"schema": "word " * 500}}):
        found = await estimate(an_agent(), options=RequestOptions(parameters=parameters))
        assert found.tokens > 600


async def test_tool_calls_of_the_conversation_are_counted() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "9 " * 500}}
    asked = parse_chat_message({"role": "assistant", "content": None, "tool_calls": [call]})
    result = parse_chat_message({"role": "tool", "tool_call_id": "1", "content": "Yes."})
    found = await estimate(an_agent(), Message("user", "Why?"), asked, result)
    assert found.tokens > 600


async def test_history_beyond_the_window_is_not_counted() -> None:
    turns = [Message("user", "word " * 900), Message("assistant", "word " * 900)]
    found = await estimate(an_agent(context_tokens=2_500), *turns, *turns, Message("user", "Why?"))
    assert 1_900 < found.tokens < 2_500


async def test_a_server_that_is_known_to_count_more_is_believed() -> None:
    learned, agent = LearnedTraits(), an_agent()
    usual = await estimate(agent, learned=learned)
    learned.of(agent.base_url, "gpt-4o").record_tokens(100, 300)
    assert (await estimate(agent, learned=learned)).tokens - 100 == 3 * (usual.tokens - 100)


async def test_a_model_without_a_price_counts_tokens_only() -> None:
    found = await estimate(an_agent(model="unpriced"))
    assert found.tokens > 100
    assert found.nano_usd == 0


async def test_a_combiner_reads_the_answers_of_all_agents() -> None:
    agents = {name: {"model": "gpt-4o", "max_tokens": 300} for name in ("a", "b")}
    text = an_ensemble_file(agents, {"model": "gpt-4o", "max_tokens": 50})
    ensemble = a_catalog(text).ensembles["fanout"]
    steps = STRATEGIES["synthesize"].steps(ensemble)
    first, second = await estimate_steps(worst_cases(), an_ask(), steps)
    assert set(first) == {"a", "b"}
    assert 650 < second["combine"].tokens < 1_200


async def test_reused_answers_cost_nothing_and_are_read_by_the_combiner() -> None:
    agents = {name: {"model": "gpt-4o", "max_tokens": 300} for name in ("a", "b")}
    text = an_ensemble_file(agents, {"model": "gpt-4o", "max_tokens": 50})
    steps = STRATEGIES["synthesize"].steps(a_catalog(text).ensembles["fanout"])
    first, second = await estimate_steps(worst_cases(), an_ask(), steps, {"a"})
    assert set(first) == {"b"}
    assert second["combine"].tokens > 650
