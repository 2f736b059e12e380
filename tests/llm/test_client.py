"""The client with scripted models: in process, and over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from service.coalescing import CoalescingWindow
from service.domain import Usage
from service.errors import (
    BadStream,
    MissingKey,
    UpstreamBroken,
    UpstreamBusy,
    UpstreamEmpty,
    UpstreamError,
    UpstreamFailed,
    UpstreamInvalidRequest,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from service.llm.client import LLMClient
from service.llm.transport import UpstreamTransport
from service.mock_llm.reply import MULTIBYTE_TEXT
from service.mock_llm.server import serve_mock
from service.mock_llm.transport import MockLLM
from tests._support.llm.scripted import (
    DONE,
    Blocks,
    Received,
    Recording,
    a_call,
    an_operation,
    answering,
    call_model,
    chunk,
    event,
    mock,
    model,
    now,
    raw_server,
    skipping,
    until,
)

KEY = "sk-very-secret-0123456789"


# --- answers ---


async def test_a_streamed_answer_is_passed_on_in_pieces_while_it_arrives() -> None:
    received = await call_model(mock(), a_call(model(tokens=6)))
    assert len(received.pieces) == 6
    assert received.text == received.reply.text


async def test_pieces_that_arrive_in_one_block_are_passed_on_as_one() -> None:
    received = await call_model(
        answering(chunk("one ") + chunk("two"), chunk(finish="stop") + DONE), a_call()
    )
    assert received.pieces == ["one two"]


async def test_the_usage_is_read_from_a_last_chunk_without_choices() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 7},
    }
    last = event({"id": "chatcmpl-1", "choices": [], "usage": usage})
    received = await call_model(answering(chunk("Hi"), chunk(finish="stop"), last, DONE), a_call())
    assert received.reply.usage == Usage(10, 20, cached_tokens=4, reasoning_tokens=7)


async def test_without_a_reported_usage_the_usage_is_none() -> None:
    received = await call_model(mock(), a_call(model(fault="no_usage")))
    assert received.reply.usage is None


async def test_a_reply_has_its_id_model_and_finish_reason() -> None:
    received = await call_model(answering(chunk("Hi"), chunk(finish="length"), DONE), a_call())
    reply = received.reply
    assert (reply.response_id, reply.response_model, reply.finish_reason) == (
        "chatcmpl-1",
        "model-2024",
        "length",
    )


async def test_an_unstreamed_answer_is_one_piece_with_its_usage() -> None:
    received = await call_model(mock(), a_call(model(tokens=5), stream=False))
    assert len(received.pieces) == 1
    assert received.reply.usage is not None
    assert received.reply.usage.output_tokens == 5


async def test_a_server_without_streaming_may_send_one_document() -> None:
    whole = {"choices": [{"message": {"content": "All of it."}, "finish_reason": "stop"}]}
    server = answering(json.dumps(whole).encode(), headers={"content-type": "application/json"})
    assert (await call_model(server, a_call(stream=True))).text == "All of it."


async def test_a_document_larger_than_the_limit_is_refused_while_it_arrives() -> None:
    blocks = [b'{"x": "', *[b"a" * 60_000] * 200]
    received = Blocks(blocks)
    server = httpx.MockTransport(
        lambda _: httpx.Response(200, headers={"content-type": "application/json"}, stream=received)
    )
    with pytest.raises(BadStream, match="more than 8388608 bytes"):
        await call_model(server, a_call(stream=False))
    assert received.sent < len(blocks)


async def test_reasoning_is_not_part_of_the_answer() -> None:
    server = answering(chunk(reasoning_content="Hmm."), chunk("Blue."), chunk(finish="stop"), DONE)
    assert (await call_model(server, a_call())).text == "Blue."


# --- streams as servers send them ---


@pytest.mark.parametrize("fault", ["crlf", "no_done", "double_done"])
async def test_harmless_deviations_of_servers_do_not_change_the_answer(fault: str) -> None:
    plain = await call_model(mock(), a_call(model(seed=1)))
    odd = await call_model(mock(), a_call(model(seed=1, fault=fault)))
    assert odd.text == plain.text


async def test_comments_and_unknown_fields_are_ignored() -> None:
    server = answering(
        b": OPENROUTER PROCESSING\n\n",
        b"retry: 10\nx-unknown: 1\n" + chunk("Hi", tool_calls=None, annotations=[{}]),
        event({"choices": [{"delta": {}, "finish_reason": "stop", "x": 1}], "x_groq": {"id": 1}}),
        DONE,
    )
    assert (await call_model(server, a_call())).text == "Hi"


async def test_a_line_separator_inside_text_does_not_end_a_line() -> None:
    received = await call_model(
        answering(chunk("a\u2028b\u0085c"), chunk(finish="stop"), DONE), a_call()
    )
    assert received.text == "a\u2028b\u0085c"


async def test_an_answer_split_at_every_byte_is_the_same_answer() -> None:
    stream = chunk("Grüße 👋\u2028") + chunk("€") + chunk(finish="stop") + DONE
    received = await call_model(answering(*(bytes([byte]) for byte in stream)), a_call())
    assert received.text == "Grüße 👋\u2028€"


async def test_the_last_event_needs_no_blank_line() -> None:
    last = chunk(" end", finish="stop").rstrip()
    assert (await call_model(answering(chunk("The"), last), a_call())).text == "The end"


async def test_data_after_the_end_marker_is_ignored_even_in_the_same_block() -> None:
    stream = chunk("Hi", finish="stop") + DONE + b"data: {oops\n\n"
    assert (await call_model(answering(stream), a_call())).text == "Hi"


# --- streams with faults ---


async def test_an_end_without_finish_reason_or_done_is_incomplete() -> None:
    with pytest.raises(UpstreamBroken) as caught:
        await call_model(mock(), a_call(model(fault="cut")))
    assert caught.value.code == "upstream_incomplete"


async def test_text_that_arrived_before_a_stream_broke_is_retained() -> None:
    received = Received()
    with pytest.raises(UpstreamBroken):
        await call_model(mock(), a_call(model(fault="reset", after=2)), received=received)
    assert received.text
    assert received.reply.text == received.text


async def test_an_error_object_inside_a_stream_is_a_failure_with_its_message() -> None:
    with pytest.raises(UpstreamFailed, match="as scripted"):
        await call_model(mock(), a_call(model(fault="error_object")))


async def test_an_error_object_for_a_rate_limit_is_a_busy_error() -> None:
    error = event({"error": {"message": "slow down", "code": "rate_limit_exceeded"}})
    with pytest.raises(UpstreamBusy, match="slow down"):
        await call_model(answering(error), a_call())


async def test_an_error_object_in_an_unstreamed_answer_is_a_failure() -> None:
    with pytest.raises(UpstreamFailed):
        await call_model(mock(), a_call(model(fault="error_object"), stream=False))


@pytest.mark.parametrize("fault", ["garbage", "binary"])
async def test_data_outside_of_the_protocol_is_an_upstream_error(fault: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        await call_model(mock(), a_call(model(fault=fault)))
    assert isinstance(caught.value, BadStream | UpstreamBroken)


async def test_an_answer_without_text_is_empty() -> None:
    with pytest.raises(UpstreamEmpty):
        await call_model(mock(), a_call(model(fault="empty")))


async def test_an_answer_of_white_space_is_empty() -> None:
    with pytest.raises(UpstreamEmpty):
        await call_model(answering(chunk(" \n"), chunk(finish="stop"), DONE), a_call())


async def test_a_stream_in_a_coding_that_is_not_supported_is_refused() -> None:
    with pytest.raises(BadStream, match="br"):
        await call_model(answering(b"\x8b\x02\x80..", headers={"content-encoding": "BR"}), a_call())


async def test_no_compression_is_requested() -> None:
    server = Recording()
    await call_model(server, a_call())
    assert server.headers[0]["accept-encoding"] == "identity"


async def test_a_transport_error_within_the_body_means_an_incomplete_answer() -> None:
    server = answering(chunk("Hi"), httpx.RemoteProtocolError("peer closed"))
    with pytest.raises(UpstreamBroken):
        await call_model(server, a_call())


# --- statuses ---


def _answer_status(status: int, body: object = None, **headers: str) -> httpx.MockTransport:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return answering(
        json.dumps(body or {"error": {"message": "Because."}}).encode(),
        status=status,
        headers={"content-type": "application/json", **fields},
    )


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, UpstreamInvalidRequest),
        (422, UpstreamInvalidRequest),
        (401, UpstreamRefused),
        (403, UpstreamRefused),
        (404, UpstreamRefused),
        (408, UpstreamFailed),
        (409, UpstreamBusy),
        (418, UpstreamRefused),
        (429, UpstreamBusy),
        (500, UpstreamFailed),
        (502, UpstreamFailed),
        (503, UpstreamFailed),
        (302, UpstreamRefused),
    ],
)
async def test_the_status_determines_the_kind_of_error(
    status: int, kind: type[UpstreamError]
) -> None:
    with pytest.raises(UpstreamError) as caught:
        await call_model(_answer_status(status), a_call())
    assert type(caught.value) is kind
    assert str(status) in caught.value.message


async def test_an_error_contains_the_message_of_the_server() -> None:
    body = {"error": {"message": "This model\n does not exist.", "code": "model_not_found"}}
    with pytest.raises(UpstreamRefused, match=r"answered 404: This model does not exist\."):
        await call_model(_answer_status(404, body), a_call())


async def test_a_status_without_a_readable_body_is_still_reported() -> None:
    with pytest.raises(UpstreamFailed, match="answered 502"):
        await call_model(answering(b"<html>Bad gateway \xff</html>", status=502), a_call())


async def test_an_exhausted_quota_is_not_a_rate_limit() -> None:
    body = {"error": {"message": "You exceeded your quota.", "code": "insufficient_quota"}}
    with pytest.raises(UpstreamRefused) as caught:
        await call_model(_answer_status(429, body), a_call())
    assert not caught.value.retryable


async def test_the_retry_after_of_a_busy_server_is_read() -> None:
    with pytest.raises(UpstreamBusy) as caught:
        await call_model(_answer_status(429, retry_after="7"), a_call())
    assert caught.value.retry_after_s == 7


@pytest.mark.parametrize(("status", "kind"), [(429, UpstreamBusy), (500, UpstreamFailed)])
async def test_the_status_of_an_endless_error_response_is_reported(
    status: int, kind: type[UpstreamError]
) -> None:
    with pytest.raises(kind):
        await call_model(answering(*[b"x" * 60_000] * 3, status=status), a_call())


async def test_the_status_of_an_error_response_that_breaks_off_is_reported() -> None:
    with pytest.raises(UpstreamBusy):
        await call_model(answering(httpx.ReadError("reset"), status=429), a_call())


@skipping
async def test_an_error_response_without_a_body_is_reported_after_two_seconds() -> None:
    class Silent(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            await asyncio.Event().wait()
            yield b""

    server = httpx.MockTransport(lambda _: httpx.Response(503, stream=Silent()))
    with pytest.raises(UpstreamFailed, match="503"):
        await call_model(server, a_call())
    assert now() == pytest.approx(2)


# --- keys ---


async def test_the_key_is_sent_in_the_authorization_header() -> None:
    server = Recording()
    await call_model(server, a_call(key=KEY))
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("key_header", "key", "header", "value"),
    [
        ("Authorization: Bearer", KEY, "authorization", f"Bearer {KEY}"),
        ("api-key", KEY, "api-key", KEY),
        ("Authorization: Basic", "me:word", "authorization", "Basic bWU6d29yZA=="),
        ("Authorization: Token", KEY, "authorization", f"Token {KEY}"),
    ],
)
async def test_a_server_can_have_another_header_for_the_key(
    key_header: str, key: str, header: str, value: str
) -> None:
    server = Recording()
    await call_model(server, a_call(key=key, key_header=key_header))
    assert server.headers[0][header] == value
    assert ("authorization" in server.headers[0]) is (header == "authorization")


async def test_without_a_key_no_authorization_is_sent() -> None:
    server = Recording()
    await call_model(server, a_call())
    assert "authorization" not in server.headers[0]


async def test_a_missing_key_is_reported_by_its_setting_and_nothing_is_sent() -> None:
    server = Recording()
    with pytest.raises(MissingKey, match="GROQ_KEY"):
        await call_model(server, a_call(key_name="GROQ_KEY"), key_needed=True)
    assert server.asked == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
async def test_a_key_in_an_error_response_is_redacted(status: int) -> None:
    body = {"error": {"message": f"Incorrect API key provided: {KEY}."}}
    with pytest.raises(UpstreamError) as caught:
        await call_model(_answer_status(status, body), a_call(key=KEY))
    assert KEY not in str(caught.value)
    assert KEY not in repr(caught.value)
    assert KEY not in caught.value.message


@pytest.mark.parametrize("key", ["k", "t", "ken", "ollama", "none"])
async def test_a_value_that_is_no_secret_is_not_redacted(key: str) -> None:
    sentence = "The token of the ollama model is not known: none."
    with pytest.raises(UpstreamError) as caught:
        await call_model(_answer_status(400, {"error": sentence}), a_call(key=key))
    assert caught.value.message.endswith(f"answered 400: {sentence}")


async def test_a_key_in_an_error_within_a_stream_is_redacted() -> None:
    error = event({"error": f"bad key {KEY}"})
    with pytest.raises(UpstreamError) as caught:
        await call_model(answering(chunk("Hi"), error), a_call(key=KEY))
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("before", range(280, 300, 5))
async def test_shortening_a_long_message_leaves_no_part_of_the_key(before: int) -> None:
    body = {"error": {"message": "." * before + KEY}}
    with pytest.raises(UpstreamError) as caught:
        await call_model(_answer_status(400, body), a_call(key=KEY))
    assert KEY[:5] not in caught.value.message


def test_the_repr_of_a_call_hides_its_key() -> None:
    assert KEY not in repr(a_call(key=KEY))


# --- deadlines ---


@skipping
async def test_without_headers_the_first_token_deadline_passes() -> None:
    with pytest.raises(UpstreamTimeout, match="sent no token within 5 s"):
        await call_model(mock(), a_call(model(fault="hang")))
    assert now() == pytest.approx(5)


@skipping
async def test_silence_after_the_first_token_ends_the_call_after_the_idle_deadline() -> None:
    received = Received()
    call = a_call(model(fault="stall", after=2), idle_timeout_s=3)
    with pytest.raises(UpstreamTimeout, match="went silent for 3 s"):
        await call_model(mock(), call, received=received)
    assert received.text
    assert now() == pytest.approx(3, abs=0.1)


@skipping
async def test_a_slow_drip_of_bytes_ends_at_the_total_deadline() -> None:
    call = a_call(
        model(fault="drip", drip_ms=100), first_token_timeout_s=90, idle_timeout_s=90, timeout_s=100
    )
    received = Received()
    with pytest.raises(UpstreamTimeout, match="had not finished after 100 s"):
        await call_model(mock(), call, received=received)
    assert received.text
    assert now() == pytest.approx(100)


@skipping
async def test_a_slow_drip_of_bytes_without_a_token_misses_the_first_token_deadline() -> None:
    with pytest.raises(UpstreamTimeout, match="sent no token within 5 s"):
        await call_model(mock(), a_call(model(fault="drip", drip_ms=100)))


class _Slow(httpx.AsyncByteStream):
    """Sends each block one second after the previous one."""

    def __init__(self, *blocks: bytes) -> None:
        self._blocks = blocks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for block in self._blocks:
            await asyncio.sleep(1)
            yield block


def _answer_slowly(*blocks: bytes) -> httpx.MockTransport:
    headers = {"content-type": "text/event-stream"}
    return httpx.MockTransport(
        lambda _: httpx.Response(200, headers=headers, stream=_Slow(*blocks))
    )


@skipping
@pytest.mark.parametrize("sign", [b": still here\n\n", chunk("", role="assistant")])
async def test_neither_comments_nor_a_role_are_a_first_token(sign: bytes) -> None:
    with pytest.raises(UpstreamTimeout, match="sent no token within 5 s"):
        await call_model(_answer_slowly(*[sign] * 9, chunk("Hi", finish="stop"), DONE), a_call())


@skipping
@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning_content": "Hmm."},
        {"reasoning": "Hmm."},
        {"reasoning": {"text": "Hmm."}},
        {"reasoning_text": "Hmm."},
        {"thinking": "Hmm."},
        {"thoughts": ["Hmm."]},
        {"chain_of_thought": "Hmm."},
        {"reasoning_details": [{"type": "reasoning.text", "text": "Hmm."}]},
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "c2Vj"}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hmm."}]}]},
        {"content": "<think>"},
    ],
)
async def test_reasoning_counts_as_a_first_token(delta: dict[str, Any]) -> None:
    thoughts = [chunk(**delta), *[chunk(**{**delta, "content": None})] * 3] * 3
    if delta.get("content") == "<think>":
        thoughts = [chunk("<think>"), *[chunk("Hmm.")] * 8, chunk("</think>")]
    elif "content" in delta:
        thoughts = [chunk(**delta)] * 9
    received = await call_model(
        _answer_slowly(*thoughts, chunk("Hi", finish="stop"), DONE), a_call()
    )
    assert received.text == "Hi"


@skipping
async def test_comments_do_not_keep_a_silent_stream_alive() -> None:
    with pytest.raises(UpstreamTimeout, match="went silent for 5 s"):
        await call_model(_answer_slowly(chunk("Hi"), *[b": ping\n\n"] * 9), a_call())


@skipping
async def test_a_steady_stream_may_take_longer_than_its_first_and_idle_deadlines() -> None:
    received = await call_model(
        _answer_slowly(*[chunk("x")] * 15, chunk(finish="stop"), DONE), a_call()
    )
    assert received.text == "x" * 15


@skipping
async def test_an_unstreamed_answer_has_only_the_total_deadline() -> None:
    call = a_call(model(tokens=10, gap_ms=1000), stream=False, timeout_s=30)
    assert (await call_model(mock(), call)).text


@skipping
async def test_a_body_without_an_end_after_the_end_marker_delays_no_client() -> None:
    class Endless(_Slow):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield chunk("Hi", finish="stop") + DONE
            await asyncio.Event().wait()

    headers = {"content-type": "text/event-stream"}
    server = httpx.MockTransport(lambda _: httpx.Response(200, headers=headers, stream=Endless()))
    assert (await call_model(server, a_call())).text == "Hi"
    assert now() < 0.1


# --- cancellation and deadlines ---


@pytest.mark.parametrize("fault", ["hang", "stall"])
async def test_cancelling_a_call_closes_its_response(fault: str) -> None:
    server = mock()
    task = asyncio.create_task(call_model(server, a_call(model(fault=fault))))
    await until(lambda: server.open_streams == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (server.open_streams, server.mock.closed_early) == (0, 1)


async def test_a_missed_deadline_closes_the_response() -> None:
    server = mock()
    with pytest.raises(UpstreamTimeout):
        await call_model(server, a_call(model(fault="stall"), idle_timeout_s=0.02))
    assert (server.open_streams, server.mock.closed_early) == (0, 1)


# --- over real sockets ---


@asynccontextmanager
async def _serve_mock(llm: MockLLM) -> AsyncIterator[str]:
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve_mock("127.0.0.1", 0, llm, ready=url.set_result))
    try:
        yield await url
    finally:
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving


def _open_transport() -> UpstreamTransport:
    return UpstreamTransport()


async def _call_over_a_socket(**options: Any) -> Received:
    async with _serve_mock(MockLLM()) as url:
        return await call_model(_open_transport(), a_call(model(**options), base_url=url))


async def test_a_stream_over_a_socket_is_read() -> None:
    assert len((await _call_over_a_socket(tokens=5, gap_ms=5)).pieces) > 1


async def test_characters_split_across_network_blocks_are_joined() -> None:
    assert (await _call_over_a_socket(fault="split_utf8")).text == MULTIBYTE_TEXT


async def test_an_unstreamed_answer_over_a_socket_is_read() -> None:
    async with _serve_mock(MockLLM()) as url:
        received = await call_model(_open_transport(), a_call(base_url=url, stream=False))
    assert len(received.pieces) == 1


async def test_a_reset_connection_is_incomplete() -> None:
    with pytest.raises(UpstreamBroken):
        await _call_over_a_socket(fault="reset")


async def test_a_reset_before_the_headers_is_unreachable() -> None:
    with pytest.raises(UpstreamUnreachable):
        await _call_over_a_socket(fault="refuse")


async def test_a_port_without_a_server_is_unreachable() -> None:
    async with raw_server(lambda _reader, _writer: asyncio.sleep(0)) as url:
        pass
    with pytest.raises(UpstreamUnreachable):
        await call_model(_open_transport(), a_call(base_url=url))


async def test_a_host_that_cannot_be_found_is_unreachable() -> None:
    with pytest.raises(UpstreamUnreachable):
        await call_model(_open_transport(), a_call(base_url="http://no-such-host.invalid/v1"))


async def test_an_invalid_address_is_an_upstream_error() -> None:
    with pytest.raises(UpstreamError, match="base_url"):
        await call_model(_open_transport(), a_call(base_url="http://a..b/v1"))


async def test_a_stall_over_a_socket_is_ended_by_the_idle_deadline() -> None:
    async with _serve_mock(MockLLM()) as url:
        call = a_call(model(fault="stall"), base_url=url, idle_timeout_s=0.05)
        with pytest.raises(UpstreamTimeout, match="went silent"):
            await call_model(_open_transport(), call)


async def test_cancelling_closes_the_connection_to_upstream() -> None:
    llm = MockLLM()
    async with _serve_mock(llm) as url:
        call = a_call(model(fault="stall"), base_url=url)
        task = asyncio.create_task(call_model(_open_transport(), call))
        await until(lambda: llm.open_streams == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: llm.closed_early == 1)


async def _call_and_disconnect_after(body: bytes, reset: bool) -> Received:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
        head += b"transfer-encoding: chunked\r\n\r\n"
        writer.write(head + b"%x\r\n%b\r\n" % (len(body), body))
        await writer.drain()
        await asyncio.sleep(0.01)
        if reset:
            writer.transport.abort()
        writer.close()

    async with raw_server(serve) as url:
        return await call_model(_open_transport(), a_call(base_url=url))


@pytest.mark.parametrize("reset", [False, True])
async def test_a_body_without_its_end_is_incomplete(reset: bool) -> None:
    with pytest.raises(UpstreamBroken):
        await _call_and_disconnect_after(chunk("Hi"), reset)


@pytest.mark.parametrize("reset", [False, True])
async def test_a_connection_lost_after_done_does_not_spoil_the_answer(reset: bool) -> None:
    assert (await _call_and_disconnect_after(chunk("Hi", finish="stop") + DONE, reset)).text == "Hi"


async def test_a_response_that_is_not_http_is_an_upstream_error() -> None:
    async def send_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x16\x03\x01 not HTTP at all\r\n\r\n")
        writer.close()

    async with raw_server(send_nonsense) as url:
        with pytest.raises(UpstreamError):
            await call_model(_open_transport(), a_call(base_url=url))


class _CountingServer:
    """A server that counts its connections and answers each request with the same stream.

    It sends everything up to [DONE] together and the end of the body later: a client that stops
    at [DONE] has not read the complete response.
    """

    def __init__(self) -> None:
        self.connections = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        body = chunk("Hi", finish="stop") + DONE
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
        head += b"transfer-encoding: chunked\r\n\r\n"
        try:
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                length = int(request.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                writer.write(head + b"%x\r\n%b\r\n" % (len(body), body))
                await writer.drain()
                await asyncio.sleep(0.005)
                writer.write(b"0\r\n\r\n")
        except asyncio.IncompleteReadError:
            writer.close()


async def test_a_connection_is_reused_after_the_end_marker() -> None:
    server = _CountingServer()
    async with (
        raw_server(server.handle) as url,
        _open_transport() as transport,
    ):
        client = LLMClient(transport, CoalescingWindow(), key_needed=False)
        for _ in range(5):
            received = Received()
            await client.chat(
                a_call(base_url=url), received.reply, received.on_text, an_operation(), attempt=1
            )
            assert received.text == "Hi"
    assert server.connections == 1


async def test_a_key_that_is_invalid_in_a_header_is_an_upstream_error_without_the_key() -> None:
    async with raw_server(_CountingServer().handle) as url:
        for key in (KEY + "\n", KEY + "ü", KEY + "\0"):
            with pytest.raises(UpstreamError) as caught:
                await call_model(_open_transport(), a_call(base_url=url, key=key))
            assert KEY not in str(caught.value)
