"""The mock as a transport below the real HTTP client: its protocol, its texts and its faults."""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import httpx
import pytest

from service.llm.sse_decoder import SSEDecoder
from service.mock_llm.reply import MULTIBYTE_TEXT, TokenPace
from service.mock_llm.request import parse_request
from service.mock_llm.text import split_tokens
from service.mock_llm.transport import MockLLM, MockTransport
from tests._support.paths import ROOT

AT_ONCE = TokenPace(first_s=0, gap_s=0)
URL = "/v1/chat/completions"


def make_body(
    question: str = "Why is the sky blue?", system: str = "", **fields: Any
) -> dict[str, Any]:
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": question})
    return {"model": "small", "messages": messages, **fields}


@pytest.fixture
def transport() -> MockTransport:
    return MockTransport(MockLLM(pace=AT_ONCE))


@pytest.fixture
async def client(transport: MockTransport) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=transport, base_url="http://mock") as client:
        yield client


async def read_stream(client: httpx.AsyncClient, **fields: Any) -> list[bytes]:
    """Return the data of each event."""
    decoder = SSEDecoder()
    events = []
    async with client.stream("POST", URL, json=make_body(stream=True, **fields)) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        async for block in response.aiter_raw():
            events += decoder.feed(block)
    return [event.data for event in [*events, *decoder.finish()]]


async def read_chunks(client: httpx.AsyncClient, **fields: Any) -> list[dict[str, Any]]:
    """Return the chunks of a stream without faults."""
    *data, done = await read_stream(client, **fields)
    assert done == b"[DONE]"
    return [json.loads(each) for each in data]


def text_of(received: list[dict[str, Any]]) -> str:
    return "".join(c["choices"][0]["delta"].get("content", "") for c in received if c["choices"])


async def request_text(client: httpx.AsyncClient, **fields: Any) -> str:
    response = await client.post(URL, json=make_body(**fields))
    return str(response.json()["choices"][0]["message"]["content"])


async def test_all_chunks_of_a_stream_agree_on_id_object_time_and_model(
    client: httpx.AsyncClient,
) -> None:
    received = await read_chunks(client)
    assert {c["object"] for c in received} == {"chat.completion.chunk"}
    assert {c["model"] for c in received} == {"small"}
    assert len({(c["id"], c["created"]) for c in received}) == 1


async def test_two_answers_have_different_ids(client: httpx.AsyncClient) -> None:
    assert (await read_chunks(client))[0]["id"] != (await read_chunks(client))[0]["id"]


async def test_the_first_delta_has_the_role_and_the_last_the_finish_reason(
    client: httpx.AsyncClient,
) -> None:
    first, *between, last = [c["choices"][0] for c in await read_chunks(client)]
    assert first["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert all(choice["delta"].keys() == {"content"} for choice in between)
    assert {choice["finish_reason"] for choice in (first, *between)} == {None}
    assert (last["delta"], last["finish_reason"]) == ({}, "stop")


async def test_requested_usage_is_a_separate_chunk(client: httpx.AsyncClient) -> None:
    *received, last = await read_chunks(
        client, model="small?tokens=7", stream_options={"include_usage": True}
    )
    assert all(chunk["usage"] is None for chunk in received)
    assert last["choices"] == []
    counts = [last["usage"][f"{name}_tokens"] for name in ("prompt", "completion", "total")]
    assert counts == [5, 7, 12]  # "Why is the sky blue?" and the answer


async def test_usage_is_absent_unless_requested(client: httpx.AsyncClient) -> None:
    assert not any("usage" in chunk for chunk in await read_chunks(client))


async def test_an_unstreamed_answer_equals_the_streamed_one_with_usage(
    client: httpx.AsyncClient,
) -> None:
    document = (await client.post(URL, json=make_body())).json()
    streamed = text_of(await read_chunks(client))
    assert document["object"] == "chat.completion"
    assert document["choices"][0]["message"]["content"] == streamed
    assert document["choices"][0]["finish_reason"] == "stop"
    assert document["usage"]["completion_tokens"] == len(split_tokens(streamed))


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_a_token_limit_shortens_the_answer_with_finish_reason_length(
    client: httpx.AsyncClient, field: str
) -> None:
    received = await read_chunks(client, **{field: 5})
    assert len(split_tokens(text_of(received))) == 5
    assert received[-1]["choices"][0]["finish_reason"] == "length"


async def test_the_models_are_listed(client: httpx.AsyncClient) -> None:
    models = (await client.get("/v1/models")).json()
    assert models["object"] == "list"
    assert [model["id"] for model in models["data"]] == ["gpt-4o-mini", "gpt-4o"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/files", 404), ("POST", "/", 404), ("GET", URL, 405), ("POST", "/models", 405)],
)
async def test_other_requests_get_an_error_object(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    response = await client.request(method, path)
    assert response.status_code == status
    assert path in response.json()["error"]["message"]


BAD_BODIES = {
    "no JSON": (b"oops", None),
    "not UTF-8": (b'{"model":"\xff"}', None),
    "an array": (b"[]", None),
    "too deep": (b'{"x":' + b"[" * 100_000, None),
    "no model": (b'{"messages":[{"role":"user","content":"a"}]}', None),
    "no messages": (b'{"model":"a","messages":[]}', "messages"),
    "a wrong role": (b'{"model":"a","messages":[{"role":"me"}]}', "messages[0].role"),
}


@pytest.mark.parametrize(("content", "param"), BAD_BODIES.values(), ids=BAD_BODIES.keys())
async def test_an_invalid_body_gets_400_with_openais_error_object(
    client: httpx.AsyncClient, content: bytes, param: str | None
) -> None:
    response = await client.post(URL, content=content)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 0),
        ("max_completion_tokens", "5"),
        ("temperature", 3),
        ("seed", "x"),
        ("stream", "yes"),
        ("stream_options", {"include_usage": True}),
    ],
)
async def test_an_invalid_field_is_named(
    client: httpx.AsyncClient, field: str, value: object
) -> None:
    response = await client.post(URL, json={**make_body(), field: value})
    assert (response.status_code, response.json()["error"]["param"]) == (400, field)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("speed=3", "speed"),
        ("tokens=many", "tokens"),
        ("tokens=-1", "tokens"),
        ("gap_ms=nan", "gap_ms"),
        ("rate=2", "rate"),
        ("fault=explode", "explode"),
        ("status=200", "status"),
        ("times=0", "times"),
        ("stall", "stall"),
    ],
)
async def test_an_invalid_option_in_the_models_name_is_named(
    client: httpx.AsyncClient, options: str, named: str
) -> None:
    response = await client.post(URL, json=make_body(model=f"small?{options}"))
    assert (response.status_code, response.json()["error"]["param"]) == (400, "model")
    assert named in response.json()["error"]["message"]


def test_text_parts_of_a_message_are_joined() -> None:
    parts = [{"type": "text", "text": "Why "}, {"type": "text", "text": "so?"}]
    request = {"model": "a", "messages": [{"role": "user", "content": parts}]}
    assert parse_request(json.dumps(request).encode()).question == "Why so?"


async def test_the_same_request_gets_the_same_text(client: httpx.AsyncClient) -> None:
    assert await request_text(client, system="Be kind.") == await request_text(
        client, system="Be kind."
    )


@pytest.mark.parametrize(
    "other",
    [{"seed": 2}, {"model": "small?seed=2"}, {"model": "large"}, {"system": "Be brief."}],
    ids=str,
)
async def test_another_seed_model_or_system_prompt_gets_another_text(
    client: httpx.AsyncClient, other: dict[str, Any]
) -> None:
    assert await request_text(client, **other) != await request_text(client)


async def test_another_seed_of_the_mock_gets_another_text(client: httpx.AsyncClient) -> None:
    transport = MockTransport(MockLLM(seed=2, pace=AT_ONCE))
    async with httpx.AsyncClient(transport=transport, base_url="http://mock") as other:
        assert await request_text(other) != await request_text(client)


async def test_an_answer_mentions_the_question_and_the_system_prompt(
    client: httpx.AsyncClient,
) -> None:
    text = await request_text(client, question="Explain the tides.", system="Talk like a sailor.")
    assert "the tides" in text
    assert "Talk like a sailor." in text


async def test_an_answer_mentions_the_earlier_question(client: httpx.AsyncClient) -> None:
    turns = [("user", "And rain?"), ("assistant", "Wet."), ("user", "And snow?")]
    messages = [{"role": role, "content": content} for role, content in turns]
    assert "And rain?" in await request_text(client, messages=messages)


@pytest.mark.parametrize("length", [0, 1, 3, 200, 1000])
async def test_an_answer_has_the_number_of_tokens_in_the_models_name(
    client: httpx.AsyncClient, length: int
) -> None:
    text = await request_text(client, model=f"small?tokens={length}")
    assert len(split_tokens(text)) == length


@pytest.mark.parametrize("seed", range(5))
async def test_an_answer_has_a_natural_length_by_default(
    client: httpx.AsyncClient, seed: int
) -> None:
    assert (
        50 <= len(split_tokens(await request_text(client, seed=seed, system="Be factual."))) <= 130
    )


def read_default_agents() -> dict[str, Any]:
    """Return the agents of the default configuration."""
    path = ROOT / "ensembles.toml"
    agents: dict[str, Any] = tomllib.loads(path.read_text())["agents"]
    return agents


async def test_the_default_agents_answer_in_different_manners(client: httpx.AsyncClient) -> None:
    inventive = await request_text(client, system=read_default_agents()["llm-1"]["prompt"])
    careful = await request_text(client, system=read_default_agents()["llm-2"]["prompt"])
    assert inventive.split()[0] in {"Picture", "Imagine", "Think", "Suppose"}
    assert careful.split()[0] in {"Several", "On", "The", "A"}


@pytest.mark.parametrize(
    "layout",
    [
        "Question:\n{q}\n\nAnswers of the assistants:\n\n[llm-1]\n{a}\n\n[llm-2] (cut off)\n{b}",
        "# Question\n{q}\n\n# llm-1\n{a}\n\n# llm-2\n{b}",
        "<question>{q}</question><answer by='llm-1'>{a}</answer><answer by='llm-2'>{b}</answer>",
    ],
)
async def test_a_combiner_quotes_each_answer(client: httpx.AsyncClient, layout: str) -> None:
    question = layout.format(q="What are tides?", a="The moon pulls.", b="The sun pulls too.")
    text = await request_text(
        client, question=question, system=read_default_agents()["llm-combine"]["prompt"]
    )
    assert text.startswith("Combining 2 answers about tides:")
    assert "llm-1 says “The moon pulls.”" in text
    assert "llm-2 says “The sun pulls too.”" in text


def plan_delays(model: str, **fields: Any) -> list[float]:
    """Return the delays of a stream's steps in the plan of the mock."""
    request = json.dumps(make_body(model=model, stream=True, **fields)).encode()
    return [step.delay_s for step in MockLLM().respond("POST", URL, request).steps]


def test_delays_in_the_models_name_are_exact() -> None:
    first, first_token, *others = plan_delays("small?tokens=50&first_ms=100&gap_ms=5")
    assert (first, first_token) == (0.1, 0.0)
    assert others == [0.005] * 49 + [0.0] * 2  # finish and [DONE] follow immediately


def test_random_delays_are_the_same_for_the_same_request() -> None:
    assert plan_delays("small?tokens=50") == plan_delays("small?tokens=50")
    assert len(set(plan_delays("small?tokens=50"))) > 40


def test_random_delays_have_the_configured_median() -> None:
    drawn = sorted(plan_delays("small?tokens=2000")[2:-2])
    assert 0.018 < drawn[1000] < 0.022
    firsts = sorted(plan_delays("small?tokens=1", seed=seed)[0] for seed in range(200))
    assert 0.2 < firsts[100] < 0.3


async def test_a_status_fault_has_the_status_and_retry_after(
    client: httpx.AsyncClient,
) -> None:
    model = "small?fault=status&status=429&retry_after=1.5"
    response = await client.post(URL, json=make_body(model=model))
    assert (response.status_code, response.headers["retry-after"]) == (429, "1.5")
    assert response.json()["error"]["code"] == "rate_limit_exceeded"


async def test_a_status_fault_is_500_by_default(client: httpx.AsyncClient) -> None:
    assert (await client.post(URL, json=make_body(model="small?fault=status"))).status_code == 500


async def test_a_refused_connection_is_a_connect_error(client: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.ConnectError):
        await client.post(URL, json=make_body(model="small?fault=refuse"))


async def test_a_reset_happens_after_the_given_tokens(
    client: httpx.AsyncClient, transport: MockTransport
) -> None:
    model = "small?fault=reset&after=2"
    blocks = []
    async with client.stream("POST", URL, json=make_body(model=model, stream=True)) as response:
        with pytest.raises(httpx.ReadError):  # noqa: PT012  # the blocks before the error are checked
            async for block in response.aiter_raw():
                blocks.append(block)  # noqa: PERF401
    assert len(blocks) == 3  # the role and two tokens
    assert (transport.open_streams, transport.mock.closed_early) == (0, 0)


async def test_a_stall_lasts_until_the_client_disconnects(
    client: httpx.AsyncClient, transport: MockTransport
) -> None:
    reading = asyncio.create_task(read_stream(client, model="small?fault=stall"))
    while not transport.open_streams:
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    assert not reading.done()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert (transport.open_streams, transport.mock.closed_early) == (0, 1)


async def test_a_hang_sends_no_headers_until_the_client_disconnects(
    client: httpx.AsyncClient, transport: MockTransport
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await client.post(URL, json=make_body(model="small?fault=hang"))
    assert (transport.open_streams, transport.mock.closed_early) == (0, 1)


async def test_a_cut_ends_cleanly_without_finish_reason_or_done(client: httpx.AsyncClient) -> None:
    data = [json.loads(each) for each in await read_stream(client, model="small?fault=cut&after=4")]
    assert len(data) == 5
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in data)


@pytest.mark.parametrize("after", [0, 2])
async def test_a_pause_delays_the_rest_of_the_answer(after: int) -> None:
    sound = "small?tokens=4&first_ms=1&gap_ms=1"
    model = f"{sound}&fault=pause&after={after}&pause_ms=500"
    bodies = [json.dumps(make_body(model=each, stream=True)).encode() for each in (sound, model)]
    usual, paused = [MockLLM().respond("POST", URL, body).steps for body in bodies]
    extra_s = [late.delay_s - step.delay_s for step, late in zip(usual, paused, strict=True)]
    assert [round(each, 3) for each in extra_s] == [
        0.5 if number == after + 1 else 0 for number in range(len(usual))
    ]


async def test_a_drip_sends_one_byte_at_a_time() -> None:
    request = json.dumps(make_body(model="small?fault=drip&drip_ms=20", stream=True)).encode()
    steps = MockLLM().respond("POST", URL, request).steps
    assert {(step.delay_s, len(step.data)) for step in steps} == {(0.02, 1)}


async def test_garbage_is_in_the_middle_of_a_stream(client: httpx.AsyncClient) -> None:
    data = await read_stream(client, model="small?fault=garbage&after=1")
    assert data[2] == b"{oops"
    assert data[-1] == b"[DONE]"


async def test_an_error_object_is_the_last_event(client: httpx.AsyncClient) -> None:
    data = await read_stream(client, model="small?fault=error_object&after=1")
    assert json.loads(data[2])["error"]["type"] == "server_error"
    assert len(data) == 3


async def test_binary_has_no_events(client: httpx.AsyncClient) -> None:
    assert await read_stream(client, model="small?fault=binary") == []


async def test_split_characters_are_joined_by_the_client(client: httpx.AsyncClient) -> None:
    assert text_of(await read_chunks(client, model="small?fault=split_utf8")) == MULTIBYTE_TEXT


def test_split_characters_are_split() -> None:
    request = json.dumps(make_body(model="small?fault=split_utf8", stream=True)).encode()
    steps = MockLLM().respond("POST", URL, request).steps
    assert any(a.data[-1] >= 0xC0 and 0x80 <= b.data[0] < 0xC0 for a, b in pairwise(steps))


async def test_crlf_and_comments_do_not_change_the_text(client: httpx.AsyncClient) -> None:
    model = "small?fault=crlf"
    assert text_of(await read_chunks(client, model=model)) == text_of(await read_chunks(client))
    response = await client.post(URL, json=make_body(model=model, stream=True))
    assert b"\r\n\r\n: " in response.content


async def test_no_done_omits_only_the_end_marker(client: httpx.AsyncClient) -> None:
    last = json.loads((await read_stream(client, model="small?fault=no_done"))[-1])
    assert last["choices"][0]["finish_reason"] == "stop"


async def test_double_done_sends_the_end_marker_twice(client: httpx.AsyncClient) -> None:
    assert (await read_stream(client, model="small?fault=double_done"))[-2:] == [b"[DONE]"] * 2


async def test_no_usage_omits_requested_usage(client: httpx.AsyncClient) -> None:
    received = await read_chunks(
        client, model="small?fault=no_usage", stream_options={"include_usage": True}
    )
    assert {chunk["usage"] for chunk in received} == {None}
    document = await client.post(URL, json=make_body(model="small?fault=no_usage"))
    assert "usage" not in document.json()


async def test_an_empty_answer_is_complete(client: httpx.AsyncClient) -> None:
    received = await read_chunks(client, model="small?fault=empty")
    assert [chunk["choices"][0]["finish_reason"] for chunk in received] == [None, "stop"]
    assert text_of(received) == ""


@pytest.mark.parametrize("fault", ["cut", "garbage"])
async def test_an_unstreamed_answer_can_have_a_fault(client: httpx.AsyncClient, fault: str) -> None:
    response = await client.post(URL, json=make_body(model=f"small?fault={fault}"))
    with pytest.raises(json.JSONDecodeError):
        response.json()


async def test_an_unstreamed_answer_can_be_an_error_object(client: httpx.AsyncClient) -> None:
    response = await client.post(URL, json=make_body(model="small?fault=error_object"))
    assert response.status_code == 200
    assert response.json().keys() == {"error"}


async def test_a_fault_with_times_applies_to_the_first_requests_only(
    client: httpx.AsyncClient,
) -> None:
    async def status(question: str) -> int:
        request = make_body(question, model="small?fault=status&times=2")
        return (await client.post(URL, json=request)).status_code

    assert [await status("a") for _ in range(4)] == [500, 500, 200, 200]
    assert await status("b") == 500


async def test_a_fault_with_a_rate_hits_the_same_fraction_each_time() -> None:
    def hits() -> list[bool]:
        mock = MockLLM()
        request = json.dumps(make_body(model="small?fault=status&rate=0.2")).encode()
        return [mock.respond("POST", URL, request).status == 500 for _ in range(300)]

    assert hits() == hits()
    assert 30 < sum(hits()) < 90


async def test_the_model_in_the_response_is_the_full_name(client: httpx.AsyncClient) -> None:
    assert (await read_chunks(client, model="small?tokens=1"))[0]["model"] == "small?tokens=1"


async def test_a_client_that_stops_reading_at_the_end_marker_is_not_counted_as_early(
    client: httpx.AsyncClient, transport: MockTransport
) -> None:
    async with client.stream("POST", URL, json=make_body(stream=True)) as response:
        async for block in response.aiter_raw():
            if b"[DONE]" in block:
                break
    assert (transport.requests, transport.open_streams, transport.mock.closed_early) == (1, 0, 0)


async def test_a_client_that_stops_reading_earlier_is_counted_as_early(
    client: httpx.AsyncClient, transport: MockTransport
) -> None:
    async with client.stream("POST", URL, json=make_body(stream=True)) as response:
        async for _ in response.aiter_raw():
            break
    assert (transport.open_streams, transport.mock.closed_early) == (0, 1)
