"""OpenAI's SDK for Python, as its users have it, with only `base_url` changed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel

from tests.clients.conftest import Start
from tests.served.processes import PATIENCE_S, Process
from tests.served.troubles import locked
from tests.served.wire import until

USER: Any = [{"role": "user", "content": "Why is the sky blue?"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather of a place.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def client_of(process: Process, **options: Any) -> AsyncOpenAI:
    told: dict[str, Any] = {"timeout": PATIENCE_S, "max_retries": 0, **options}
    return AsyncOpenAI(base_url=f"{process.url}/v1", api_key="any", **told)


@pytest.fixture
async def client(service: Process) -> AsyncIterator[AsyncOpenAI]:
    async with client_of(service) as opened:
        yield opened


@pytest.fixture
async def hasty(impatient: Process) -> AsyncIterator[AsyncOpenAI]:
    """A client of the impatient service."""
    async with client_of(impatient) as opened:
        yield opened


def shown(service: Process, run_id: str) -> dict[str, Any]:
    """Return the run resource."""
    run: dict[str, Any] = httpx.get(f"{service.url}/api/runs/{run_id}").json()
    return run


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


async def streamed(client: AsyncOpenAI, **fields: Any) -> list[ChatCompletionChunk]:
    asked = {"model": "fanout", "messages": USER, "stream": True, **fields}
    return [chunk async for chunk in await client.chat.completions.create(**asked)]


async def refused(client: AsyncOpenAI, **fields: Any) -> openai.APIStatusError:
    """Return the error that a request without a stream gets; with one it must be the same."""
    asked = {"model": "fanout", "messages": USER, **fields}
    errors = []
    for stream in (False, True):
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(stream=stream, **asked)
        errors.append(caught.value)
    first, second = errors
    assert (type(first), first.code, first.param) == (type(second), second.code, second.param)
    return first


# --- answers ---


@pytest.mark.parametrize("model", ["fanout", "solo", "agent/plain"])
async def test_a_completion_is_the_runs_answer(
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
async def test_a_stream_begins_with_the_role_and_ends_with_the_reason(
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


async def test_usage_comes_last_when_it_is_asked_for(client: AsyncOpenAI) -> None:
    chunks = await streamed(client, stream_options={"include_usage": True})
    *others, last = chunks
    assert all("usage" in c.model_fields_set and c.usage is None for c in others)
    assert last.choices == []
    assert last.usage
    assert last.usage.completion_tokens == 70


def test_the_sync_client_reads_the_same(service: Process) -> None:
    with OpenAI(base_url=f"{service.url}/v1", api_key="any", max_retries=0) as client:
        whole = client.chat.completions.create(model="fanout", messages=USER)
        stream = client.chat.completions.create(model="fanout", messages=USER, stream=True)
        assert text_of(list(stream)) == whole.choices[0].message.content
        assert "fanout" in [model.id for model in client.models.list()]


async def test_text_arrives_while_the_model_still_writes(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="endless", messages=USER, stream=True)
    async with stream:
        read = [await anext(stream) for _ in range(20)]
    assert text_of(read) != ""


async def test_the_stream_helper_tells_deltas_and_the_final_completion(
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


async def test_many_streams_share_a_client(client: AsyncOpenAI) -> None:
    answers = await asyncio.gather(*(streamed(client) for _ in range(20)))
    assert len({text_of(chunks) for chunks in answers}) == 1
    assert len({chunks[0].id for chunks in answers}) == 20


async def test_models_are_the_ensembles_and_the_agents(client: AsyncOpenAI) -> None:
    names = {model.id async for model in client.models.list()}
    assert {"fanout", "solo", "agent/one", "agent/plain"} <= names
    for name in ("fanout", "agent/plain"):
        found = await client.models.retrieve(name)
        assert (found.id, found.object) == (name, "model")


async def test_a_conversation_that_is_brought_along_is_heard(client: AsyncOpenAI) -> None:
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


async def test_a_limit_cuts_the_answer_and_says_length(client: AsyncOpenAI) -> None:
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


async def test_progress_is_an_extra_that_is_asked_for(client: AsyncOpenAI) -> None:
    chunks = await streamed(client, extra_body={"include_progress": True})
    told = [extra["progress"] for c in chunks if (extra := c.model_extra) and "progress" in extra]
    assert {"run.started", "agent.started", "agent.finished"} <= {each["type"] for each in told}
    assert text_of(chunks) == text_of(await streamed(client))


# --- tools, formats, pictures ---


async def test_a_tool_is_called_and_its_result_answered(client: AsyncOpenAI) -> None:
    asked: dict[str, Any] = {"model": "agent/caller", "tools": [WEATHER]}
    first = await client.chat.completions.create(messages=USER, **asked)
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    assert message.tool_calls
    (call,) = message.tool_calls
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Why is the sky blue?", "days": 7}
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "Sunny, as ever."}
    second = await client.chat.completions.create(messages=[*USER, message, result], **asked)
    assert "Sunny, as ever." in (second.choices[0].message.content or "")


async def test_calls_stream_in_pieces(client: AsyncOpenAI) -> None:
    chunks = await streamed(client, model="agent/eager", tools=[WEATHER])
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    ids: dict[int, str | None] = {}
    arguments: dict[int, str] = {}
    for chunk in chunks:
        for call in chunk.choices[0].delta.tool_calls or []:
            assert call.function
            ids[call.index] = ids.get(call.index) or call.id
            said = call.function.arguments or ""
            arguments[call.index] = arguments.get(call.index, "") + said
    assert len(set(ids.values())) == 2
    assert [json.loads(each)["days"] for each in arguments.values()] == [7, 7]


async def test_the_stream_helper_puts_calls_together(client: AsyncOpenAI) -> None:
    async with client.chat.completions.stream(
        model="agent/caller", messages=USER, tools=[WEATHER]
    ) as stream:
        done = [e async for e in stream if e.type == "tool_calls.function.arguments.done"]
        final = await stream.get_final_completion()
    assert [each.name for each in done] == ["get_weather"]
    calls = final.choices[0].message.tool_calls
    assert calls
    assert calls[0].function.parsed_arguments == {"city": "Why is the sky blue?", "days": 7}


async def test_a_tool_can_be_required_and_forbidden(client: AsyncOpenAI) -> None:
    asked: dict[str, Any] = {"messages": USER, "tools": [WEATHER]}
    required = await client.chat.completions.create(
        model="agent/plain", tool_choice="required", **asked
    )
    forbidden = await client.chat.completions.create(
        model="agent/caller", tool_choice="none", **asked
    )
    assert required.choices[0].finish_reason == "tool_calls"
    assert forbidden.choices[0].finish_reason == "stop"


async def test_several_agents_cannot_share_a_tool_and_say_so(client: AsyncOpenAI) -> None:
    error = await refused(client, tools=[WEATHER])
    assert isinstance(error, openai.BadRequestError)
    assert error.param == "tools"


class Weather(BaseModel):
    """A structured answer."""

    place: str
    degrees: int
    windy: bool
    days: list[str]


async def test_an_answer_can_be_parsed_into_a_model(client: AsyncOpenAI) -> None:
    completion = await client.chat.completions.parse(
        model="agent/plain", messages=USER, response_format=Weather
    )
    parsed = completion.choices[0].message.parsed
    assert parsed
    assert (parsed.degrees, parsed.windy) == (7, True)
    async with client.chat.completions.stream(
        model="agent/plain", messages=USER, response_format=Weather
    ) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.parsed == parsed


# The SDK's own doing: it declares `parsed` as None and puts a model there.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
async def test_an_answer_that_was_parsed_can_be_sent_back(client: AsyncOpenAI) -> None:
    """The SDK sends along what it has made of it."""
    parsed = await client.chat.completions.parse(
        model="agent/plain", messages=USER, response_format=Weather
    )
    async with client.chat.completions.stream(
        model="agent/caller", messages=USER, tools=[WEATHER]
    ) as stream:
        called = (await stream.get_final_completion()).choices[0].message
    assert called.tool_calls
    result = {"role": "tool", "tool_call_id": called.tool_calls[0].id, "content": "Sunny."}
    answers: list[Any] = [[parsed.choices[0].message, *USER], [called, result]]
    for message, reply in answers:
        for sent in (message, message.to_dict()):
            answer = await client.chat.completions.create(
                model="agent/plain", messages=[*USER, sent, reply], tools=[WEATHER]
            )
            assert answer.choices[0].finish_reason == "stop"


async def test_pictures_are_passed_on(client: AsyncOpenAI) -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
    ]
    messages: Any = [{"role": "user", "content": parts}]
    answer = await client.chat.completions.create(model="agent/plain", messages=messages)
    assert "Pictures shown: 1." in (answer.choices[0].message.content or "")


# --- errors before the first byte ---


async def test_an_unknown_model_is_not_found(client: AsyncOpenAI) -> None:
    error = await refused(client, model="gpt-unknown")
    assert isinstance(error, openai.NotFoundError)
    assert error.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt-unknown")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("logprobs", True),
        ("n", 2),
        ("temperature", 3),
        ("audio", {"voice": "alloy", "format": "mp3"}),
        ("messages", []),
    ],
)
async def test_what_is_not_supported_is_refused_by_name(
    client: AsyncOpenAI, field: str, value: Any
) -> None:
    error = await refused(client, **{field: value})
    assert isinstance(error, openai.BadRequestError)
    assert error.param == field
    assert error.type == "invalid_request_error"
    assert error.request_id
    assert field in error.message


async def test_an_unknown_field_is_refused_by_name(client: AsyncOpenAI) -> None:
    error = await refused(client, extra_body={"temprature": 1})
    assert isinstance(error, openai.BadRequestError)
    assert error.param == "temprature"


@pytest.mark.parametrize(
    ("agent", "status"), [("broken", 502), ("strict", 502), ("late", 504), ("busy", 502)]
)
async def test_a_failing_model_has_its_status_before_the_first_byte(
    client: AsyncOpenAI, agent: str, status: int
) -> None:
    error = await refused(client, model=f"agent/{agent}")
    assert isinstance(error, openai.InternalServerError)
    assert error.status_code == status
    assert error.code
    assert error.request_id
    assert agent in error.message or "mock" in error.message


async def test_the_request_id_of_the_client_comes_back(client: AsyncOpenAI) -> None:
    told = {"X-Request-ID": "mine-1"}
    raw = await client.chat.completions.with_raw_response.create(
        model="solo", messages=USER, extra_headers=told
    )
    assert raw.request_id == "mine-1"


# --- what goes wrong later ---


@pytest.mark.parametrize("model", ["breaking", "agent/breaking"])
async def test_an_error_midway_is_raised_behind_what_came(client: AsyncOpenAI, model: str) -> None:
    chunks = []
    with pytest.raises(openai.APIError) as caught:  # noqa: PT012  # what came before it counts
        async for chunk in await client.chat.completions.create(
            model=model, messages=USER, stream=True
        ):
            chunks.append(chunk)  # noqa: PERF401
    assert len(text_of(chunks).split()) == 20
    assert not any(c.choices[0].finish_reason for c in chunks)
    assert not isinstance(caught.value, openai.APIConnectionError)
    assert caught.value.code
    assert caught.value.message


async def test_an_error_midway_of_a_whole_answer_is_a_status(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(model="breaking", messages=USER)
    assert caught.value.status_code == 502


async def test_one_failed_agent_of_several_does_not_fail_the_answer(client: AsyncOpenAI) -> None:
    assert text_of(await streamed(client, model="lopsided")) != ""


async def test_a_stream_that_is_closed_ends_the_calls_after_the_grace(
    hasty: AsyncOpenAI, open_calls: Callable[[], int]
) -> None:
    before = open_calls()
    stream = await hasty.chat.completions.create(model="endless", messages=USER, stream=True)
    await anext(stream)
    assert open_calls() > before
    await stream.close()

    async def ended() -> bool:
        return open_calls() <= before

    await until(ended)


async def test_a_whole_answer_that_is_not_awaited_ends_its_calls(
    hasty: AsyncOpenAI, open_calls: Callable[[], int]
) -> None:
    before = open_calls()
    asked = asyncio.create_task(hasty.chat.completions.create(model="agent/endless", messages=USER))

    async def begun() -> bool:
        return open_calls() > before

    async def ended() -> bool:
        return open_calls() <= before

    await until(begun)
    asked.cancel()
    await asyncio.wait([asked])
    await until(ended)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_clients_own_timeout_is_a_timeout(hasty: AsyncOpenAI, stream: bool) -> None:
    with pytest.raises(openai.APITimeoutError):
        await hasty.with_options(timeout=0.5).chat.completions.create(
            model="agent/hung", messages=USER, stream=stream
        )


async def test_pings_in_a_long_silence_are_not_seen(hasty: AsyncOpenAI) -> None:
    chunks = await streamed(hasty, model="agent/silent", stream_options={"include_usage": True})
    assert len(text_of(chunks).split()) == 3
    assert chunks[-1].usage


async def test_pings_are_one_line_and_nothing_is_named_or_numbered(impatient: Process) -> None:
    body = {"model": "agent/silent", "messages": USER, "stream": True}
    async with httpx.AsyncClient(base_url=impatient.url, timeout=PATIENCE_S) as http:
        response = await http.post("/v1/chat/completions", json=body)
    lines = response.text.split("\n")
    assert lines.count(": ping") > 2
    assert {line.partition(":")[0] for line in lines if line} == {"", "data"}
    assert ": ping\n\n" not in response.text
    assert response.text.endswith("data: [DONE]\n\n")


class Noted:
    """An HTTP client for the SDK that notes the status of every answer."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        hooks = {"response": [self._note]}
        self.http = openai.DefaultAsyncHttpxClient(event_hooks=hooks, timeout=PATIENCE_S)

    async def _note(self, response: Any) -> None:
        self.statuses.append(response.status_code)


async def test_a_retry_finds_a_model_that_has_recovered(service: Process) -> None:
    noted = Noted()
    async with client_of(service, max_retries=2, http_client=noted.http) as client:
        answer = await client.chat.completions.create(model="agent/busy-once", messages=USER)
    assert answer.choices[0].message.content
    assert noted.statuses == [502, 200]


async def test_a_retry_finds_a_database_that_has_recovered(start: Start, tmp_path: Path) -> None:
    database, noted = tmp_path / "service.db", Noted()
    service = start(DATABASE_URL=f"sqlite:///{database}", STORE_TIMEOUT_S="0.5")
    async with client_of(service, max_retries=5, http_client=noted.http) as client:
        asking = client.chat.completions.create(model="solo", messages=USER)
        await client.chat.completions.create(model="solo", messages=USER)

        async def was_refused() -> bool:
            return 503 in noted.statuses

        with locked(database):
            asked = asyncio.create_task(asking)
            await until(was_refused)
        answer = await asked
    assert answer.choices[0].message.content
    assert noted.statuses[-1] == 200
