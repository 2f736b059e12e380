"""Readers that ask one question through each API and parse its answer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import aiohttp
import httpx
from openai import AsyncOpenAI

from service.llm.sse_decoder import SSEDecoder


@dataclass(frozen=True)
class Heard:
    """The received text of an answer, and the IDs of its run and its conversation."""

    text: str
    run_id: str
    conversation_id: str


def _heard(response: httpx.Response, text: str) -> Heard:
    return _told(response.headers, text)


def _told(headers: Mapping[str, str], text: str) -> Heard:
    return Heard(text, headers["x-run-id"], headers["x-conversation-id"])


async def _posted(http: httpx.AsyncClient, path: str, **body: Any) -> httpx.Response:
    response = await http.post(path, json=body)
    assert response.status_code == 200, response.text
    return response


def _events(response: httpx.Response) -> Iterator[tuple[str, str]]:
    """Yield the name and the data of each event, parsed as the SSE standard requires."""
    decoder = SSEDecoder(max_event_bytes=2**24)
    for event in [*decoder.feed(response.content), *decoder.finish()]:
        yield event.event, event.data.decode()


def _data(response: httpx.Response) -> Iterator[str]:
    return (data for _, data in _events(response))


def _joined_chunks(documents: Iterator[str]) -> str:
    chunks = [json.loads(each) for each in documents if each != "[DONE]"]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


async def process(http: httpx.AsyncClient, question: str) -> Heard:
    """Ask through `/api/process`."""
    response = await _posted(http, "/api/process", message=question, message_id="message_1")
    events = [json.loads(each) for each in _data(response)]
    deltas = [event["message"] for event in events if event["type"] == "answer.delta"]
    return _heard(response, "".join(deltas))


async def stream_text(http: httpx.AsyncClient, question: str) -> Heard:
    """Ask through the text stream and read plain text."""
    response = await _posted(http, "/stream", prompt=question)
    return _heard(response, response.content.decode())


async def stream_lines(http: httpx.AsyncClient, question: str) -> Heard:
    """Ask through the text stream and read one JSON document per line."""
    response = await _posted(http, "/stream?stream_format=openai", prompt=question)
    lines = response.content.decode().split("\n")
    return _heard(response, _joined_chunks(filter(None, lines)))


async def stream_events(http: httpx.AsyncClient, question: str) -> Heard:
    """Ask through the text stream and read events."""
    response = await _posted(http, "/stream?stream_format=sse", prompt=question)
    return _heard(response, _joined_chunks(_data(response)))


async def chat_json(http: httpx.AsyncClient, question: str) -> Heard:
    """Ask through chat and return the JSON answer."""
    response = await _posted(http, "/chat", messages=_turns(question))
    return _heard(response, response.json()["response"])


async def chat_events(http: httpx.AsyncClient, question: str) -> Heard:
    """Ask through chat and read the text, as a client that knows only its three events."""
    response = await _posted(http, "/chat", messages=_turns(question), stream=True)
    *tokens, done = _data(response)
    assert done == "[DONE]"
    assert not [token for token in tokens if token == "[DONE]" or _is_error(token)]
    return _heard(response, "".join(tokens))


async def chat_socket(http: httpx.AsyncClient, question: str) -> Heard:
    """Ask on the WebSocket of chat."""
    conversation_id = f"conv-{uuid4().hex}"
    tokens: list[str] = []
    async with (
        aiohttp.ClientSession(str(http.base_url)) as session,
        session.ws_connect("/chat", max_msg_size=2**24) as socket,
    ):
        asked = {"messages": _turns(question), "conversation_id": conversation_id}
        await socket.send_json(asked)
        while "done" not in (message := await socket.receive_json()):
            tokens.append(message["token"])
    # A socket has no headers for each answer: its conversation names the run.
    told = (await http.get(f"/api/conversations/{conversation_id}")).json()
    return Heard("".join(tokens), told["messages"][-1]["run_id"], conversation_id)


async def session_events(http: httpx.AsyncClient, question: str) -> Heard:
    """Ask in a session and read its named events."""
    response = await _posted(http, "/conversation", message=question)
    (begun, _), *messages, (done, whole) = _events(response)
    assert (begun, done) == ("session", "done")
    assert {name for name, _ in messages} == {"message"}
    text = "".join(json.loads(data)["chunk"] for _, data in messages)
    assert json.loads(whole)["full_response"] == text
    return _heard(response, text)


async def session_json(http: httpx.AsyncClient, question: str) -> Heard:
    """Ask in a session and return the JSON answer."""
    response = await _posted(http, "/conversation", message=question, stream=False)
    return _heard(response, response.json()["response"])


async def completion(http: httpx.AsyncClient, question: str) -> Heard:
    """Ask through OpenAI's API and return the complete answer."""
    response = await _posted(
        http, "/v1/chat/completions", model="fanout", messages=_turns(question)
    )
    return _heard(response, response.json()["choices"][0]["message"]["content"])


async def completion_events(http: httpx.AsyncClient, question: str) -> Heard:
    """Ask through OpenAI's API and read chunks."""
    response = await _posted(
        http, "/v1/chat/completions", model="fanout", messages=_turns(question), stream=True
    )
    return _heard(response, _joined_chunks(_data(response)))


async def sdk_completion(http: httpx.AsyncClient, question: str) -> Heard:
    """Ask with OpenAI's SDK, and read the unstreamed answer."""
    async with _sdk(http) as client:
        response = await client.chat.completions.with_raw_response.create(
            model="fanout", messages=[{"role": "user", "content": question}]
        )
    return _told(response.headers, response.parse().choices[0].message.content or "")


async def sdk_events(http: httpx.AsyncClient, question: str) -> Heard:
    """Ask with OpenAI's SDK, and read chunks."""
    async with _sdk(http) as client:
        stream = await client.chat.completions.create(
            model="fanout", messages=[{"role": "user", "content": question}], stream=True
        )
        deltas = [chunk.choices[0].delta.content or "" async for chunk in stream]
    return _told(stream.response.headers, "".join(deltas))


async def response(http: httpx.AsyncClient, question: str) -> Heard:
    """Ask through OpenAI's Responses API and read the unstreamed answer."""
    got = await _posted(http, "/v1/responses", model="fanout", input=question)
    return _heard(got, _message_text(got.json()))


async def response_events(http: httpx.AsyncClient, question: str) -> Heard:
    """Ask through OpenAI's Responses API and read its named events."""
    got = await _posted(http, "/v1/responses", model="fanout", input=question, stream=True)
    events = [json.loads(data) for _, data in _events(got)]
    assert [event["type"] for event in events] == [name for name, _ in _events(got)]
    deltas = [e["delta"] for e in events if e["type"] == "response.output_text.delta"]
    whole = _message_text(events[-1]["response"])
    assert whole == "".join(deltas)
    return _heard(got, whole)


async def sdk_response_events(http: httpx.AsyncClient, question: str) -> Heard:
    """Ask with OpenAI's SDK, and read the events of a response."""
    async with _sdk(http) as client:
        stream = await client.responses.create(model="fanout", input=question, stream=True)
        events = [event async for event in stream]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    return _told(stream.response.headers, "".join(deltas))


def _message_text(response: Mapping[str, Any]) -> str:
    """Return the text of a response's message; reasoning may be in front of it."""
    (message,) = [item for item in response["output"] if item["type"] == "message"]
    return str(message["content"][0]["text"])


def _sdk(http: httpx.AsyncClient) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{http.base_url}/v1", api_key="any", max_retries=0)


def _turns(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}]


def _is_error(data: str) -> bool:
    try:
        return "error" in json.loads(data)
    except (ValueError, TypeError):
        return False


Reader = Callable[[httpx.AsyncClient, str], Awaitable[Heard]]

READERS: Mapping[str, Reader] = {
    reader.__name__: reader
    for reader in (
        process,
        stream_text,
        stream_lines,
        stream_events,
        chat_json,
        chat_events,
        chat_socket,
        session_events,
        session_json,
        completion,
        completion_events,
        sdk_completion,
        sdk_events,
        response,
        response_events,
        sdk_response_events,
    )
}


async def kept(http: httpx.AsyncClient, heard: Heard) -> Mapping[str, str]:
    """Return the answer's text from everywhere it can be read again."""
    run_id, conversation_id = heard.run_id, heard.conversation_id

    async def got(path: str) -> Any:
        response = await http.get(path)
        assert response.status_code == 200, response.text
        return response.json()

    replayed = await http.get(f"/api/runs/{run_id}/events")
    events = [json.loads(each) for each in _data(replayed)]
    conversation = await got(f"/api/conversations/{conversation_id}")
    session = await got(f"/conversation/session/{conversation_id}/history")
    exported = await got(f"/api/conversations/{conversation_id}/export")
    return {
        "the run": (await got(f"/api/runs/{run_id}"))["answer"],
        "its events": "".join(e["message"] for e in events if e["type"] == "answer.delta"),
        "the history": (await got(f"/history/{run_id}"))["response"],
        "the conversation": conversation["messages"][-1]["content"],
        "the session": session["messages"][-1]["content"],
        "the conversation's file": exported["messages"][-1]["content"],
    }
