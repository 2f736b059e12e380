"""OpenAI's SDK for Python: refusals, failures, silent streams and disconnects."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from tests._support.clients.api import until
from tests._support.clients.openai_sdk import USER, client_of, refused, streamed, text_of
from tests._support.llm.mock_stats import OpenCalls
from tests._support.patience import PATIENCE_S
from tests._support.recovery.database_faults import locked
from tests._support.servers.processes import Process
from tests._support.servers.services import Start

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
async def test_an_unsupported_parameter_is_refused_by_name(
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
    ("agent", "status"), [("broken", 502), ("strict", 400), ("late", 504), ("busy", 429)]
)
async def test_a_failure_before_the_first_byte_has_its_status(
    client: AsyncOpenAI, agent: str, status: int
) -> None:
    error = await refused(client, model=f"agent/{agent}")
    assert error.status_code == status
    assert error.code
    assert error.request_id
    assert agent in error.message or "mock" in error.message


async def test_the_clients_request_id_is_returned(client: AsyncOpenAI) -> None:
    told = {"X-Request-ID": "mine-1"}
    raw = await client.chat.completions.with_raw_response.create(
        model="solo", messages=USER, extra_headers=told
    )
    assert raw.request_id == "mine-1"


# --- errors after the first byte, timeouts, retries ---


@pytest.mark.parametrize("model", ["breaking", "agent/breaking"])
async def test_a_failure_during_the_stream_is_raised_after_the_received_chunks(
    client: AsyncOpenAI, model: str
) -> None:
    chunks = []
    with pytest.raises(openai.APIError) as caught:  # noqa: PT012  # what came before it counts
        async for chunk in await client.chat.completions.create(
            model=model, messages=USER, stream=True
        ):
            chunks.append(chunk)  # noqa: PERF401
    assert len(text_of(chunks).split()) == 60  # and it was continued twice
    assert not any(c.choices[0].finish_reason for c in chunks)
    assert not isinstance(caught.value, openai.APIConnectionError)
    assert caught.value.code
    assert caught.value.message


async def test_a_late_failure_is_raised_from_the_stream(
    client: AsyncOpenAI,
) -> None:
    """Its 200 has been sent by then: it does not wait that long."""
    stream = await client.chat.completions.create(model="agent/slow", messages=USER, stream=True)
    chunks = []
    with pytest.raises(openai.APIError) as caught:  # noqa: PT012  # what came before it counts
        async for chunk in stream:
            chunks.append(chunk)  # noqa: PERF401
    assert text_of(chunks) == ""
    assert caught.value.code
    with pytest.raises(openai.InternalServerError) as whole:
        await client.chat.completions.create(model="agent/slow", messages=USER)
    assert (whole.value.status_code, whole.value.code) == (504, caught.value.code)


async def test_a_failure_of_an_unstreamed_answer_has_its_status(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(model="breaking", messages=USER)
    assert caught.value.status_code == 502


async def test_one_failed_agent_of_several_does_not_fail_the_answer(client: AsyncOpenAI) -> None:
    assert text_of(await streamed(client, model="lopsided")) != ""


async def test_a_closed_stream_stops_the_model_calls_after_the_grace(
    hasty: AsyncOpenAI, open_calls: OpenCalls
) -> None:
    stream = await hasty.chat.completions.create(model="endless", messages=USER, stream=True)
    await anext(stream)
    await open_calls.begun()
    await stream.close()
    await open_calls.ended()


async def test_a_cancelled_unstreamed_request_stops_its_model_calls(
    hasty: AsyncOpenAI, open_calls: OpenCalls
) -> None:
    asked = asyncio.create_task(hasty.chat.completions.create(model="agent/endless", messages=USER))
    await open_calls.begun()
    asked.cancel()
    await asyncio.wait([asked])
    await open_calls.ended()


@pytest.mark.parametrize("stream", [False, True])
async def test_the_clients_own_timeout_is_raised_as_a_timeout(
    hasty: AsyncOpenAI, stream: bool
) -> None:
    with pytest.raises(openai.APITimeoutError):
        await hasty.with_options(timeout=0.5).chat.completions.create(
            model="agent/hung", messages=USER, stream=stream
        )


async def test_the_sdk_ignores_keep_alive_comments(hasty: AsyncOpenAI) -> None:
    chunks = await streamed(hasty, model="agent/silent", stream_options={"include_usage": True})
    assert len(text_of(chunks).split()) == 3
    assert chunks[-1].usage


async def test_keep_alive_comments_are_the_only_lines_besides_data(impatient: Process) -> None:
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


async def test_a_retry_succeeds_after_the_model_has_recovered(service: Process) -> None:
    noted = Noted()
    async with client_of(service, max_retries=2, http_client=noted.http) as client:
        answer = await client.chat.completions.create(model="agent/busy-once", messages=USER)
    assert answer.choices[0].message.content
    assert noted.statuses == [429, 200]


async def test_a_retry_succeeds_after_the_database_has_recovered(
    start: Start, tmp_path: Path
) -> None:
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


@pytest.mark.parametrize(
    ("end", "error", "code"),
    [
        (signal.SIGTERM, openai.APIError, "shutting_down"),
        (signal.SIGKILL, openai.APIConnectionError, None),
    ],
)
async def test_a_stream_cut_by_the_end_of_the_service_raises(
    start: Start, end: signal.Signals, error: type[openai.APIError], code: str | None
) -> None:
    service = start(DRAIN_S="0.2")
    async with client_of(service) as client:
        stream = await client.chat.completions.create(model="endless", messages=USER, stream=True)
        await anext(stream)
        service.signal(end)
        with pytest.raises(error) as caught:
            _ = [chunk async for chunk in stream]
    assert caught.value.code == code
