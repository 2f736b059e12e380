"""One log and any number of readers: each gets every event in order, at its own speed."""

from __future__ import annotations

import asyncio

import pytest

from service.domain import Usage
from service.events import AnswerDelta, Event, RunFailed, RunFinished
from service.runs.log import Reader, RunLog, Silence
from tests._support.llm.scripted import now

END = RunFinished("a", Usage(), None, 1.0, "a")
KEEP_ALIVE_S = 15.0


def _text(text: str) -> AnswerDelta:
    return AnswerDelta("a", text)


def _reader(log: RunLog, after: int = 0) -> Reader:
    return Reader(log, after, KEEP_ALIVE_S)


# --- the log ---


def test_events_are_numbered_from_one() -> None:
    log = RunLog()
    log.append(_text("x"))
    assert (len(log), log.after(0), log.after(1)) == (1, [_text("x")], [])


@pytest.mark.parametrize("final", [END, RunFailed("a", "c", "m", False, Usage(), None, 1.0)])
def test_nothing_follows_a_final_event(final: Event) -> None:
    log = RunLog()
    log.append(final)
    with pytest.raises(RuntimeError):
        log.append(_text("x"))
    assert log.finished


async def test_a_reader_flushes_new_events_to_the_spool_before_it_returns_them() -> None:
    log = RunLog()
    flushed: list[int] = []
    reader = Reader(log, 0, KEEP_ALIVE_S, lambda: flushed.append(len(log)))
    log.append(_text("a"))
    log.append(_text("b"))
    assert flushed == []
    await reader.take()
    assert flushed == [2]
    reader.close()


async def test_released_readers_get_the_remaining_events_and_the_end() -> None:
    log = RunLog([_text("a")])
    reader = _reader(log)
    waiting = _reader(log, after=1)
    taking = asyncio.create_task(waiting.take())
    await asyncio.sleep(0)
    log.release_readers()
    assert await taking is Silence.END
    assert await reader.take() == [_text("a")]
    assert await reader.take() is Silence.END
    assert not log.finished


# --- readers ---


async def test_a_reader_takes_all_available_events_at_once() -> None:
    log = RunLog()
    for text in "abc":
        log.append(_text(text))
    reader = _reader(log)
    assert await reader.take() == [_text("a"), _text("b"), _text("c")]
    assert reader.seq == 3


async def test_a_reader_behind_an_event_gets_only_later_events() -> None:
    log = RunLog()
    for text in "abc":
        log.append(_text(text))
    assert await _reader(log, after=2).take() == [_text("c")]


async def test_a_waiting_reader_is_woken_by_an_event() -> None:
    log = RunLog()
    reader = _reader(log)
    taking = asyncio.create_task(reader.take())
    await asyncio.sleep(1)
    assert not taking.done()
    log.append(_text("a"))
    assert await taking == [_text("a")]
    assert now() == 1


async def test_a_burst_costs_a_reader_one_wake_up() -> None:
    log = RunLog()
    reader = _reader(log)
    taking = asyncio.create_task(reader.take())
    await asyncio.sleep(0)
    for text in "abc":
        log.append(_text(text))
    assert await taking == [_text("a"), _text("b"), _text("c")]


async def test_a_slow_reader_misses_nothing_and_delays_no_other() -> None:
    log = RunLog()
    slow, quick = _reader(log), _reader(log)
    log.append(_text("a"))
    assert await quick.take() == [_text("a")]
    log.append(_text("b"))
    assert await quick.take() == [_text("b")]
    assert await slow.take() == [_text("a"), _text("b")]


async def test_a_reader_of_a_finished_log_gets_the_rest_and_then_the_end() -> None:
    log = RunLog()
    log.append(_text("a"))
    log.append(END)
    reader = _reader(log)
    assert await reader.take() == [_text("a"), END]
    assert await reader.take() is Silence.END


async def test_a_reader_at_the_end_of_a_finished_log_is_at_the_end() -> None:
    log = RunLog()
    log.append(END)
    assert await _reader(log, after=1).take() is Silence.END


async def test_a_closed_reader_is_removed_from_the_log() -> None:
    log = RunLog()
    reader = _reader(log)
    reader.close()
    reader.close()
    log.append(_text("a"))
    assert reader.seq == 0


async def test_a_reader_that_gave_up_waiting_can_take_again() -> None:
    log = RunLog()
    reader = _reader(log)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.take(), 1)
    log.append(_text("a"))
    assert await reader.take() == [_text("a")]


# --- keep-alives ---


async def test_a_reader_gets_a_keep_alive_after_a_time_without_events() -> None:
    reader = _reader(RunLog())
    assert await reader.take() is Silence.KEEP_ALIVE
    assert now() == pytest.approx(KEEP_ALIVE_S)


async def test_keep_alives_repeat_while_no_event_arrives() -> None:
    reader = _reader(RunLog())
    for _ in range(3):
        assert await reader.take() is Silence.KEEP_ALIVE
    assert now() == pytest.approx(3 * KEEP_ALIVE_S)


async def test_events_delay_the_next_keep_alive() -> None:
    log = RunLog()
    reader = _reader(log)

    async def work() -> None:
        for _ in range(10):
            await asyncio.sleep(10)
            log.append(_text("x"))

    working = asyncio.create_task(work())
    for _ in range(10):
        assert await reader.take() == [_text("x")]
    await working
    assert await reader.take() is Silence.KEEP_ALIVE
    assert now() == pytest.approx(100 + KEEP_ALIVE_S)


# --- bursts ---


async def test_events_that_are_appended_together_are_taken_together() -> None:
    log = RunLog()
    reader = _reader(log)
    taking = asyncio.create_task(reader.take())
    await asyncio.sleep(0)
    for text in "abc":
        log.append(_text(text))
    assert await taking == [_text("a"), _text("b"), _text("c")]
    assert now() == 0
