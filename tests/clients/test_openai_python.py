"""OpenAI's SDK for Python with only `base_url` changed: chat completions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI

from tests._support.clients.openai_sdk import USER, shown, streamed, text_of
from tests._support.servers.processes import Process


@pytest.mark.parametrize("model", ["fanout", "solo", "agent/plain"])
async def test_a_completion_has_the_answer_of_the_run(
    client: AsyncOpenAI, service: Process, model: str
) -> None:
    raw = await client.chat.completions.with_raw_response.create(model=model, messages=USER)
    completion = raw.parse()
    (choice,) = completion.choices
    run = shown(service, raw.headers["x-run-id"])
    assert choice.message.content == run["answer"] != ""
    assert (choice.index, choice.finish_reason, choice.message.role) == (0, "stop", "assistant")
    assert (completion.object, completion.model) == ("chat.completion", model)


async def test_usage_is_the_sum_over_all_agents(client: AsyncOpenAI, service: Process) -> None:
    raw = await client.chat.completions.with_raw_response.create(model="fanout", messages=USER)
    agents = shown(service, raw.headers["x-run-id"])["agents"]
    usage = raw.parse().usage
    assert usage
    assert len(agents) == 3
    assert usage.completion_tokens == sum(each["usage"]["output_tokens"] for each in agents) == 70
    assert usage.prompt_tokens == sum(each["usage"]["input_tokens"] for each in agents)
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


@pytest.mark.parametrize("model", ["fanout", "agent/plain"])
async def test_a_stream_starts_with_the_role_and_ends_with_the_finish_reason(
    client: AsyncOpenAI, model: str
) -> None:
    chunks = await streamed(client, model=model)
    assert len({(c.id, c.created, c.model, c.object) for c in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert not chunks[-1].choices[0].delta.content
    assert [c.choices[0].finish_reason for c in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert len(text_of(chunks)) > 20
    assert all(c.usage is None for c in chunks)


async def test_requested_usage_is_in_the_last_chunk(client: AsyncOpenAI) -> None:
    chunks = await streamed(client, stream_options={"include_usage": True})
    *others, last = chunks
    assert all("usage" in c.model_fields_set and c.usage is None for c in others)
    assert last.choices == []
    assert last.usage
    assert last.usage.completion_tokens == 70


def test_the_synchronous_client_reads_the_same_answer(service: Process) -> None:
    with OpenAI(base_url=f"{service.url}/v1", api_key="any", max_retries=0) as client:
        whole = client.chat.completions.create(model="fanout", messages=USER)
        stream = client.chat.completions.create(model="fanout", messages=USER, stream=True)
        assert text_of(list(stream)) == whole.choices[0].message.content
        assert "fanout" in [model.id for model in client.models.list()]


async def test_text_arrives_before_the_model_has_finished(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="endless", messages=USER, stream=True)
    async with stream:
        read = [await anext(stream) for _ in range(20)]
    assert text_of(read) != ""


async def test_the_stream_helper_returns_deltas_and_the_final_completion(
    client: AsyncOpenAI,
) -> None:
    async with client.chat.completions.stream(
        model="fanout", messages=USER, stream_options={"include_usage": True}
    ) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_completion()
    deltas = "".join(event.delta for event in events if event.type == "content.delta")
    (done,) = [event.content for event in events if event.type == "content.done"]
    assert deltas == done == final.choices[0].message.content
    assert final.usage
    assert final.usage.completion_tokens == 70


async def test_many_streams_share_one_client(client: AsyncOpenAI) -> None:
    answers = await asyncio.gather(*(streamed(client) for _ in range(20)))
    assert len({text_of(chunks) for chunks in answers}) == 1
    assert len({chunks[0].id for chunks in answers}) == 20


async def test_models_are_the_ensembles_and_the_agents(client: AsyncOpenAI) -> None:
    names = {model.id async for model in client.models.list()}
    assert {"fanout", "solo", "agent/one", "agent/plain"} <= names
    for name in ("fanout", "agent/plain"):
        found = await client.models.retrieve(name)
        assert (found.id, found.object) == (name, "model")


async def test_given_messages_reach_the_models(client: AsyncOpenAI) -> None:
    messages: Any = [
        {"role": "developer", "content": "Talk like a sailor."},
        {"role": "user", "content": "And rain?"},
        {"role": "assistant", "content": "Wet."},
        {"role": "user", "content": [{"type": "text", "text": "And snow?"}]},
    ]
    answer = await client.chat.completions.create(model="agent/plain", messages=messages)
    text = answer.choices[0].message.content
    assert text
    assert "And rain?" in text
    assert "sailor" in text


async def test_a_token_limit_cuts_the_answer_with_the_reason_length(client: AsyncOpenAI) -> None:
    for limit in ("max_tokens", "max_completion_tokens"):
        chunks = await streamed(client, model="agent/plain", **{limit: 5})
        assert chunks[-1].choices[0].finish_reason == "length"
        assert len(text_of(chunks).split()) == 5


async def test_parameters_reach_the_model(client: AsyncOpenAI) -> None:
    async def said(**fields: Any) -> str:
        return text_of(await streamed(client, model="agent/plain", temperature=0.5, **fields))

    assert await said(seed=1) == await said(seed=1) != await said(seed=2)
    whole = await said(seed=1)
    stop = whole.split()[6]
    assert (await said(seed=1, stop=[stop])).rstrip() == whole[: whole.index(stop)].rstrip()


async def test_progress_is_included_only_on_request(client: AsyncOpenAI) -> None:
    chunks = await streamed(client, extra_body={"include_progress": True})
    told = [extra["progress"] for c in chunks if (extra := c.model_extra) and "progress" in extra]
    assert {"run.started", "agent.started", "agent.finished"} <= {each["type"] for each in told}
    assert text_of(chunks) == text_of(await streamed(client))


async def test_estimated_token_counts_are_marked(client: AsyncOpenAI) -> None:
    for model, is_estimated in (("agent/uncounted", True), ("agent/plain", False)):
        completion = await client.chat.completions.create(model=model, messages=USER)
        options: Any = {"include_usage": True}
        *_, last = await streamed(client, model=model, stream_options=options)
        response = await client.responses.create(model=model, input="Why is the sky blue?")
        for usage in (completion.usage, last.usage, response.usage):
            assert usage
            assert usage.total_tokens > 0
            assert getattr(usage, "estimated", False) is is_estimated
