"""Runs: their start, their readers, their limits, and the telemetry of their end."""

from __future__ import annotations

import asyncio
import gc
import logging
import re

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.domain import RunRequest
from service.errors import RequestError
from service.events import AgentStarted, AnswerDelta, Event, RunFinished, RunStarted
from service.runs.log import Silence
from service.runs.run import Run
from telemetry import Telemetry, TelemetryConfig
from tests._support.llm.scripted import an_ask
from tests._support.runs.service import FOREVER, LONG, Service, ended, failed, service


async def _refusal(of: Service, ask: RunRequest | None = None) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await of.start(ask)
    return caught.value


# --- start ---


async def test_starting_returns_at_once_with_the_first_event_in_the_log() -> None:
    async with service() as it:
        run = await it.start()
        (started,) = run.log.after(0)
        assert isinstance(started, RunStarted)
        assert started.run_id == run.id
        assert started.agents == ("a", "b")
        assert re.fullmatch("[0-9a-f]{16}", started.span_id)


async def test_a_run_ends_with_its_answer() -> None:
    async with service() as it:
        final = await ended(await it.finish())
    assert isinstance(final, RunFinished)
    assert final.usage.output_tokens == 4 * 3


async def test_an_unknown_ensemble_is_refused_with_a_list_of_ensembles() -> None:
    async with service() as it:
        error = await _refusal(it, ask=an_ask(ensemble="nope"))
    assert error.code == "unknown_ensemble"
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
        run = await it.start(an_ask(stream_agents=True))
        early = [asyncio.create_task(it.read(run)) for _ in range(3)]
        await asyncio.sleep(0.004)
        late = asyncio.create_task(it.read(run))
        assert 1 < len(run.log) < 25
        first, *others = await asyncio.gather(*early, late)
        after = await it.read(run)
    assert first == run.log.after(0)
    assert all(each == first for each in (*others, after))


async def test_a_reader_that_reconnects_gets_each_event_once() -> None:
    async with service() as it:
        run = await it.start(an_ask(stream_agents=True))
        seen: list[Event] = []
        while not run.log.finished:
            with it.runs.reading(run, after=len(seen)) as reader:
                taken = await reader.take()
                assert not isinstance(taken, Silence)
                seen += taken
    assert seen == run.log.after(0)


async def test_a_resumed_stream_is_counted() -> None:
    async with service() as it:
        run = await it.finish()
        it.runs.note_resumed(run)
        page = it.telemetry.render_metrics("")[0].decode()
    assert re.search(r"^\w*resumes_total 1\.0$", page, re.MULTILINE)


@pytest.mark.parametrize(("takes", "disconnects"), [(1, 1.0), (2, 0.0)])
async def test_a_reader_that_leaves_early_counts_as_disconnected(
    takes: int, disconnects: float
) -> None:
    async with service() as it:
        run = await it.finish()
        with it.runs.reading(run) as reader:
            for _ in range(takes):  # the second says that what the first gave has been sent
                await reader.take()
        page = it.telemetry.render_metrics("")[0].decode()
    assert f"\nfanout_client_disconnects_total {disconnects}\n" in page


async def test_a_reader_that_never_reads_delays_no_other() -> None:
    async with service() as it:
        run = await it.start()
        with it.runs.reading(run) as stuck:
            await it.read(run)
            assert stuck.seq == 0
        assert run.log.finished


async def test_a_reader_that_fails_is_detached() -> None:
    async with service(FOREVER, **LONG) as it:
        run = await it.start()
        with pytest.raises(LookupError), it.runs.reading(run):
            raise LookupError
        assert run.readers == 0


# --- overload ---


async def test_too_many_open_runs_are_refused_with_retry_after() -> None:
    async with service(limits={"open_runs": 2}) as it:
        await it.start()
        await it.start()
        error = await _refusal(it)
    assert error.code == "overloaded"
    assert int(error.headers["Retry-After"]) > 0


async def test_a_run_that_ended_makes_room() -> None:
    async with service(limits={"open_runs": 1}) as it:
        await it.finish()
        await it.finish()


# --- bugs ---


class _Buggy(httpx.AsyncBaseTransport):
    """Raises an unexpected error."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError("sk-secret is in the details")


@pytest.mark.parametrize("combiner", [{"model": "combine"}, None])
async def test_a_bug_ends_the_run_without_exposing_its_details(
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
        before = asyncio.all_tasks()
        await it.finish()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before


# --- telemetry and memory ---


async def test_every_end_is_counted_once_and_no_run_stays_in_flight() -> None:
    telemetry = Telemetry(TelemetryConfig(workflows=frozenset({"fanout"})))
    async with service(telemetry=telemetry) as it:
        await it.finish()
        await it.runs.cancel(await it.start())
        page = telemetry.render_metrics("")[0].decode()
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


async def test_an_ended_run_is_freed() -> None:
    async with service() as it:
        await it.finish()
        await asyncio.sleep(60)  # as long as a connection may still look at it
        gc.collect()
        assert not [each for each in gc.get_objects() if isinstance(each, Run)]


async def test_the_first_reader_sees_agents_start_before_any_answer() -> None:
    async with service() as it:
        kinds = [type(event) for event in await it.read(await it.start())]
    assert kinds.index(AgentStarted) < kinds.index(AnswerDelta)
