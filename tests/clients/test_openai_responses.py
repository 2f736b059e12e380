"""OpenAI's SDK for Python: `/v1/responses`."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.responses import Response
from pydantic import BaseModel

from tests._support.clients.api import until
from tests._support.clients.openai_sdk import shown
from tests._support.llm.mock_stats import OpenCalls
from tests._support.servers.processes import Process

QUESTION = "Why is the sky blue?"
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}


async def streamed(client: AsyncOpenAI, **fields: Any) -> list[Any]:
    asked = {"model": "fanout", "input": QUESTION, "stream": True, **fields}
    return [event async for event in await client.responses.create(**asked)]


def text_of(events: list[Any]) -> str:
    return "".join(e.delta for e in events if e.type == "response.output_text.delta")


async def ended(client: AsyncOpenAI, response_id: str) -> Response:
    """Wait until a response in the background is there, or will never be."""

    async def is_over() -> bool:
        return (await client.responses.retrieve(response_id)).status != "in_progress"

    await until(is_over)
    return await client.responses.retrieve(response_id)


# --- whole and streamed ---


@pytest.mark.parametrize("model", ["fanout", "agent/plain"])
async def test_a_response_has_the_answer_of_the_run(
    client: AsyncOpenAI, service: Process, model: str
) -> None:
    raw = await client.responses.with_raw_response.create(model=model, input=QUESTION)
    response = raw.parse()
    run = shown(service, raw.headers["x-run-id"])
    assert response.output_text == run["answer"] != ""
    assert (response.status, response.error, response.model) == ("completed", None, model)
    assert response.usage
    assert response.usage.output_tokens == run["usage"]["output_tokens"]


def test_the_synchronous_client_reads_the_same_answer(service: Process) -> None:
    with OpenAI(base_url=f"{service.url}/v1", api_key="any", max_retries=0) as client:
        whole = client.responses.create(model="fanout", input=QUESTION)
        events = list(client.responses.create(model="fanout", input=QUESTION, stream=True))
    assert text_of(events) == whole.output_text


async def test_events_are_numbered_and_end_with_the_complete_response(client: AsyncOpenAI) -> None:
    events = await streamed(client)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == text_of(events) != ""
    (done,) = [event for event in events if event.type == "response.output_text.done"]
    assert done.text == text_of(events)


async def test_the_stream_helper_returns_the_final_response(client: AsyncOpenAI) -> None:
    async with client.responses.stream(model="fanout", input=QUESTION) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()
    assert final.output_text == text_of(events) != ""


async def test_instructions_and_earlier_turns_reach_the_models(client: AsyncOpenAI) -> None:
    turns: Any = [
        {"role": "user", "content": "And rain?"},
        {"role": "assistant", "content": "Wet."},
        {"role": "user", "content": [{"type": "input_text", "text": "And snow?"}]},
    ]
    response = await client.responses.create(
        model="agent/plain", input=turns, instructions="Talk like a sailor."
    )
    assert "And rain?" in response.output_text
    assert "sailor" in response.output_text


async def test_a_token_limit_makes_a_response_incomplete(client: AsyncOpenAI) -> None:
    response = await client.responses.create(
        model="agent/plain", input=QUESTION, max_output_tokens=5
    )
    assert response.status == "incomplete"
    assert response.incomplete_details
    assert response.incomplete_details.reason == "max_output_tokens"
    assert len(response.output_text.split()) == 5


async def test_metadata_is_returned(client: AsyncOpenAI) -> None:
    made = await client.responses.create(model="solo", input=QUESTION, metadata={"mine": "1"})
    assert made.metadata == {"mine": "1"}
    assert (await client.responses.retrieve(made.id)).metadata == {"mine": "1"}


# --- later ---


async def test_a_response_continues_the_previous_one(client: AsyncOpenAI) -> None:
    first = await client.responses.create(model="agent/plain", input="Tell me about tides.")
    second = await client.responses.create(
        model="agent/plain", input="And the moon?", previous_response_id=first.id
    )
    assert "tides" in second.output_text
    assert second.previous_response_id == first.id


async def test_a_response_can_be_retrieved(client: AsyncOpenAI) -> None:
    made = await client.responses.create(model="fanout", input=QUESTION)
    again = await client.responses.retrieve(made.id)
    assert again.output_text == made.output_text
    assert again.status == "completed"
    assert again.usage == made.usage


async def test_a_background_response_can_be_polled(hasty: AsyncOpenAI) -> None:
    """The run takes longer than the grace period of a run without a reader."""
    begun = await hasty.responses.create(model="steady", input=QUESTION, background=True)
    assert begun.status == "in_progress"
    response = await ended(hasty, begun.id)
    assert response.status == "completed"
    assert len(response.output_text.split()) == 80


async def test_a_background_stream_can_be_resumed(hasty: AsyncOpenAI) -> None:
    asked = hasty.responses.create(model="steady", input=QUESTION, background=True, stream=True)
    first: list[Any] = []
    async with await asked as stream:
        async for event in stream:
            first.append(event)
            if len(first) == 20:
                break
    response_id = first[0].response.id
    left_at = first[-1].sequence_number
    again = hasty.responses.retrieve(response_id, stream=True, starting_after=left_at)
    rest: list[Any] = [event async for event in await again]
    numbers = [event.sequence_number for event in [*first, *rest]]
    assert numbers == list(range(len(numbers)))
    assert rest[-1].type == "response.completed"
    assert text_of([*first, *rest]) == rest[-1].response.output_text


async def test_a_finished_stream_is_replayed_byte_for_byte(client: AsyncOpenAI) -> None:
    events = await streamed(client)
    response_id = events[0].response.id
    asking = client.responses.retrieve(response_id, stream=True)
    again: list[Any] = [event async for event in await asking]
    assert [event.sequence_number for event in again] == list(range(len(again)))
    assert text_of(again) == text_of(events)
    assert again[-1].response.output_text == text_of(events)


async def test_a_background_response_can_be_cancelled(
    hasty: AsyncOpenAI, open_calls: OpenCalls
) -> None:
    begun = await hasty.responses.create(model="agent/endless", input=QUESTION, background=True)
    await open_calls.begun()
    assert (await hasty.responses.cancel(begun.id)).status == "cancelled"
    await open_calls.ended()
    assert (await hasty.responses.retrieve(begun.id)).status == "cancelled"
    assert (await hasty.responses.cancel(begun.id)).status == "cancelled"


async def test_a_closed_stream_stops_the_model_calls_after_the_grace(
    hasty: AsyncOpenAI, open_calls: OpenCalls
) -> None:
    stream = await hasty.responses.create(model="endless", input=QUESTION, stream=True)
    await open_calls.begun()
    await stream.close()
    await open_calls.ended()


# --- tools, formats, pictures ---


async def test_a_function_call_is_returned_and_its_output_accepted(client: AsyncOpenAI) -> None:
    asked: dict[str, Any] = {"model": "agent/caller", "tools": [WEATHER]}
    first = await client.responses.create(input=QUESTION, **asked)
    (call,) = first.output
    assert call.type == "function_call"
    assert call.name == "get_weather"
    assert json.loads(call.arguments) == {"city": QUESTION}
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny."}
    told = await client.responses.create(input=[output], previous_response_id=first.id, **asked)
    assert "Sunny." in told.output_text
    repeated: Any = [{"role": "user", "content": QUESTION}, *first.output, output]
    told = await client.responses.create(input=repeated, **asked)
    assert "Sunny." in told.output_text


async def test_the_stream_helper_assembles_a_call(client: AsyncOpenAI) -> None:
    async with client.responses.stream(
        model="agent/caller", input=QUESTION, tools=[WEATHER]
    ) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()
    pieces = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
    assert len(pieces) > 1
    assert json.loads("".join(pieces)) == {"city": QUESTION}
    assert [item.type for item in final.output] == ["function_call"]


class Weather(BaseModel):
    """A structured answer."""

    place: str
    degrees: int


async def test_a_response_can_be_parsed_into_a_model(client: AsyncOpenAI) -> None:
    response = await client.responses.parse(
        model="agent/plain", input=QUESTION, text_format=Weather
    )
    assert response.output_parsed
    assert response.output_parsed.degrees == 7


async def test_images_reach_the_model(client: AsyncOpenAI) -> None:
    content = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="},
    ]
    asked: Any = [{"role": "user", "content": content}]
    response = await client.responses.create(model="agent/plain", input=asked)
    assert "Pictures shown: 1." in response.output_text


# --- errors ---


async def test_a_failure_before_the_first_byte_has_its_status(client: AsyncOpenAI) -> None:
    for stream in (False, True):
        for agent, status in (("broken", 502), ("late", 504)):
            with pytest.raises(openai.InternalServerError) as caught:
                await client.responses.create(model=f"agent/{agent}", input=QUESTION, stream=stream)
            assert (caught.value.status_code, bool(caught.value.code)) == (status, True)


async def test_a_response_that_fails_during_the_stream_ends_with_response_failed(
    client: AsyncOpenAI,
) -> None:
    events = await streamed(client, model="breaking")
    assert events[-1].type == "response.failed"
    assert events[-1].response.status == "failed"
    assert events[-1].response.error.message
    assert len(text_of(events).split()) == 60  # and it was continued twice


async def test_a_failed_background_response_has_its_error(client: AsyncOpenAI) -> None:
    begun = await client.responses.create(model="agent/broken", input=QUESTION, background=True)
    failed = await ended(client, begun.id)
    assert failed.status == "failed"
    assert failed.error
    assert failed.error.message


@pytest.mark.parametrize(
    ("fields", "kind", "param"),
    [
        ({"model": "gpt-unknown"}, openai.NotFoundError, "model"),
        ({"tools": [{"type": "web_search"}]}, openai.BadRequestError, "tools"),
        ({"tools": [WEATHER]}, openai.BadRequestError, "tools"),
        ({"temperature": 3}, openai.BadRequestError, "temperature"),
        ({"extra_body": {"temprature": 1}}, openai.BadRequestError, "temprature"),
        ({"previous_response_id": "resp_none"}, openai.APIStatusError, "previous_response_id"),
    ],
)
async def test_an_impossible_combination_is_refused_by_name(
    client: AsyncOpenAI, fields: dict[str, Any], kind: type[openai.APIStatusError], param: str
) -> None:
    asked = {"model": "fanout", "input": QUESTION, **fields}
    for stream in (False, True):
        with pytest.raises(kind) as caught:
            await client.responses.create(stream=stream, **asked)
        assert 400 <= caught.value.status_code < 500
        assert (caught.value.param or "").startswith(param)


async def test_an_unknown_response_is_not_found(client: AsyncOpenAI) -> None:
    for asking in (
        client.responses.retrieve("resp_unknown"),
        client.responses.retrieve("resp_unknown", stream=True),
        client.responses.cancel("resp_unknown"),
    ):
        with pytest.raises(openai.NotFoundError):
            await asking


async def test_concurrent_responses_do_not_mix(client: AsyncOpenAI) -> None:
    questions = [f"Explain number {n}." for n in range(10)]
    asking = (client.responses.create(model="agent/plain", input=each) for each in questions)
    answers = await asyncio.gather(*asking)
    assert [f"number {n}" in each.output_text for n, each in enumerate(answers)] == [True] * 10
