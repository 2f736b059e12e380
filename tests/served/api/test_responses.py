"""`/v1/responses` over a real socket."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI

from tests._support.clients.api import Api, client_of, until
from tests._support.clients.openai_requests import make_question, parse_error, user
from tests._support.clients.worker_clients import connect_to_each_worker
from tests._support.llm.mock_stats import Upstream
from tests._support.llm.unbounded_server import CHUNKS, TEXT
from tests._support.recovery.installation import Installation
from tests._support.servers.services import GRACE_S, Start

URL = "/v1/responses"
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": False}
_EVENT = re.compile(r"event: (response\.[a-z_.]+)\ndata: (\{[\x20-\x7e]*\})")

Response = dict[str, Any]


async def post(api: Api, said: Any = "", **fields: Any) -> httpx.Response:
    body = {"model": "fanout", "input": said or make_question(), **fields}
    return await api.http.post(URL, json=body)


async def create(api: Api, said: Any = "", **fields: Any) -> Response:
    """Create a response and return it."""
    response = await post(api, said, **fields)
    assert response.status_code == 200, response.text
    shown: Response = response.json()
    return shown


async def fetch(api: Api, response_id: str) -> Response:
    response = await api.http.get(f"{URL}/{response_id}")
    assert response.status_code == 200, response.text
    found: Response = response.json()
    return found


async def wait_for_end(api: Api, response_id: str) -> Response:
    async def over() -> bool:
        return bool((await fetch(api, response_id))["status"] != "in_progress")

    await until(over)
    return await fetch(api, response_id)


async def stream(api: Api, said: Any = "", **fields: Any) -> list[str]:
    response = await post(api, said, stream=True, **fields)
    return split_blocks(response)


async def fetch_stream(api: Api, response_id: str, after: int | None = None) -> list[str]:
    """Return the events of an existing response's stream."""
    position = "" if after is None else f"&starting_after={after}"
    return split_blocks(await api.http.get(f"{URL}/{response_id}?stream=true{position}"))


@asynccontextmanager
async def reading(api: Api, said: str = "", **fields: Any) -> AsyncIterator[AsyncIterator[str]]:
    """Create a response and yield the events of its open stream."""
    body = {"model": "fanout", "input": said or make_question(), "stream": True, **fields}
    async with api.http.stream("POST", URL, json=body) as response:
        assert response.status_code == 200
        yield _iterate_blocks(response)


async def _iterate_blocks(response: httpx.Response) -> AsyncIterator[str]:
    buffer = ""
    async for block in response.aiter_text():
        *blocks, buffer = (buffer + block).replace(": ping\n", "").split("\n\n")
        for each in blocks:
            yield each


def split_blocks(response: httpx.Response) -> list[str]:
    """Return the events of a complete stream as text."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/event-stream"
    *blocks, rest = response.content.decode("ascii").replace(": ping\n", "").split("\n\n")
    assert rest == ""
    return blocks


def parse_events(blocks: Sequence[str], first: int = 0) -> list[dict[str, Any]]:
    """Return the data of events, which must be named and numbered from `first` on."""
    data = []
    for number, block in enumerate(blocks, first):
        match = _EVENT.fullmatch(block)
        assert match, block
        data.append(json.loads(match[2]))
        assert (data[-1]["type"], data[-1]["sequence_number"]) == (match[1], number)
    return data


def get_text(response: Response) -> str:
    messages = [item for item in response["output"] if item["type"] == "message"]
    return "".join(part["text"] for item in messages for part in item["content"])


def to_run_id(response: Response) -> str:
    return "run_" + str(response["id"]).removeprefix("resp_")


def get_last_response(blocks: Sequence[str]) -> Response:
    response: Response = parse_events(blocks[-1:], len(blocks) - 1)[0]["response"]
    return response


# --- unstreamed answers ---


async def test_a_response_is_a_run_in_openais_format(api: Api) -> None:
    response = await create(api, metadata={"a": "b"}, max_output_tokens=1000)
    run = await api.shown(to_run_id(response))
    assert get_text(response) == run["answer"]
    assert (response["object"], response["status"], response["model"]) == (
        "response",
        "completed",
        "fanout",
    )
    assert response["usage"]["total_tokens"] == run["usage"]["total_tokens"]
    assert response["conversation"] == {"id": run["conversation_id"]}
    assert (response["metadata"], response["max_output_tokens"]) == ({"a": "b"}, 1000)
    assert await fetch(api, response["id"]) == response


async def test_an_answer_cut_at_its_token_limit_is_incomplete(api: Api) -> None:
    response = await create(api, model="agent/llm-1", max_output_tokens=3)
    assert (response["status"], response["usage"]["output_tokens"]) == ("incomplete", 3)
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}


async def test_a_failure_has_its_status_and_openais_error_format(api: Api) -> None:
    for fields, status in (({}, 502), ({"stream": True}, 502)):
        response = await post(api, model="both-bad", **fields)
        assert (response.status_code, parse_error(response)["code"]) == (status, "too_few_answers")


async def test_any_run_can_be_read_as_a_response(api: Api) -> None:
    run_id = (await api.ask())[0].run_id
    response_id = run_id.replace("run_", "resp_")
    response = await fetch(api, response_id)
    assert get_text(response) == (await api.shown(run_id))["answer"]
    assert get_last_response(await fetch_stream(api, response_id)) == response


# --- streams ---


async def test_a_stream_ends_with_the_response(api: Api) -> None:
    blocks = await stream(api)
    events = parse_events(blocks)
    assert events[0]["response"]["status"] == events[1]["response"]["status"] == "in_progress"
    response = events[-1]["response"]
    assert response["status"] == "completed"
    deltas = [e["delta"] for e in events if e["type"] == "response.output_text.delta"]
    assert "".join(deltas) == get_text(response)
    assert await fetch(api, response["id"]) == response


async def test_a_stream_resumed_after_any_event_has_exactly_the_later_events(api: Api) -> None:
    blocks = await stream(api)
    response_id = get_last_response(blocks)["id"]
    assert await fetch_stream(api, response_id) == blocks
    for after in range(len(blocks)):
        assert await fetch_stream(api, response_id, after) == blocks[after + 1 :]


async def test_an_event_number_beyond_the_stream_is_refused(api: Api) -> None:
    blocks = await stream(api)
    url = f"{URL}/{get_last_response(blocks)['id']}?stream=true&starting_after="
    for after in (str(len(blocks)), "-1", "x"):
        response = await api.http.get(url + after)
        assert response.status_code == 400
        assert parse_error(response)["code"] == "bad_position"


async def test_a_failure_during_the_stream_is_the_last_event_and_retains_the_text(api: Api) -> None:
    blocks = await stream(api, model="combiner-reset")
    events = parse_events(blocks)
    response = events[-1]["response"]
    assert (events[-1]["type"], response["status"]) == ("response.failed", "failed")
    assert response["error"]["code"].startswith("upstream_")
    assert get_text(response)
    assert await fetch(api, response["id"]) == response


async def test_comments_that_sdks_ignore_keep_a_silent_connection_alive(hasty: Api) -> None:
    body = {"model": "hung-for-a-while", "input": "Why?", "stream": True, "background": True}
    response = await hasty.http.post(URL, json=body)
    assert b": ping\n" in response.content
    assert parse_events(split_blocks(response))[-1]["type"] == "response.failed"


async def test_a_reconnecting_client_continues_a_running_stream(api: Api) -> None:
    async with reading(api, model="steady") as events:
        seen = [await anext(events) for _ in range(10)]
        response_id = parse_events(seen)[0]["response"]["id"]
    rest = await fetch_stream(api, response_id, 9)
    assert parse_events(seen + rest)[-1]["type"] == "response.completed"
    assert await fetch_stream(api, response_id) == seen + rest


async def test_a_very_large_answer_is_complete(api: Api) -> None:
    blocks = await stream(api, model="huge")
    response = get_last_response(blocks)
    assert get_text(response) == TEXT * CHUNKS
    assert get_text(await fetch(api, response["id"])) == TEXT * CHUNKS


# --- background, cancellation ---


async def test_a_background_response_completes_without_readers(
    hasty: Api,
) -> None:
    response = await create(hasty, model="steady", background=True)
    assert (response["status"], response["background"], response["output"]) == (
        "in_progress",
        True,
        [],
    )
    await asyncio.sleep(GRACE_S * 1.1)
    assert (await wait_for_end(hasty, response["id"]))["status"] == "completed"


async def test_a_background_response_completes_after_its_client_disconnects(hasty: Api) -> None:
    async with reading(hasty, model="steady", background=True) as events:
        first = parse_events([await anext(events)])[0]["response"]
    response = await wait_for_end(hasty, first["id"])
    assert response["status"] == "completed"


async def test_without_background_a_disconnect_stops_the_response(
    hasty: Api, upstream: Upstream
) -> None:
    async with reading(hasty, model="endless-answer") as events:
        first = parse_events([await anext(events)])[0]["response"]
    response = await wait_for_end(hasty, first["id"])
    assert (response["status"], response["error"]["code"]) == ("cancelled", "abandoned")
    await until(upstream.quiet)


async def test_a_second_cancel_changes_nothing(api: Api, upstream: Upstream) -> None:
    response = await create(api, model="endless", background=True)
    cancelled = [await api.http.post(f"{URL}/{response['id']}/cancel") for _ in range(2)]
    assert [each.json()["status"] for each in cancelled] == ["cancelled"] * 2
    assert cancelled[0].json() == cancelled[1].json() == await fetch(api, response["id"])
    await until(upstream.quiet)


async def test_a_streaming_client_receives_the_cancellation(api: Api) -> None:
    async with reading(api, model="endless-answer") as events:
        blocks = [await anext(events)]
        response_id = parse_events(blocks)[0]["response"]["id"]
        await api.http.post(f"{URL}/{response_id}/cancel")
        blocks += [each async for each in events]
    assert get_last_response(blocks)["status"] == "cancelled"


async def test_cancelling_a_completed_response_changes_nothing(api: Api) -> None:
    response = await create(api)
    cancelled = await api.http.post(f"{URL}/{response['id']}/cancel")
    assert cancelled.json() == response


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("unknown", ["resp_" + "0" * 32, "resp_%00", "run_1", "resp_é"])
async def test_an_unknown_response_is_404(api: Api, method: str, unknown: str) -> None:
    path = f"{URL}/{unknown}" + ("/cancel" if method == "post" else "")
    response = await api.http.request(method, path)
    assert (response.status_code, parse_error(response)["code"]) == (404, "response_not_found")


# --- previous responses, conversations ---


def turns(installation: Installation, question: str) -> list[tuple[str, str]]:
    """Return the messages that the first agent received with `question`."""
    return installation.models.of(question, "one")[-1].turns


def system(installation: Installation, question: str) -> list[str]:
    """Return the system messages that the first agent received with `question`."""
    messages = installation.models.of(question, "one")[-1].messages
    return [str(each["content"]) for each in messages if each["role"] == "system"]


async def test_a_chain_of_responses_is_a_conversation(installation: Installation) -> None:
    async with client_of(installation.serve().url) as api:
        first = await create(api, "First?", instructions="Shout.")
        second = await create(api, "Second?", previous_response_id=first["id"])
        third = await create(api, "Third?", previous_response_id=second["id"])
        assert second["previous_response_id"] == first["id"]
        assert first["conversation"] == second["conversation"] == third["conversation"]
        assert turns(installation, "Third?") == [
            ("user", "First?"),
            ("assistant", get_text(first)),
            ("user", "Second?"),
            ("assistant", get_text(second)),
            ("user", "Third?"),
        ]
        assert system(installation, "First?") == ["Shout."]
        assert system(installation, "Second?") == []
        listed = await api.http.get(f"/api/conversations/{first['conversation']['id']}")
        assert len(listed.json()["messages"]) == 6


async def test_a_question_after_an_earlier_response_starts_a_branch(
    installation: Installation,
) -> None:
    async with client_of(installation.serve().url) as api:
        first = await create(api, "First?")
        second = await create(api, "Second?", previous_response_id=first["id"])
        branch = await create(api, "Branch?", previous_response_id=first["id"])
        assert branch["conversation"] != second["conversation"]
        before = [("user", "First?"), ("assistant", get_text(first))]
        assert turns(installation, "Branch?") == [*before, ("user", "Branch?")]
        on = await create(api, "Onward?", previous_response_id=branch["id"])
        assert on["conversation"] == branch["conversation"]
        said = [*before, ("user", "Branch?"), ("assistant", get_text(branch))]
        assert turns(installation, "Onward?") == [*said, ("user", "Onward?")]


async def test_parallel_responses_are_not_part_of_each_others_history(
    installation: Installation,
) -> None:
    async with client_of(installation.serve().url) as api:
        first = await create(api, "First?")
        asked = [f"Number {n}?" for n in range(4)]
        answers = await asyncio.gather(
            *(create(api, each, previous_response_id=first["id"]) for each in asked)
        )
        before = [("user", "First?"), ("assistant", get_text(first))]
        for question, answer in zip(asked, answers, strict=True):
            assert turns(installation, question) == [*before, ("user", question)]
            on = f"And {question}"
            await create(api, on, previous_response_id=answer["id"])
            said = [*before, ("user", question), ("assistant", get_text(answer))]
            assert turns(installation, on) == [*said, ("user", on)]


async def test_all_items_of_the_input_are_added_to_the_stored_turns(
    installation: Installation,
) -> None:
    async with client_of(installation.serve().url) as api:
        first = await create(api, "First?")
        items = [user("By the way:"), {"role": "developer", "content": "Whisper."}, user("Next?")]
        second = await create(api, items, previous_response_id=first["id"])
        await create(api, "Last?", previous_response_id=second["id"])
        known = turns(installation, "Last?")
        assert [text for role, text in known if role == "user"] == [
            "First?",
            "By the way:",
            "Next?",
            "Last?",
        ]
        assert system(installation, "Last?") == ["Whisper."]
        listed = await api.http.get(f"/api/conversations/{first['conversation']['id']}")
        contents = [each["content"] for each in listed.json()["messages"]]
        assert contents[2:5] == ["By the way:", "Whisper.", "Next?"]


async def test_conversations_continue_across_apis(installation: Installation) -> None:
    async with client_of(installation.serve().url) as api:
        await api.ask("First?", conversation_id="conv-1")
        second = await create(api, "Second?", conversation="conv-1")
        assert second["conversation"] == {"id": "conv-1"}
        await api.ask("Third?", conversation_id="conv-1")
        asked = [text for role, text in turns(installation, "Third?") if role == "user"]
        assert asked == ["First?", "Second?", "Third?"]
        run_id = (await api.ask("Fourth?", conversation_id="conv-1"))[0].run_id
        fifth = await create(api, "Fifth?", previous_response_id=run_id.replace("run_", "resp_"))
        assert fifth["conversation"] == {"id": "conv-1"}


async def test_an_item_can_be_referenced_by_its_id(installation: Installation) -> None:
    async with client_of(installation.serve().url) as api:
        first = await create(api, "First?")
        reference = {"type": "item_reference", "id": first["output"][0]["id"]}
        await create(api, [user("First?"), reference, user("Second?")])
        assert turns(installation, "Second?")[1] == ("assistant", get_text(first))
        for unknown in ("msg_" + "0" * 32, "msg_x", "rs_1"):
            response = await post(api, [{"id": unknown}, user()])
            error = parse_error(response)
            assert (error["code"], error["param"]) == ("item_not_found", "input.0.id")


async def test_an_invalid_previous_response_is_refused(api: Api) -> None:
    for unknown in ("resp_" + "0" * 32, "x\n"):
        response = await post(api, previous_response_id=unknown)
        error = parse_error(response)
        assert response.status_code == 400
        assert (error["code"], error["param"]) == (
            "previous_response_not_found",
            "previous_response_id",
        )
    running = await create(api, model="endless", background=True)
    response = await post(api, previous_response_id=running["id"])
    assert (response.status_code, parse_error(response)["code"]) == (
        409,
        "previous_response_in_progress",
    )
    await api.http.post(f"{URL}/{running['id']}/cancel")


# --- tools ---


async def test_a_tool_call_is_returned_and_its_result_answered(api: Api) -> None:
    asked = {"model": "agent/llm-1", "tools": [TOOL]}
    first = await create(api, "Weather?", **asked, tool_choice="required")
    (call,) = first["output"]
    assert (call["type"], call["name"]) == ("function_call", "weather")
    json.loads(call["arguments"])
    assert first["tools"] == [{**TOOL, "description": None}]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "Rain."}
    chained = await create(api, [result], **asked, previous_response_id=first["id"])
    assert chained["output"][0]["type"] == "message"
    by_hand = await create(api, [user("Weather?"), call, result], **asked)
    assert by_hand["status"] == "completed"
    last = await create(api, "Thanks.", **asked, previous_response_id=chained["id"])
    assert last["status"] == "completed"


async def test_unmatched_tool_calls_and_results_are_refused(api: Api) -> None:
    asked = {"model": "agent/llm-1", "tools": [TOOL]}
    first = await create(api, "Weather?", **asked, tool_choice="required")
    result = {"type": "function_call_output", "call_id": "call_x", "output": "Rain."}
    goes_on = {"previous_response_id": first["id"]}
    for items, fields in (([result], goes_on), ([result], {}), ([first["output"][0]], {})):
        response = await post(api, items, **asked, **fields)
        assert response.status_code == 400
        assert parse_error(response)["param"] in ("input", None)
    on = await create(api, "Never mind.", **asked, **goes_on)  # the unanswered call is dropped
    assert on["status"] == "completed"


async def test_a_tool_call_streams(api: Api) -> None:
    asked = {"model": "agent/llm-1", "tools": [TOOL], "tool_choice": "required"}
    blocks = await stream(api, "Weather?", **asked)
    events = parse_events(blocks)
    deltas = [e["delta"] for e in events if e["type"] == "response.function_call_arguments.delta"]
    (item,) = events[-1]["response"]["output"]
    assert "".join(deltas) == item["arguments"]
    assert await fetch(api, events[-1]["response"]["id"]) == events[-1]["response"]


async def test_fields_that_a_combined_answer_cannot_support_are_refused(api: Api) -> None:
    error = parse_error(await post(api, tools=[TOOL]))
    assert (error["code"], error["param"]) == ("unsupported_parameter", "tools")
    assert "tools" in error["message"]


async def test_an_unknown_model_is_404(api: Api) -> None:
    response = await post(api, model="gpt-6")
    assert (response.status_code, parse_error(response)["code"]) == (404, "model_not_found")


# --- after a crash, on other workers, after expiry ---


async def test_a_response_is_the_same_after_a_crash(installation: Installation) -> None:
    service = installation.serve()
    async with client_of(service.url) as api:
        blocks = await stream(api, metadata={"a": "b"}, instructions="Be brief.")
        response = get_last_response(blocks)
        cut = await stream(api, max_output_tokens=3)
    service.crash()
    async with client_of(installation.serve().url) as api:
        assert await fetch_stream(api, response["id"]) == blocks
        for after in range(0, len(blocks), 5):
            assert await fetch_stream(api, response["id"], after) == blocks[after + 1 :]
        assert await fetch(api, response["id"]) == response
        assert await fetch(api, get_last_response(cut)["id"]) == get_last_response(cut)


async def test_a_response_interrupted_by_a_crash_has_failed_and_can_be_read(
    installation: Installation,
) -> None:
    service = installation.serve()
    async with client_of(service.url) as api, reading(api, model="endless") as events:
        seen = []
        async for block in events:
            seen.append(block)
            if ".delta" in block:
                break
        service.crash()
    response_id = parse_events(seen)[0]["response"]["id"]
    async with client_of(installation.serve().url) as api:
        rest = await fetch_stream(api, response_id, len(seen) - 1)
        last = get_last_response(seen + rest)
        assert (last["status"], last["error"]["code"]) == ("failed", "interrupted")
        assert await fetch(api, response_id) == last


async def test_any_worker_returns_streams_and_cancels_a_response(
    installation: Installation,
) -> None:
    service = installation.serve("--workers", "2", DETACH_GRACE_S="0")
    async with connect_to_each_worker(service) as clients:
        response = await create(clients[0], model="steady", background=True)
        streams = await asyncio.gather(*(fetch_stream(api, response["id"]) for api in clients))
        assert all(each == streams[0] for each in streams)
        assert get_last_response(streams[0])["status"] == "completed"
        for api in clients:
            running = await create(clients[0], model="endless", background=True)
            cancelled = await api.http.post(f"{URL}/{running['id']}/cancel")
            assert cancelled.json()["status"] == "cancelled"


async def test_a_response_remains_after_its_events_have_expired(installation: Installation) -> None:
    service = installation.serve(RUN_RETENTION_S="1")
    async with client_of(service.url) as api:
        responses = [await create(api), await create(api, max_output_tokens=3)]

        async def expired() -> bool:
            urls = [f"{URL}/{response['id']}?stream=true" for response in responses]
            found = [await api.http.get(url) for url in urls]
            gone = [parse_error(each)["code"] for each in found if each.status_code != 200]
            return gone == ["run_expired"] * len(responses)

        await until(expired)
        assert [await fetch(api, response["id"]) for response in responses] == responses
        cancelled = await api.http.post(f"{URL}/{responses[0]['id']}/cancel")
        assert cancelled.json() == responses[0]
        on = await create(api, "Next?", previous_response_id=responses[0]["id"])
        assert on["conversation"] == responses[0]["conversation"]


async def test_an_idempotency_key_returns_the_same_response(api: Api) -> None:
    first = await create(api)
    question = make_question()
    body = {"model": "fanout", "input": question, "previous_response_id": first["id"]}
    headers = {"Idempotency-Key": question.split()[-1].strip("?")}
    answers = [await api.http.post(URL, json=body, headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json()


# --- the OpenAI SDK ---


async def test_the_openai_sdk_accepts_the_responses(start: Start) -> None:
    service = start(DETACH_GRACE_S="0")
    client = AsyncOpenAI(base_url=f"{service.url}/v1", api_key="any", max_retries=0)
    async with client, client.responses.stream(model="fanout", input="Why?") as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()
        numbers = [event.sequence_number for event in events]
        assert numbers == list(range(len(events)))
        found = await client.responses.retrieve(final.id)
        assert found.output_text == final.output_text
        rest = await client.responses.retrieve(final.id, stream=True, starting_after=7)
        assert [event.sequence_number async for event in rest] == numbers[8:]
        asked = await client.responses.create(model="endless", input="Why?", background=True)
        assert (await client.responses.cancel(asked.id)).status == "cancelled"
