"""A request that is sent again with its Idempotency-Key starts no second run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.access.principal import Principal
from service.domain import RunRequest
from service.errors import RequestError
from service.runs.run import Run
from service.runs.settings import IdempotencyKey
from tests._support.llm.scripted import an_ask, model
from tests._support.runs.service import FOREVER, LONG, Service, failed, service

KEY = IdempotencyKey("key-1", b"body")
OTHER_BODY = IdempotencyKey("key-1", b"other")
FAILING: dict[str, Any] = {"a": {"model": model("a", fault="status", status=400)}}


async def _start_refused(
    of: Service, key: IdempotencyKey, ask: RunRequest | None = None
) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await of.start(ask, key)
    return caught.value


async def _start(to: Service, key: IdempotencyKey = KEY) -> Run:
    return await to.runs.start(an_ask(), key)


async def test_the_same_key_and_body_attaches_to_the_running_run() -> None:
    async with service(FOREVER, **LONG) as it:
        first = await it.start(key=KEY)
        assert await it.start(key=KEY) is first
        assert len(it.memory.tables.runs) == 1


async def test_the_same_key_and_body_replays_the_finished_run() -> None:
    async with service() as it:
        first = await it.finish(key=KEY)
        again = await _start(it)
        assert again.id == first.id
        assert await it.read(again) == first.log.after(0)
        assert len(it.server.asked) == 3


async def test_the_same_key_with_another_body_is_refused() -> None:
    async with service() as it:
        await it.start(key=KEY)
        error = await _start_refused(it, OTHER_BODY)
    assert error.code == "idempotency_key_reused"


async def test_owners_can_use_the_same_key() -> None:
    async with service() as it:
        mine = await it.start(an_ask(principal=Principal(owner="me")), KEY)
        yours = await it.start(an_ask(principal=Principal(owner="you")), OTHER_BODY)
    assert mine is not yours


async def test_a_refused_request_does_not_use_up_its_key() -> None:
    async with service() as it:
        await _start_refused(it, KEY, an_ask(ensemble="nope"))
        await it.start(key=OTHER_BODY)


async def test_a_question_that_was_not_committed_does_not_use_up_its_key() -> None:
    async with service() as it:
        it.memory.writing.confirms = False
        with pytest.raises(Exception, match="broke"):
            await it.start(key=KEY)
        it.memory.writing.confirms = True
        await it.journal.settle(30)
        await it.start(key=OTHER_BODY)


async def test_an_expired_key_can_be_used_again() -> None:
    async with service(limits={"idempotency_s": 5}) as it:
        first = await it.finish(key=KEY)
        it.memory.age(6)
        assert (await it.start(key=OTHER_BODY)).id != first.id


async def test_events_are_retained_until_their_key_expires() -> None:
    async with service(limits={"retention_s": 1, "idempotency_s": 60}) as it:
        keyed, keyless = await it.finish(key=KEY), await it.finish()
        await it.expire(after_s=30)
        assert (await it.refusal(keyless.id)).code == "run_expired"
        assert await it.read(await _start(it)) == keyed.log.after(0)


async def test_a_known_key_gets_its_run_even_while_draining_or_overloaded() -> None:
    async with service(limits={"open_runs": 1}) as it:
        run = await it.start(key=KEY)
        assert await it.start(key=KEY) is run
        await it.read(run)
        it.runs.draining = True
        assert (await _start(it)).id == run.id


# --- when the first run did not complete ---


async def test_a_failed_run_is_retried_under_its_key() -> None:
    async with service(FAILING) as it:
        first = await it.finish(key=KEY)
        second = await it.finish(key=KEY)
        assert second.retry_of == first.id
        assert (await it.stored(first)).superseded_by == second.id


async def test_after_a_retry_the_key_is_bound_to_the_new_run() -> None:
    async with service(FOREVER, timeout_s=40) as it:
        await it.finish(key=KEY)
        second = await it.start(key=KEY)
        assert await it.start(key=KEY) is second
        assert len(it.memory.tables.runs) == 2


async def test_an_abandoned_run_is_retried_under_its_key() -> None:
    async with service(FOREVER, limits={"detach_grace_s": 0}, **LONG) as it:
        first = await it.start(key=KEY)
        assert (await failed(first)).code == "abandoned"
        await it.journal.settle(30)
        assert (await it.start(key=KEY)).retry_of == first.id


async def test_a_cancelled_run_stays_cancelled_under_its_key() -> None:
    async with service(FOREVER, **LONG) as it:
        first = await it.start(key=KEY)
        await it.runs.cancel(first)
        await it.journal.settle(30)
        again = await _start(it)
        assert again.id == first.id
        assert await it.read(again) == first.log.after(0)


async def test_another_body_is_refused_for_a_failed_run_too() -> None:
    async with service(FAILING) as it:
        await it.finish(key=KEY)
        assert (await _start_refused(it, OTHER_BODY)).code == "idempotency_key_reused"


async def test_a_key_resolves_to_the_retry_of_its_run() -> None:
    async with service(FAILING) as one, service(beside=one) as other:
        first = await one.finish(key=KEY)
        retried = await other.runs.retry(first.id, Principal(owner=first.owner))
        await other.read(retried)
        await other.journal.settle(30)
        assert (await _start(one)).id == retried.id


async def test_a_failed_manual_retry_is_retried_under_the_key() -> None:
    async with service(FAILING) as it:
        first = await it.finish(key=KEY)
        second = await it.runs.retry(first.id, Principal(owner=first.owner))
        await it.read(second)
        await it.journal.settle(30)
        third = await it.start(key=KEY)
        assert third.retry_of == second.id
        assert await _start(it) is third


# --- simultaneous requests ---


async def test_of_two_simultaneous_requests_one_starts_a_run() -> None:
    async with service() as it:
        first, second = await asyncio.gather(it.start(key=KEY), it.start(key=KEY))
        assert first is second
        await it.read(first)
    assert len(it.server.asked) == 3


async def test_of_two_processes_one_starts_a_run_and_both_read_it() -> None:
    async with service() as one, service(beside=one) as other:
        first, second = await asyncio.gather(_start(one), _start(other))
        assert first.id == second.id
        events = await asyncio.gather(one.read(first), other.read(second))
        assert events[0] == events[1]
        assert len(one.server.asked) + len(other.server.asked) == 3


async def test_of_two_simultaneous_bodies_one_is_refused() -> None:
    async with service() as one, service(beside=one) as other:
        posts = (_start(one, KEY), _start(other, OTHER_BODY))
        results = await asyncio.gather(*posts, return_exceptions=True)
    (error,) = [each for each in results if isinstance(each, RequestError)]
    assert error.code == "idempotency_key_reused"
    assert len(one.memory.tables.runs) == 1


async def test_of_two_simultaneous_retries_under_a_key_one_starts_a_run() -> None:
    async with service(FAILING) as one, service(FAILING, beside=one) as other:
        await one.finish(key=KEY)
        first, second = await asyncio.gather(_start(one), _start(other))
        assert first.id == second.id
        assert len(one.memory.tables.runs) == 2
