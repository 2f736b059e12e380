"""Face E, OpenAI's responses, over a real socket."""

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
from tests._support.clients.openai_requests import a_question, error_of, user
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


async def posted(api: Api, said: Any = "", **fields: Any) -> httpx.Response:
    body = {"model": "fanout", "input": said or a_question(), **fields}
    return await api.http.post(URL, json=body)


async def made(api: Api, said: Any = "", **fields: Any) -> Response:
    """Ask and return the response."""
    response = await posted(api, said, **fields)
    assert response.status_code == 200, response.text
    shown: Response = response.json()
    return shown


async def shown(api: Api, response_id: str) -> Response:
    response = await api.http.get(f"{URL}/{response_id}")
    assert response.status_code == 200, response.text
    found: Response = response.json()
    return found


async def ended(api: Api, response_id: str) -> Response:
    async def over() -> bool:
        return bool((await shown(api, response_id))["status"] != "in_progress")

    await until(over)
    return await shown(api, response_id)


async def streamed(api: Api, said: Any = "", **fields: Any) -> list[str]:
    response = await posted(api, said, stream=True, **fields)
    return blocks_of(response)


async def again(api: Api, response_id: str, after: int | None = None) -> list[str]:
    """Return the events of a response's stream, read again."""
    position = "" if after is None else f"&starting_after={after}"
    return blocks_of(await api.http.get(f"{URL}/{response_id}?stream=true{position}"))


@asynccontextmanager
async def reading(api: Api, said: str = "", **fields: Any) -> AsyncIterator[AsyncIterator[str]]:
    """Ask and hand over the events of the open stream."""
    body = {"model": "fanout", "input": said or a_question(), "stream": True, **fields}
    async with api.http.stream("POST", URL, json=body) as response:
        assert response.status_code == 200
        yield _following(response)


async def _following(response: httpx.Response) -> AsyncIterator[str]:
    buffer = ""
    async for block in response.aiter_text():
        *blocks, buffer = (buffer + block).replace(": ping\n", "").split("\n\n")
        for each in blocks:
            yield each


def blocks_of(response: httpx.Response) -> list[str]:
    """Return the events of a whole stream, as text."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/event-stream"
    *blocks, rest = response.content.decode("ascii").replace(": ping\n", "").split("\n\n")
    assert rest == ""
    return blocks


def told(blocks: Sequence[str], first: int = 0) -> list[dict[str, Any]]:
    """Return the data of events, which must be named and numbered from `first` on."""
    data = []
    for number, block in enumerate(blocks, first):
        match = _EVENT.fullmatch(block)
        assert match, block
        data.append(json.loads(match[2]))
        assert (data[-1]["type"], data[-1]["sequence_number"]) == (match[1], number)
    return data


def text_of(response: Response) -> str:
    messages = [item for item in response["output"] if item["type"] == "message"]
    return "".join(part["text"] for item in messages for part in item["content"])


def run_id_of(response: Response) -> str:
    return "run_" + str(response["id"]).removeprefix("resp_")


def last_response(blocks: Sequence[str]) -> Response:
    response: Response = told(blocks[-1:], len(blocks) - 1)[0]["response"]
    return response


# --- a whole answer ---


async def test_a_response_is_a_run_under_another_name(api: Api) -> None:
    response = await made(api, metadata={"a": "b"}, max_output_tokens=1000)
    run = await api.shown(run_id_of(response))
    assert text_of(response) == run["answer"]
    assert (response["object"], response["status"], response["model"]) == (
        "response",
        "completed",
        "fanout",
    )
    assert response["usage"]["total_tokens"] == run["usage"]["total_tokens"]
    assert response["conversation"] == {"id": run["conversation_id"]}
    assert (response["metadata"], response["max_output_tokens"]) == ({"a": "b"}, 1000)
    assert await shown(api, response["id"]) == response


async def test_a_limit_that_cuts_the_answer_makes_it_incomplete(api: Api) -> None:
    response = await made(api, model="agent/llm-1", max_output_tokens=3)
    assert (response["status"], response["usage"]["output_tokens"]) == ("incomplete", 3)
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}


async def test_a_failure_has_its_status_and_openais_shape(api: Api) -> None:
    for fields, status in (({}, 502), ({"stream": True}, 502)):
        response = await posted(api, model="both-bad", **fields)
        assert (response.status_code, error_of(response)["code"]) == (status, "too_few_answers")


async def test_any_run_can_be_read_as_a_response(api: Api) -> None:
    run_id = (await api.ask())[0].run_id
    response_id = run_id.replace("run_", "resp_")
    response = await shown(api, response_id)
    assert text_of(response) == (await api.shown(run_id))["answer"]
    assert last_response(await again(api, response_id)) == response


# --- streams ---


async def test_a_stream_ends_with_the_response(api: Api) -> None:
    blocks = await streamed(api)
    events = told(blocks)
    assert events[0]["response"]["status"] == events[1]["response"]["status"] == "in_progress"
    response = events[-1]["response"]
    assert response["status"] == "completed"
    deltas = [e["delta"] for e in events if e["type"] == "response.output_text.delta"]
    assert "".join(deltas) == text_of(response)
    assert await shown(api, response["id"]) == response


async def test_behind_every_event_comes_exactly_the_rest(api: Api) -> None:
    blocks = await streamed(api)
    response_id = last_response(blocks)["id"]
    assert await again(api, response_id) == blocks
    for after in range(len(blocks)):
        assert await again(api, response_id, after) == blocks[after + 1 :]


async def test_a_number_that_there_is_not_is_refused(api: Api) -> None:
    blocks = await streamed(api)
    url = f"{URL}/{last_response(blocks)['id']}?stream=true&starting_after="
    for after in (str(len(blocks)), "-1", "x"):
        response = await api.http.get(url + after)
        assert response.status_code == 400
        assert error_of(response)["code"] == "bad_position"


async def test_a_failure_midway_is_the_last_event_and_keeps_the_text(api: Api) -> None:
    blocks = await streamed(api, model="combiner-reset")
    events = told(blocks)
    response = events[-1]["response"]
    assert (events[-1]["type"], response["status"]) == ("response.failed", "failed")
    assert response["error"]["code"].startswith("upstream_")
    assert text_of(response)
    assert await shown(api, response["id"]) == response


async def test_silence_is_filled_with_comments_that_no_sdk_takes_for_events(hasty: Api) -> None:
    body = {"model": "hung-for-a-while", "input": "Why?", "stream": True, "background": True}
    response = await hasty.http.post(URL, json=body)
    assert b": ping\n" in response.content
    assert told(blocks_of(response))[-1]["type"] == "response.failed"


async def test_whoever_comes_back_while_it_is_made_reads_on(api: Api) -> None:
    async with reading(api, model="steady") as events:
        seen = [await anext(events) for _ in range(10)]
        response_id = told(seen)[0]["response"]["id"]
    rest = await again(api, response_id, 9)
    assert told(seen + rest)[-1]["type"] == "response.completed"
    assert await again(api, response_id) == seen + rest


async def test_a_very_large_answer_is_whole(api: Api) -> None:
    blocks = await streamed(api, model="huge")
    response = last_response(blocks)
    assert text_of(response) == TEXT * CHUNKS
    assert text_of(await shown(api, response["id"])) == TEXT * CHUNKS


# --- in the background, and its end ---


async def test_in_the_background_it_is_made_although_nobody_reads(
    hasty: Api,
) -> None:
    response = await made(hasty, model="steady", background=True)
    assert (response["status"], response["background"], response["output"]) == (
        "in_progress",
        True,
        [],
    )
    await asyncio.sleep(GRACE_S * 1.1)
    assert (await ended(hasty, response["id"]))["status"] == "completed"


async def test_a_stream_in_the_background_can_be_left(hasty: Api) -> None:
    async with reading(hasty, model="steady", background=True) as events:
        first = told([await anext(events)])[0]["response"]
    response = await ended(hasty, first["id"])
    assert response["status"] == "completed"


async def test_otherwise_whoever_leaves_ends_it(hasty: Api, upstream: Upstream) -> None:
    async with reading(hasty, model="endless-answer") as events:
        first = told([await anext(events)])[0]["response"]
    response = await ended(hasty, first["id"])
    assert (response["status"], response["error"]["code"]) == ("cancelled", "abandoned")
    await until(upstream.quiet)


async def test_cancelling_stops_it_and_does_nothing_the_second_time(
    api: Api, upstream: Upstream
) -> None:
    response = await made(api, model="endless", background=True)
    cancelled = [await api.http.post(f"{URL}/{response['id']}/cancel") for _ in range(2)]
    assert [each.json()["status"] for each in cancelled] == ["cancelled"] * 2
    assert cancelled[0].json() == cancelled[1].json() == await shown(api, response["id"])
    await until(upstream.quiet)


async def test_a_reader_hears_that_it_was_cancelled(api: Api) -> None:
    async with reading(api, model="endless-answer") as events:
        blocks = [await anext(events)]
        response_id = told(blocks)[0]["response"]["id"]
        await api.http.post(f"{URL}/{response_id}/cancel")
        blocks += [each async for each in events]
    assert last_response(blocks)["status"] == "cancelled"


async def test_cancelling_what_has_ended_leaves_it_as_it_is(api: Api) -> None:
    response = await made(api)
    cancelled = await api.http.post(f"{URL}/{response['id']}/cancel")
    assert cancelled.json() == response


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("unknown", ["resp_" + "0" * 32, "resp_%00", "run_1", "resp_é"])
async def test_what_there_is_not_is_404(api: Api, method: str, unknown: str) -> None:
    path = f"{URL}/{unknown}" + ("/cancel" if method == "post" else "")
    response = await api.http.request(method, path)
    assert (response.status_code, error_of(response)["code"]) == (404, "response_not_found")


# --- what it goes on from ---


def turns(installation: Installation, question: str) -> list[tuple[str, str]]:
    """Return what the first agent was told when it was asked `question`."""
    return installation.models.of(question, "one")[-1].turns


def system(installation: Installation, question: str) -> list[str]:
    """Return what the first agent was told by the system when it was asked `question`."""
    messages = installation.models.of(question, "one")[-1].messages
    return [str(each["content"]) for each in messages if each["role"] == "system"]


async def test_a_chain_of_responses_is_a_conversation(installation: Installation) -> None:
    async with client_of(installation.serve().url) as api:
        first = await made(api, "First?", instructions="Shout.")
        second = await made(api, "Second?", previous_response_id=first["id"])
        third = await made(api, "Third?", previous_response_id=second["id"])
        assert second["previous_response_id"] == first["id"]
        assert first["conversation"] == second["conversation"] == third["conversation"]
        assert turns(installation, "Third?") == [
            ("user", "First?"),
            ("assistant", text_of(first)),
            ("user", "Second?"),
            ("assistant", text_of(second)),
            ("user", "Third?"),
        ]
        assert system(installation, "First?") == ["Shout."]
        assert system(installation, "Second?") == []
        listed = await api.http.get(f"/api/conversations/{first['conversation']['id']}")
        assert len(listed.json()["messages"]) == 6


async def test_from_an_earlier_response_a_branch_begins(installation: Installation) -> None:
    async with client_of(installation.serve().url) as api:
        first = await made(api, "First?")
        second = await made(api, "Second?", previous_response_id=first["id"])
        branch = await made(api, "Branch?", previous_response_id=first["id"])
        assert branch["conversation"] != second["conversation"]
        before = [("user", "First?"), ("assistant", text_of(first))]
        assert turns(installation, "Branch?") == [*before, ("user", "Branch?")]
        on = await made(api, "Onward?", previous_response_id=branch["id"])
        assert on["conversation"] == branch["conversation"]
        said = [*before, ("user", "Branch?"), ("assistant", text_of(branch))]
        assert turns(installation, "Onward?") == [*said, ("user", "Onward?")]


async def test_responses_made_side_by_side_know_nothing_of_each_other(
    installation: Installation,
) -> None:
    async with client_of(installation.serve().url) as api:
        first = await made(api, "First?")
        asked = [f"Number {n}?" for n in range(4)]
        answers = await asyncio.gather(
            *(made(api, each, previous_response_id=first["id"]) for each in asked)
        )
        before = [("user", "First?"), ("assistant", text_of(first))]
        for question, answer in zip(asked, answers, strict=True):
            assert turns(installation, question) == [*before, ("user", question)]
            on = f"And {question}"
            await made(api, on, previous_response_id=answer["id"])
            said = [*before, ("user", question), ("assistant", text_of(answer))]
            assert turns(installation, on) == [*said, ("user", on)]


async def test_all_items_are_added_to_what_is_known(installation: Installation) -> None:
    async with client_of(installation.serve().url) as api:
        first = await made(api, "First?")
        items = [user("By the way:"), {"role": "developer", "content": "Whisper."}, user("Next?")]
        second = await made(api, items, previous_response_id=first["id"])
        await made(api, "Last?", previous_response_id=second["id"])
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


async def test_conversations_go_on_across_faces(installation: Installation) -> None:
    async with client_of(installation.serve().url) as api:
        await api.ask("First?", conversation_id="conv-1")
        second = await made(api, "Second?", conversation="conv-1")
        assert second["conversation"] == {"id": "conv-1"}
        await api.ask("Third?", conversation_id="conv-1")
        asked = [text for role, text in turns(installation, "Third?") if role == "user"]
        assert asked == ["First?", "Second?", "Third?"]
        run_id = (await api.ask("Fourth?", conversation_id="conv-1"))[0].run_id
        fifth = await made(api, "Fifth?", previous_response_id=run_id.replace("run_", "resp_"))
        assert fifth["conversation"] == {"id": "conv-1"}


async def test_an_item_can_be_told_by_its_id(installation: Installation) -> None:
    async with client_of(installation.serve().url) as api:
        first = await made(api, "First?")
        reference = {"type": "item_reference", "id": first["output"][0]["id"]}
        await made(api, [user("First?"), reference, user("Second?")])
        assert turns(installation, "Second?")[1] == ("assistant", text_of(first))
        for unknown in ("msg_" + "0" * 32, "msg_x", "rs_1"):
            response = await posted(api, [{"id": unknown}, user()])
            error = error_of(response)
            assert (error["code"], error["param"]) == ("item_not_found", "input.0.id")


async def test_what_a_response_cannot_go_on_from_is_refused(api: Api) -> None:
    for unknown in ("resp_" + "0" * 32, "x\n"):
        response = await posted(api, previous_response_id=unknown)
        error = error_of(response)
        assert response.status_code == 400
        assert (error["code"], error["param"]) == (
            "previous_response_not_found",
            "previous_response_id",
        )
    running = await made(api, model="endless", background=True)
    response = await posted(api, previous_response_id=running["id"])
    assert (response.status_code, error_of(response)["code"]) == (
        409,
        "previous_response_in_progress",
    )
    await api.http.post(f"{URL}/{running['id']}/cancel")


# --- tools ---


async def test_tools_are_called_and_their_results_answered(api: Api) -> None:
    asked = {"model": "agent/llm-1", "tools": [TOOL]}
    first = await made(api, "Weather?", **asked, tool_choice="required")
    (call,) = first["output"]
    assert (call["type"], call["name"]) == ("function_call", "weather")
    json.loads(call["arguments"])
    assert first["tools"] == [{**TOOL, "description": None}]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "Rain."}
    chained = await made(api, [result], **asked, previous_response_id=first["id"])
    assert chained["output"][0]["type"] == "message"
    by_hand = await made(api, [user("Weather?"), call, result], **asked)
    assert by_hand["status"] == "completed"
    last = await made(api, "Thanks.", **asked, previous_response_id=chained["id"])
    assert last["status"] == "completed"


async def test_results_and_calls_that_do_not_belong_together_are_refused(api: Api) -> None:
    asked = {"model": "agent/llm-1", "tools": [TOOL]}
    first = await made(api, "Weather?", **asked, tool_choice="required")
    result = {"type": "function_call_output", "call_id": "call_x", "output": "Rain."}
    goes_on = {"previous_response_id": first["id"]}
    for items, fields in (([result], goes_on), ([result], {}), ([first["output"][0]], {})):
        response = await posted(api, items, **asked, **fields)
        assert response.status_code == 400
        assert error_of(response)["param"] in ("input", None)
    on = await made(api, "Never mind.", **asked, **goes_on)  # the call is passed over
    assert on["status"] == "completed"


async def test_a_tool_call_streams(api: Api) -> None:
    asked = {"model": "agent/llm-1", "tools": [TOOL], "tool_choice": "required"}
    blocks = await streamed(api, "Weather?", **asked)
    events = told(blocks)
    deltas = [e["delta"] for e in events if e["type"] == "response.function_call_arguments.delta"]
    (item,) = events[-1]["response"]["output"]
    assert "".join(deltas) == item["arguments"]
    assert await shown(api, events[-1]["response"]["id"]) == events[-1]["response"]


async def test_where_an_answer_is_made_of_several_some_fields_are_refused(api: Api) -> None:
    form = {"format": {"type": "json_object"}}
    for fields, param in (({"tools": [TOOL]}, "tools"), ({"text": form}, "text.format")):
        error = error_of(await posted(api, **fields))
        assert (error["code"], error["param"]) == ("unsupported_parameter", param)
        assert param in error["message"]


async def test_a_model_that_there_is_not_is_404(api: Api) -> None:
    response = await posted(api, model="gpt-6")
    assert (response.status_code, error_of(response)["code"]) == (404, "model_not_found")


# --- elsewhere, and afterwards ---


async def test_a_response_is_the_same_after_a_crash(installation: Installation) -> None:
    service = installation.serve()
    async with client_of(service.url) as api:
        blocks = await streamed(api, metadata={"a": "b"}, instructions="Be brief.")
        response = last_response(blocks)
        cut = await streamed(api, max_output_tokens=3)
    service.crash()
    async with client_of(installation.serve().url) as api:
        assert await again(api, response["id"]) == blocks
        for after in range(0, len(blocks), 5):
            assert await again(api, response["id"], after) == blocks[after + 1 :]
        assert await shown(api, response["id"]) == response
        assert await shown(api, last_response(cut)["id"]) == last_response(cut)


async def test_one_that_was_being_made_in_a_crash_has_failed_and_can_be_read_on(
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
    response_id = told(seen)[0]["response"]["id"]
    async with client_of(installation.serve().url) as api:
        rest = await again(api, response_id, len(seen) - 1)
        last = last_response(seen + rest)
        assert (last["status"], last["error"]["code"]) == ("failed", "interrupted")
        assert await shown(api, response_id) == last


async def test_any_worker_shows_streams_and_cancels_it(installation: Installation) -> None:
    service = installation.serve("--workers", "2", DETACH_GRACE_S="0")
    async with connect_to_each_worker(service) as clients:
        response = await made(clients[0], model="steady", background=True)
        streams = await asyncio.gather(*(again(api, response["id"]) for api in clients))
        assert all(each == streams[0] for each in streams)
        assert last_response(streams[0])["status"] == "completed"
        for api in clients:
            running = await made(clients[0], model="endless", background=True)
            cancelled = await api.http.post(f"{URL}/{running['id']}/cancel")
            assert cancelled.json()["status"] == "cancelled"


async def test_after_its_events_the_response_is_still_there(installation: Installation) -> None:
    service = installation.serve(RUN_RETENTION_S="1")
    async with client_of(service.url) as api:
        responses = [await made(api), await made(api, max_output_tokens=3)]

        async def expired() -> bool:
            urls = [f"{URL}/{response['id']}?stream=true" for response in responses]
            found = [await api.http.get(url) for url in urls]
            gone = [error_of(each)["code"] for each in found if each.status_code != 200]
            return gone == ["run_expired"] * len(responses)

        await until(expired)
        assert [await shown(api, response["id"]) for response in responses] == responses
        cancelled = await api.http.post(f"{URL}/{responses[0]['id']}/cancel")
        assert cancelled.json() == responses[0]
        on = await made(api, "Next?", previous_response_id=responses[0]["id"])
        assert on["conversation"] == responses[0]["conversation"]


async def test_a_key_gives_the_same_response_again(api: Api) -> None:
    first = await made(api)
    question = a_question()
    body = {"model": "fanout", "input": question, "previous_response_id": first["id"]}
    headers = {"Idempotency-Key": question.split()[-1].strip("?")}
    answers = [await api.http.post(URL, json=body, headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json()


# --- as OpenAI's own client reads it ---


async def test_the_sdk_takes_it_for_openais(start: Start) -> None:
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
