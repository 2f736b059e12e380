"""The allowance of small frames, and the frames that an HTTP/2 client sends."""

from __future__ import annotations

import asyncio

import pytest
from h2.errors import ErrorCodes

from service.server.connections import Turns
from service.server.frame_allowance import FrameAllowance
from service.server.http2_frames import InboundFrames
from tests._support.clients.floods import PREFACE, http2_frame

PING = http2_frame(6, payload=b"12345678")
WINDOW_UPDATE = http2_frame(8, payload=b"\0\0\0\1")
DATA = http2_frame(0, 0, 1, b"x" * 100)


def frames() -> InboundFrames:
    opened = InboundFrames(16_384)
    assert list(opened.split(PREFACE, 16)) == [PREFACE]
    return opened


def is_refused(received: InboundFrames, data: bytes) -> bool:
    assert b"".join(received.split(data, 16)) == data
    return received.error is ErrorCodes.ENHANCE_YOUR_CALM


def test_a_frame_per_second_from_a_hundred_tabs_is_permitted_for_ever() -> None:
    now = 0.0
    allowance = FrameAllowance(lambda: now)
    for _ in range(100_000):
        now += 0.01
        assert allowance.spend()


def test_a_thousand_frames_at_once_are_permitted_and_then_two_hundred_per_second() -> None:
    now = 0.0
    allowance = FrameAllowance(lambda: now)
    assert sum(allowance.spend() for _ in range(2_000)) == 1_000
    now = 1.0
    assert sum(allowance.spend() for _ in range(2_000)) == 200
    now = 1_000.0
    assert sum(allowance.spend() for _ in range(2_000)) == 1_000


@pytest.mark.parametrize("size", [1, 7, 9, 10, 17, 1_000, 100_000])
def test_frames_are_counted_however_they_are_split_into_packets(size: int) -> None:
    received, data = frames(), PING * 2_000
    refused_at = 0
    for start in range(0, len(data), size):
        list(received.split(data[start : start + size], 16))
        if received.error:
            refused_at = start
            break
    assert received.error is ErrorCodes.ENHANCE_YOUR_CALM
    assert 990 * len(PING) - size < refused_at < 1_300 * len(PING)


def test_a_block_has_at_most_the_given_number_of_frames() -> None:
    blocks = list(frames().split(PING * 100, 16))
    assert b"".join(blocks) == PING * 100
    assert len(blocks) == 7
    assert max(map(len, blocks)) <= 17 * len(PING)


def test_requests_and_their_data_are_not_limited() -> None:
    received = frames()
    for stream in range(1, 8_000, 2):
        assert not is_refused(received, http2_frame(1, 4, stream, b"x" * 30) + DATA)


def test_headers_of_an_old_stream_are_limited() -> None:
    assert is_refused(frames(), http2_frame(1, 4, 1, b"x" * 30) * 2_000)


@pytest.mark.parametrize("flags", [0, 8, 0x20])
@pytest.mark.parametrize("kind", [2, 3, 4, 6, 7, 8, 9, 10, 0x10, 0x55])
def test_frames_of_every_other_kind_are_limited(kind: int, flags: int) -> None:
    assert not is_refused(frames(), http2_frame(kind, flags, 1) * 150)
    assert is_refused(frames(), http2_frame(kind, flags, 1) * 2_000)


def test_window_updates_are_permitted_for_the_data_sent() -> None:
    received = frames()
    for _ in range(5_000):
        received.record_sent(http2_frame(1, 4, 1, b"x" * 30) + DATA)
        assert not is_refused(received, WINDOW_UPDATE * 10)
    assert is_refused(received, WINDOW_UPDATE * 20_000)


def test_resets_that_the_client_causes_are_limited() -> None:
    received = frames()
    received.record_sent(http2_frame(3, 0, 1, b"\0\0\0\5") * 300)
    assert received.error is ErrorCodes.ENHANCE_YOUR_CALM


def test_a_frame_over_the_limit_is_refused_by_its_header() -> None:
    received = frames()
    list(received.split(http2_frame(0, 0, 1, b"x" * 16_385)[:9], 16))
    assert received.error is ErrorCodes.FRAME_SIZE_ERROR


async def test_waiting_connections_take_turns_and_other_tasks_run_between_them() -> None:
    turns, order = Turns(), list[str]()

    async def work(name: str) -> None:
        for _ in range(3):
            await turns.wait()
            order.append(name)

    async def other() -> None:
        for _ in range(20):
            await asyncio.sleep(0)
            order.append("other")

    await asyncio.gather(work("a"), work("b"), work("c"), other())
    connections = [name for name in order if name != "other"]
    assert connections == ["a", "b", "c"] * 3
    assert order[: order.index("a")].count("other") >= 5
    assert order[order.index("a") : order.index("b")].count("other") >= 5
