"""Runs: begun, followed by any number of readers, stopped, kept for a while, and forgotten."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.domain import Message
from service.errors import RequestError
from service.events import AgentStarted, AnswerDelta, Event, RunFinished, RunStarted
from service.runs.log import Silence
from service.runs.run import Run
from service.runs.runs import IdempotencyKey
from telemetry import Telemetry, TelemetryConfig
from tests.core_kit import SkippingLoop, an_ask, model, now
from tests.runs.kit import NEVER_ENDING, Service, ended, failed, service

FOREVER: dict[str, Any] = {
    "a": {"model": NEVER_ENDING, "idle_timeout_s": 80_000, "timeout_s": 80_000}
}
LONG: dict[str, Any] = {"timeout_s": 80_000}


def _refusal(of: Service, **start: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        of.start(**start)
    return caught.value


def _missing(of: Service, run_id: str, owner: str = "anonymous") -> RequestError:
    with pytest.raises(RequestError) as caught:
        of.runs.get(run_id, owner)
    return caught.value


# --- start ---


async def test_starting_returns_at_once_with_the_first_event_in_the_log() -> None:
    async with service() as it:
        run = it.start()
        assert run.log.after(0) == [RunStarted(run.id, run.trace_id, "fanout", ("a", "b"))]


async def test_a_run_ends_with_its_answer() -> None:
    async with service() as it:
        final = await ended(await it.finish())
    assert isinstance(final, RunFinished)
    assert final.usage.output_tokens == 4 * 3


async def test_an_unknown_ensemble_is_refused_with_those_there_are() -> None:
    async with service() as it:
        error = _refusal(it, ask=an_ask(ensemble="nope"))
    assert (error.status, error.code) == (400, "unknown_ensemble")
    assert error.details[0].field == "ensemble"
    assert "fanout" in error.message


async def test_two_runs_do_not_share_a_log() -> None:
    async with service() as it:
        first, second = await it.finish(), await it.finish()
    assert first.id != second.id
    assert len([event for event in second.log.after(0) if isinstance(event, RunStarted)]) == 1


# --- readers ---


async def test_several_readers_and_a_late_joiner_see_the_same_events() -> None:
    async with service() as it:
        run = it.start(an_ask(stream_agents=True))
        early = [asyncio.create_task(it.read(run)) for _ in range(3)]
        await asyncio.sleep(0.004)
        late = asyncio.create_task(it.read(run))
        assert 1 < len(run.log) < 25
        first, *others = await asyncio.gather(*early, late)
        after = await it.read(run)
    assert first == run.log.after(0)
    assert all(each == first for each in (*others, after))


async def test_a_reader_that_comes_back_misses_nothing_and_gets_nothing_twice() -> None:
    async with service() as it:
        run = it.start(an_ask(stream_agents=True))
        seen: list[Event] = []
        while not run.log.finished:
            with it.runs.reading(run, after=len(seen)) as reader:
                taken = await reader.take()
                assert not isinstance(taken, Silence)
                seen += taken
    assert seen == run.log.after(0)


async def test_coming_back_is_counted() -> None:
    async with service() as it:
        run = await it.finish()
        it.runs.note_resumed(run)
        page = it.telemetry.metrics_page("")[0].decode()
    assert re.search(r"^\w*resumes_total 1\.0$", page, re.MULTILINE)


@pytest.mark.parametrize(("takes", "disconnects"), [(1, 1.0), (2, 0.0)])
async def test_who_leaves_before_all_was_sent_is_counted(takes: int, disconnects: float) -> None:
    async with service() as it:
        run = await it.finish()
        with it.runs.reading(run) as reader:
            for _ in range(takes):  # the second says that what the first gave has been sent
                await reader.take()
        page = it.telemetry.metrics_page("")[0].decode()
    assert f"\nfanout_client_disconnects_total {disconnects}\n" in page


async def test_a_reader_that_never_reads_delays_nobody() -> None:
    async with service() as it:
        run = it.start()
        with it.runs.reading(run) as stuck:
            await it.read(run)
            assert stuck.seq == 0
        assert run.log.finished


async def test_a_reader_that_fails_is_detached() -> None:
    async with service(FOREVER, **LONG) as it:
        run = it.start()
        with pytest.raises(LookupError), it.runs.reading(run):
            raise LookupError
        assert run.readers == 0


# --- stopping ---


async def test_a_cancelled_run_says_so_and_ends_its_calls() -> None:
    async with service(FOREVER, **LONG) as it:
        run = it.start()
        await asyncio.sleep(1)
        await it.runs.cancel(run)
        final = await failed(run)
        assert (final.code, final.agent) == ("cancelled", "service")
        assert it.upstream_calls == 0


async def test_what_a_cancelled_run_spent_is_counted() -> None:
    async with service(FOREVER, **LONG) as it:
        run = it.start()
        await asyncio.sleep(1)
        await it.runs.cancel(run)
        final = await failed(run)
    assert final.usage.estimated
    assert final.usage.input_tokens > 0
    assert final.usage.output_tokens > 0


async def test_a_run_stopped_before_its_first_step_still_ends_with_a_final_event() -> None:
    async with service() as it:
        run = it.start()
        await it.runs.cancel(run)
        assert (await failed(run)).code == "cancelled"
        assert len(run.log) == 2
        assert it.server.asked == []


async def test_a_run_stopped_before_its_agents_first_step_ends_as_well() -> None:
    async with service() as it:
        run = it.start()
        await asyncio.sleep(0)  # the strategy has begun, its agents have not
        await it.runs.cancel(run)
        assert (await failed(run)).code == "cancelled"


async def test_cancelling_twice_or_late_changes_nothing() -> None:
    async with service() as it:
        run = it.start()
        await asyncio.gather(it.runs.cancel(run), it.runs.cancel(run))
        before = run.log.after(0)
        await it.runs.cancel(run)
        assert run.log.after(0) == before


async def test_cancelling_a_finished_run_leaves_its_answer() -> None:
    async with service() as it:
        run = await it.finish()
        await it.runs.cancel(run)
        assert isinstance(await ended(run), RunFinished)


async def test_the_first_reason_to_stop_is_the_one_that_is_told() -> None:
    async with service(FOREVER, **LONG) as it:
        run = it.start()
        cancelling = asyncio.create_task(it.runs.cancel(run))
        await asyncio.sleep(0)
        await it.runs.drain(0)
        await cancelling
        assert (await failed(run)).code == "cancelled"


async def test_text_that_was_sent_makes_a_failed_run_partial() -> None:
    combiner = {"model": model("combine", fault="stall", after=2), "idle_timeout_s": 3}
    async with service(combiner=combiner) as it:
        run = await it.finish()
        final = await failed(run)
    assert (final.partial, final.agent, final.code) == (True, "combine", "upstream_timeout")


async def test_a_run_that_failed_before_any_text_is_not_partial() -> None:
    async with service({"a": {"model": model(fault="status", status=400)}}) as it:
        assert not (await failed(await it.finish())).partial


# --- nobody reads ---


async def test_a_run_that_nobody_reads_is_stopped_after_the_grace() -> None:
    async with service(FOREVER, limits={"detach_grace_s": 5}, **LONG) as it:
        run = it.start()
        with it.runs.reading(run):
            await asyncio.sleep(60)
        assert not run.log.finished
        assert (await failed(run)).code == "abandoned"
        assert now() == pytest.approx(65)
        assert it.upstream_calls == 0


async def test_a_run_that_nobody_ever_read_is_stopped_too() -> None:
    async with service(FOREVER, limits={"detach_grace_s": 5}, **LONG) as it:
        assert (await failed(it.start())).code == "abandoned"


async def test_coming_back_within_the_grace_keeps_a_run_alive() -> None:
    async with service(FOREVER, limits={"detach_grace_s": 5}, **LONG) as it:
        run = it.start()
        for _ in range(3):
            with it.runs.reading(run):
                await asyncio.sleep(10)
            await asyncio.sleep(4)
        assert not run.log.finished


async def test_a_run_lives_while_one_of_its_readers_stays() -> None:
    async with service(FOREVER, limits={"detach_grace_s": 5}, **LONG) as it:
        run = it.start()
        with it.runs.reading(run):
            with it.runs.reading(run):
                await asyncio.sleep(1)
            await asyncio.sleep(60)
            assert not run.log.finished


async def test_a_run_finishes_within_the_grace_for_those_who_come_back() -> None:
    async with service() as it:
        run = it.start()
        with it.runs.reading(run) as reader:
            await reader.take()
        assert isinstance(await ended(run), RunFinished)
        assert await it.read(run) == run.log.after(0)


async def test_without_a_grace_a_run_still_waits_for_its_first_reader() -> None:
    async with service(limits={"detach_grace_s": 0}) as it:
        run = it.start()
        await asyncio.sleep(0.001)  # what a response needs to begin
        await it.read(run)
        assert isinstance(await ended(run), RunFinished)


async def test_without_a_grace_a_run_ends_with_its_last_reader() -> None:
    async with service(FOREVER, limits={"detach_grace_s": 0}, **LONG) as it:
        run = it.start()
        with it.runs.reading(run):
            await asyncio.sleep(1)
        assert (await failed(run)).code == "abandoned"
        assert now() == pytest.approx(1)


# --- the run's own deadline ---


async def test_a_run_past_its_deadline_says_so() -> None:
    async with service(FOREVER, timeout_s=40) as it:
        run = it.start()
        await it.read(run)
        final = await failed(run)
    assert (final.code, final.message) == ("run_timeout", "The run did not finish within 40 s.")
    assert now() == pytest.approx(40)


async def test_a_caller_may_shorten_a_runs_deadline() -> None:
    async with service(FOREVER, timeout_s=40) as it:
        run = it.start(an_ask(timeout_s=7.0))
        await it.read(run)
        assert (await failed(run)).code == "run_timeout"
    assert now() == pytest.approx(7)


async def test_a_caller_may_not_prolong_a_runs_deadline() -> None:
    async with service(FOREVER, timeout_s=40) as it:
        await it.finish(an_ask(timeout_s=70_000.0))
    assert now() == pytest.approx(40)


class CreepingLoop(SkippingLoop):
    """Its clock moves on while code runs, as a real one's does."""

    def time(self) -> float:
        self.skip(1e-6)
        return super().time()


def test_the_runs_deadline_comes_before_those_of_its_calls() -> None:
    async def run_out_of_time() -> None:
        async with service({**FOREVER, "b": {"model": model("b")}}, timeout_s=40) as it:
            assert (await failed(await it.finish())).code == "run_timeout"

    with asyncio.Runner(loop_factory=CreepingLoop) as runner:
        runner.run(run_out_of_time())


async def test_a_combiner_at_the_runs_deadline_is_the_runs_timeout() -> None:
    combiner = {"model": NEVER_ENDING, "idle_timeout_s": 80_000, "timeout_s": 80_000}
    async with service(combiner=combiner, timeout_s=40) as it:
        final = await failed(await it.finish())
    assert (final.code, final.partial) == ("run_timeout", True)


# --- idempotency ---


KEY = IdempotencyKey("key-1", b"body")


async def test_the_same_key_and_body_is_the_same_run() -> None:
    async with service() as it:
        first = it.start(key=KEY)
        assert it.start(key=KEY) is first
        await it.read(first)
        assert it.start(key=KEY) is first
        assert len(it.server.asked) == 3


async def test_the_same_key_with_another_body_is_refused() -> None:
    async with service() as it:
        it.start(key=KEY)
        error = _refusal(it, key=IdempotencyKey("key-1", b"other"))
    assert (error.status, error.code) == (422, "idempotency_key_reused")


async def test_a_key_belongs_to_its_owner() -> None:
    async with service() as it:
        mine = it.start(an_ask(owner="me"), KEY)
        yours = it.start(an_ask(owner="you"), IdempotencyKey("key-1", b"other"))
    assert mine is not yours


async def test_a_refused_request_does_not_use_up_its_key() -> None:
    async with service() as it:
        _refusal(it, ask=an_ask(ensemble="nope"), key=KEY)
        assert it.start(key=IdempotencyKey("key-1", b"other"))  # type: ignore[truthy-bool]


async def test_a_key_is_free_again_once_its_run_is_forgotten() -> None:
    async with service(limits={"retention_s": 5}) as it:
        first = await it.finish(key=KEY)
        await asyncio.sleep(6)
        assert it.start(key=IdempotencyKey("key-1", b"other")) is not first


async def test_a_known_key_is_answered_even_while_draining_or_overloaded() -> None:
    async with service(limits={"open_runs": 1}) as it:
        run = it.start(key=KEY)
        assert it.start(key=KEY) is run
        await it.read(run)
        it.runs.draining = True
        assert it.start(key=KEY) is run


# --- overload ---


async def test_too_many_open_runs_are_refused_with_a_time_to_come_back() -> None:
    async with service(limits={"open_runs": 2}) as it:
        it.start()
        it.start()
        error = _refusal(it)
    assert (error.status, error.code) == (503, "overloaded")
    assert int(error.headers["Retry-After"]) > 0


async def test_a_run_that_ended_makes_room() -> None:
    async with service(limits={"open_runs": 1}) as it:
        await it.finish()
        await it.finish()


# --- drain ---


async def test_draining_refuses_new_runs_with_a_time_to_come_back() -> None:
    async with service() as it:
        await it.runs.drain(0)
        error = _refusal(it)
    assert (error.status, error.code) == (503, "draining")
    assert int(error.headers["Retry-After"]) > 0


async def test_a_run_may_finish_within_the_drain() -> None:
    agents = {"a": {"model": model(first_ms=9_000)}}
    async with service(agents) as it:
        run = it.start()
        reading = asyncio.create_task(it.read(run))
        await it.runs.drain(20)
        assert isinstance(await ended(run), RunFinished)
        assert (await reading)[-1].final
        assert now() < 10


async def test_a_run_that_does_not_finish_is_ended_and_its_reader_told() -> None:
    async with service(FOREVER, **LONG) as it:
        run = it.start()
        reading = asyncio.create_task(it.read(run))
        await it.runs.drain(20)
        assert (await failed(run)).code == "shutting_down"
        assert (await reading)[-1].final
        assert it.upstream_calls == 0


async def test_after_a_drain_every_run_has_ended_even_if_nobody_reads_it() -> None:
    async with service(FOREVER, **LONG) as it:
        run = it.start()
        await asyncio.sleep(1)
        await it.runs.drain(0)
        assert run.log.finished
        assert run.ended.done()


async def test_a_drain_does_not_wait_for_ever_for_a_reader_that_takes_nothing() -> None:
    async with service(FOREVER, **LONG) as it:
        with it.runs.reading(it.start()):
            await it.runs.drain(1)
    assert now() < 10


# --- kept, and forgotten ---


async def test_a_finished_run_can_be_read_again() -> None:
    async with service() as it:
        run = await it.finish()
        again = it.runs.get(run.id, "anonymous")
        assert await it.read(again) == run.log.after(0)


async def test_a_run_is_forgotten_after_its_retention_and_then_expired() -> None:
    async with service(limits={"retention_s": 60}) as it:
        run = await it.finish()
        await asyncio.sleep(59)
        assert it.runs.get(run.id, "anonymous") is run
        await asyncio.sleep(2)
        error = _missing(it, run.id)
    assert (error.status, error.code) == (410, "run_expired")


async def test_an_open_run_is_never_forgotten() -> None:
    async with service(FOREVER, limits={"retention_s": 1}, **LONG) as it:
        run = it.start()
        with it.runs.reading(run):
            await asyncio.sleep(3600)
            assert it.runs.get(run.id, "anonymous") is run


async def test_a_run_that_never_was_is_unknown() -> None:
    async with service() as it:
        error = _missing(it, "run_" + "0" * 32)
    assert (error.status, error.code) == (404, "run_not_found")


async def test_somebody_elses_run_is_unknown() -> None:
    async with service() as it:
        run = await it.finish(an_ask(owner="me"))
        assert _missing(it, run.id, "you").status == 404


async def test_somebody_elses_expired_run_is_as_unknown_as_any() -> None:
    async with service(limits={"retention_s": 1}) as it:
        run = await it.finish(an_ask(owner="me"))
        await asyncio.sleep(2)
        assert _missing(it, run.id, "me").status == 410
        assert _missing(it, run.id, "you").status == 404


async def test_past_its_memory_the_oldest_run_goes_first() -> None:
    agents = {"a": {"model": model("a", tokens=100)}}
    async with service(agents, limits={"log_bytes": 40_000}) as it:
        runs = [await it.finish(an_ask(stream_agents=True)) for _ in range(4)]
        kept = [run for run in runs if not _is_expired(it, run)]
    assert 0 < len(kept) < 4
    assert kept == runs[-len(kept) :]


async def test_a_run_too_large_to_keep_is_read_to_its_end_and_then_gone() -> None:
    async with service(limits={"log_bytes": 10}) as it:
        run = it.start()
        assert (await it.read(run))[-1].final
        await ended(run)
        assert _is_expired(it, run)


async def test_long_questions_count_as_memory_as_well() -> None:
    long = an_ask(messages=(Message("user", "why " * 12_500),))
    async with service(limits={"log_bytes": 60_000}) as it:
        first, second = await it.finish(long), await it.finish(long)
        assert _is_expired(it, first)
        assert not _is_expired(it, second)


def _is_expired(it: Service, run: Run) -> bool:
    try:
        it.runs.get(run.id, "anonymous")
    except RequestError as error:
        return error.status == 410
    return False


# --- bugs ---


class _Buggy(httpx.AsyncBaseTransport):
    """Fails in a way that nobody thought of."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError("sk-secret is in the details")


@pytest.mark.parametrize("combiner", [{"model": "combine"}, None])
async def test_a_bug_ends_the_run_with_a_final_event_that_tells_nothing(
    combiner: dict[str, str] | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        async with service({"a": {"model": "a"}}, combiner, server=_Buggy()) as it:
            final = await failed(await it.finish())
    assert (final.code, final.agent) == ("internal_error", "service")
    assert "secret" not in final.message
    assert "ZeroDivisionError" in caplog.text


async def test_a_bug_in_one_agents_work_ends_the_others() -> None:
    class Half(httpx.AsyncBaseTransport):
        def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
            self.inner = inner

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if b"buggy" in await request.aread():
                await asyncio.sleep(1)
                raise ZeroDivisionError
            return await self.inner.handle_async_request(request)

    async with service({**FOREVER, "b": {"model": "buggy"}}, **LONG) as it:
        inner = it.server.inner
        it.server.inner = Half(inner)
        assert (await failed(await it.finish())).code == "internal_error"
        assert inner.open_streams == 0  # type: ignore[attr-defined]


async def test_a_bug_leaves_the_service_able_to_run_again() -> None:
    async with service(limits={"open_runs": 1}) as it:
        good, it.server.inner = it.server.inner, _Buggy()
        await it.finish()
        it.server.inner = good
        assert isinstance(await ended(await it.finish()), RunFinished)


async def test_an_ended_run_leaves_no_task_behind() -> None:
    async with service() as it:
        await it.finish()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}


# --- the account ---


async def test_every_end_is_counted_once_and_no_run_stays_in_flight() -> None:
    telemetry = Telemetry(TelemetryConfig(workflows=frozenset({"fanout"})))
    async with service(telemetry=telemetry) as it:
        await it.finish()
        await it.runs.cancel(it.start())
        page = telemetry.metrics_page("")[0].decode()
    counted = [line for line in page.splitlines() if line.startswith("fanout_runs_total{")]
    assert sorted(line.rpartition(" ")[2] for line in counted) == ["0.0", "1.0", "1.0"]


async def test_every_span_of_a_run_is_ended_with_it() -> None:
    exporter = InMemorySpanExporter()
    telemetry = Telemetry(TelemetryConfig(span_exporter=exporter))
    async with service(telemetry=telemetry) as it:
        run = await it.finish()
    names = sorted(span.name.split(" ")[0] for span in exporter.get_finished_spans())
    assert names == ["chat"] * 3 + ["invoke_agent"] * 3 + ["invoke_workflow"]
    traces = {span.context.trace_id for span in exporter.get_finished_spans() if span.context}
    assert {format(trace, "032x") for trace in traces} == {run.trace_id}


async def test_a_forgotten_run_is_freed() -> None:
    async with service(limits={"retention_s": 1}) as it:
        await it.finish()
        await asyncio.sleep(2)
        gc.collect()
        assert not [each for each in gc.get_objects() if isinstance(each, Run)]


async def test_the_first_reader_sees_agents_start_before_any_answer() -> None:
    async with service() as it:
        kinds = [type(event) for event in await it.read(it.start())]
    assert kinds.index(AgentStarted) < kinds.index(AnswerDelta)
