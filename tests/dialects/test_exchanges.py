"""Each exchange means the same however its bytes arrive, to the decoder and to the client."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest

from service.coalescing import CoalescingWindow
from service.errors import UpstreamError
from service.llm.client import LLMClient
from service.llm.decoding.body_format import FirstBytes, get_data
from service.llm.reply import Reply
from service.llm.transport import UpstreamTransport
from service.messages import join_tool_calls
from tests._support.llm.dialects import Exchange, read_exchanges
from tests._support.llm.scripted import Received, a_call, an_operation, raw_server

EXCHANGES = read_exchanges()
MAX_BYTES = 1_000_000
IDS = [each.id for each in EXCHANGES]
ANSWERS = [each for each in EXCHANGES if each.status == 200]


def read_blocks(exchange: Exchange, blocks: Iterable[bytes]) -> tuple[Reply, UpstreamError | None]:
    """Decode a response that arrives in `blocks`, without a connection."""
    reply = Reply.for_model("auto", exchange.model)
    decoder = FirstBytes(MAX_BYTES, MAX_BYTES)
    for block in blocks:
        added = reply.take([get_data(event) for event in decoder.feed(block)], exchange.model)
        if added.error:
            return reply, added.error
    rest = reply.take([get_data(event) for event in decoder.finish()], exchange.model)
    return reply, rest.error or reply.finish(exchange.model).error


def assert_meaning(exchange: Exchange, reply: Reply, error: UpstreamError | None) -> None:
    """Require the text, reasoning, calls, end, usage and error that the file states."""
    assert reply.text == exchange.text
    assert reply.reasoning.strip() == exchange.reasoning
    calls = [
        {"id": each.id, "name": each.name, "arguments": each.arguments}
        for each in join_tool_calls(reply.calls)
    ]
    assert calls == list(exchange.calls)
    assert (error.code if error else "") == exchange.error, error
    if error:
        assert exchange.sentence in error.message
        assert error.retry_after_s == exchange.retry_after_s
    else:
        assert reply.finish_reason == exchange.finish
    assert_usage(exchange, reply)


def assert_usage(exchange: Exchange, reply: Reply) -> None:
    if exchange.usage is None:
        return
    usage = reply.usage
    assert usage is not None
    found = {
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "cached": usage.cached_tokens,
        "reasoning": usage.reasoning_tokens,
    }
    assert {name: count for name, count in found.items() if count} == exchange.usage


@pytest.mark.parametrize("exchange", ANSWERS, ids=[each.id for each in ANSWERS])
def test_an_answer_means_the_same_wherever_its_bytes_are_split(exchange: Exchange) -> None:
    body = exchange.body
    for place in range(len(body) + 1):
        reply, error = read_blocks(exchange, [body[:place], body[place:]])
        assert_meaning(exchange, reply, error)
    reply, error = read_blocks(exchange, [body[i : i + 1] for i in range(len(body))])
    assert_meaning(exchange, reply, error)


@pytest.mark.parametrize("exchange", EXCHANGES, ids=IDS)
@pytest.mark.parametrize(
    ("largest", "is_busy"), [(MAX_BYTES, False), (600, False), (600, True), (40, True)]
)
async def test_the_client_reads_each_response_from_a_socket(
    exchange: Exchange, largest: int, is_busy: bool
) -> None:
    """The blocks have random sizes up to `largest` bytes; a busy client reads them in frames."""
    chance = random.Random(exchange.id)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        sizes = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
        await reader.readexactly(int(sizes[0].partition(b":")[2]))
        rest = exchange.response
        while rest:
            taken = chance.randint(largest // 40, largest)
            writer.write(rest[:taken])
            await writer.drain()
            await asyncio.sleep(0)
            rest = rest[taken:]
        writer.close()

    reply, received, error = Reply.for_model("auto", exchange.model), Received(), None
    async with raw_server(serve) as url, client(is_busy=is_busy) as llm:
        call = a_call(exchange.model, base_url=url, key=None)
        try:
            await llm.chat(call, reply, received.on_text, an_operation(), 1)
        except UpstreamError as failure:
            error = failure
    assert_meaning(exchange, reply, error)
    assert received.text == exchange.text
    assert received.reasoning.strip() == exchange.reasoning


@asynccontextmanager
async def client(*, is_busy: bool) -> AsyncIterator[LLMClient]:
    window = CoalescingWindow()
    window.is_active = is_busy
    async with UpstreamTransport() as transport:
        yield LLMClient(transport, window, key_needed=False)
