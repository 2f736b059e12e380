"""Queries for one run: they return the stored data, and to its owner only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.domain import Message
from service.store.journal.batch import Batch
from tests._support.runs.store_records import (
    ALL_STORE_KINDS,
    ME,
    NOW,
    OTHER_OWNER,
    Parts,
    make_agent_answer,
    make_key,
    make_run,
    make_run_end,
    make_segment,
)

pytestmark = pytest.mark.parametrize("store_kind", ALL_STORE_KINDS)


async def _write_complete_run(parts: Parts) -> str:
    """Write a run with all its records; return its id."""
    run = make_run(
        conversation="c", key=make_key(), initial_messages=(Message("user", "Earlier."),)
    )
    batch = Batch(
        openings=[run],
        segments=[make_segment(run, 1, 4, b"first"), make_segment(run, 5, 9, b"second")],
        answers=[make_agent_answer(run, "llm-1"), make_agent_answer(run, "llm-2")],
        endings=[make_run_end(run, findings='{"ranking": []}', recording=b"{}")],
    )
    await parts.journal.write(batch)
    return run.run_id


READS: dict[str, Callable[[Parts, str, str], Awaitable[Any]]] = {
    "get": lambda parts, owner, run_id: parts.runs.get(owner, run_id),
    "list_segments": lambda parts, owner, run_id: parts.runs.list_segments(owner, run_id),
    "list_agent_answers": lambda parts, owner, run_id: parts.runs.list_agent_answers(owner, run_id),
    "read_config": lambda parts, owner, run_id: parts.runs.read_config(owner, run_id),
    "read_findings": lambda parts, owner, run_id: parts.runs.read_findings(owner, run_id),
    "read_recording": lambda parts, owner, run_id: parts.runs.read_recording(owner, run_id),
    "find_key": lambda parts, owner, run_id: parts.runs.find_key(owner, "key", NOW),
    "list_exchanges": lambda parts, owner, run_id: parts.runs.list_exchanges(owner, "c", 5),
    "list_initial_messages": lambda parts, owner, run_id: parts.runs.list_initial_messages(
        owner, "c"
    ),
    "list_links": lambda parts, owner, run_id: parts.runs.list_links(owner, "c"),
    "list_by_ids": lambda parts, owner, run_id: parts.runs.list_by_ids(owner, [run_id]),
    "find_latest_run_id": lambda parts, owner, run_id: parts.runs.find_latest_run_id(owner, "c"),
}


@pytest.mark.parametrize("name", READS)
async def test_only_the_owner_can_read_a_run(parts: Parts, name: str) -> None:
    run_id = await _write_complete_run(parts)
    assert await READS[name](parts, ME, run_id)
    assert not await READS[name](parts, OTHER_OWNER, run_id)


def test_every_query_of_runs_is_tested_for_the_owner(parts: Parts) -> None:
    public = {name for name in dir(parts.runs) if not name.startswith("_")}
    assert public == {*READS, "request_stop", "mark_watched"}


async def test_an_unknown_run_is_none(parts: Parts) -> None:
    assert await parts.runs.get(ME, "run_unknown") is None


async def test_segments_start_with_the_one_that_contains_the_next_event(parts: Parts) -> None:
    run_id = await _write_complete_run(parts)
    for after, data in ((0, [b"first", b"second"]), (3, [b"first", b"second"]), (4, [b"second"])):
        found = await parts.runs.list_segments(ME, run_id, after)
        assert [each.data for each in found] == data
    assert await parts.runs.list_segments(ME, run_id, 9) == []


async def test_the_answers_of_agents_are_stored_completely(parts: Parts) -> None:
    run = await parts.create_run()
    answer = make_agent_answer(run)
    await parts.journal.write(Batch(answers=[answer]))
    assert await parts.runs.list_agent_answers(ME, run.run_id) == [answer]


async def test_a_run_has_the_options_of_its_request(parts: Parts) -> None:
    run = await parts.create_run(retry_of="run_0", trace_id="f" * 32, worker="worker_1")
    stored = await parts.runs.get(ME, run.run_id)
    assert stored is not None
    assert (stored.retry_of, stored.trace_id, stored.worker_id) == ("run_0", "f" * 32, "worker_1")
    assert (stored.message_id, stored.ensemble, stored.config_hash) == ("message", "fanout", "hash")
    assert (stored.max_tokens, stored.ended_at, stored.cost_usd) == (None, None, None)


# --- exchanges ---


async def test_exchanges_are_the_last_answered_ones_oldest_first(parts: Parts) -> None:
    for number in range(5):
        await parts.finish_run(f"answer {number}", conversation="c")
    found = await parts.runs.list_exchanges(ME, "c", 3)
    assert [run.answer for run in found] == ["answer 2", "answer 3", "answer 4"]


async def test_the_latest_run_is_the_newest_in_any_state(parts: Parts) -> None:
    assert await parts.runs.find_latest_run_id(ME, "c") is None
    await parts.finish_run(conversation="c")
    running = await parts.create_run(conversation="c")
    await parts.finish_run(conversation="d")
    assert await parts.runs.find_latest_run_id(ME, "c") == running.run_id


async def test_the_links_of_a_conversation_are_those_of_all_its_runs(parts: Parts) -> None:
    assert await parts.runs.list_links(ME, "c") == []
    first = await parts.finish_run("answer", conversation="c")
    second = await parts.create_run(conversation="c")
    await parts.finish_run(conversation="d")
    assert await parts.runs.list_links(ME, "c") == [(first.run_id, ""), (second.run_id, "")]
    found = await parts.runs.list_by_ids(ME, [second.run_id, first.run_id])
    assert [run.id for run in found] == [first.run_id, second.run_id]


async def test_exchanges_end_before_a_given_run(parts: Parts) -> None:
    for number in range(3):
        await parts.finish_run(f"answer {number}", conversation="c")
    last = (await parts.runs.list_exchanges(ME, "c", 1))[0]
    found = await parts.runs.list_exchanges(ME, "c", 5, before=last.id)
    assert [run.answer for run in found] == ["answer 0", "answer 1"]


async def test_a_run_without_an_answer_is_no_exchange(parts: Parts) -> None:
    await parts.create_run(conversation="c")
    await parts.finish_run("", conversation="c")
    failed = await parts.finish_run("half of it", conversation="c")
    assert [run.id for run in await parts.runs.list_exchanges(ME, "c", 5)] == [failed.run_id]


# --- signals ---


async def test_a_worker_receives_a_stop_signal_once(parts: Parts) -> None:
    run = await parts.create_run(worker="w")
    await parts.runs.request_stop(ME, run.run_id)
    await parts.runs.request_stop(ME, run.run_id)
    received = await parts.workers.take_signals("w")
    assert [(each.run_id, each.stop) for each in received] == [(run.run_id, True)]
    assert await parts.workers.take_signals("w") == []


async def test_a_worker_receives_the_signal_of_readers_each_time(parts: Parts) -> None:
    run = await parts.create_run(worker="w")
    await parts.runs.mark_watched(ME, run.run_id)
    await parts.runs.mark_watched(ME, run.run_id)
    for _ in range(2):
        received = await parts.workers.take_signals("w")
        assert [(each.stop, each.watched) for each in received] == [(False, 2)]


async def test_a_watched_run_can_receive_a_stop_signal(parts: Parts) -> None:
    run = await parts.create_run(worker="w")
    await parts.runs.mark_watched(ME, run.run_id)
    await parts.runs.request_stop(ME, run.run_id)
    received = await parts.workers.take_signals("w")
    assert [(each.stop, each.watched) for each in received] == [(True, 1)]


async def test_a_worker_receives_no_signals_for_runs_of_another(parts: Parts) -> None:
    run = await parts.create_run(worker="w")
    await parts.runs.request_stop(ME, run.run_id)
    assert await parts.workers.take_signals("another") == []


async def test_a_run_that_has_ended_gets_no_signals(parts: Parts) -> None:
    run = await parts.finish_run(worker="w")
    await parts.runs.request_stop(ME, run.run_id)
    await parts.runs.mark_watched(ME, run.run_id)
    assert await parts.workers.take_signals("w") == []


async def test_another_owner_can_neither_stop_nor_watch_a_run(parts: Parts) -> None:
    run = await parts.create_run(worker="w")
    await parts.runs.request_stop(OTHER_OWNER, run.run_id)
    await parts.runs.mark_watched(OTHER_OWNER, run.run_id)
    assert await parts.workers.take_signals("w") == []
