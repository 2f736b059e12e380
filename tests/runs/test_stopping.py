"""Runs that are stopped: cancelled, abandoned by their readers, or past their deadline."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.events import RunFinished
from tests._support.llm.scripted import SkippingLoop, an_ask, model, now
from tests._support.runs.service import FOREVER, LONG, NEVER_ENDING, ended, failed, service

# --- cancelled ---


async def test_a_cancelled_run_ends_as_cancelled_and_closes_its_calls() -> None:
    async with service(FOREVER, **LONG) as it:
        run = await it.start()
        await asyncio.sleep(1)
        await it.runs.cancel(run)
        final = await failed(run)
        assert (final.code, final.agent) == ("cancelled", "service")
        assert it.upstream_calls == 0


async def test_the_usage_of_a_cancelled_run_is_counted() -> None:
    async with service(FOREVER, **LONG) as it:
        run = await it.start()
        await asyncio.sleep(1)
        await it.runs.cancel(run)
        final = await failed(run)
    assert final.usage.estimated
    assert final.usage.input_tokens > 0
    assert final.usage.output_tokens > 0


async def test_a_run_stopped_before_its_first_step_still_ends_with_a_final_event() -> None:
    async with service() as it:
        run = await it.start()
        await it.runs.cancel(run)
        assert (await failed(run)).code == "cancelled"
        assert len(run.log) == 2
        assert it.server.asked == []


async def test_a_run_stopped_before_its_agents_first_step_ends_as_well() -> None:
    async with service() as it:
        run = await it.start()
        await asyncio.sleep(0)  # the strategy has started, its agents have not
        await it.runs.cancel(run)
        assert (await failed(run)).code == "cancelled"


async def test_cancelling_twice_or_late_changes_nothing() -> None:
    async with service() as it:
        run = await it.start()
        await asyncio.gather(it.runs.cancel(run), it.runs.cancel(run))
        before = run.log.after(0)
        await it.runs.cancel(run)
        assert run.log.after(0) == before


async def test_cancelling_a_finished_run_leaves_its_answer() -> None:
    async with service() as it:
        run = await it.finish()
        await it.runs.cancel(run)
        assert isinstance(await ended(run), RunFinished)


async def test_the_first_reason_to_stop_is_the_reported_one() -> None:
    async with service(FOREVER, **LONG) as it:
        run = await it.start()
        cancelling = asyncio.create_task(it.runs.cancel(run))
        await asyncio.sleep(0)
        await it.runs.drain(0)
        await cancelling
        assert (await failed(run)).code == "cancelled"


async def test_text_that_was_sent_makes_a_failed_run_partial() -> None:
    combiner = {"model": model("combine", fault="stall", after=2), "idle_timeout_s": 3}
    once: dict[str, Any] = {"continue": 0}
    async with service(combiner=combiner, **once) as it:
        run = await it.finish()
        final = await failed(run)
    assert (final.partial, final.agent, final.code) == (True, "combine", "upstream_timeout")


async def test_a_run_that_failed_before_any_text_is_not_partial() -> None:
    async with service({"a": {"model": model(fault="status", status=400)}}) as it:
        assert not (await failed(await it.finish())).partial


# --- abandoned ---


async def test_a_run_without_readers_is_stopped_after_the_grace_period() -> None:
    async with service(FOREVER, limits={"detach_grace_s": 5}, **LONG) as it:
        run = await it.start()
        with it.runs.reading(run):
            await asyncio.sleep(60)
        assert not run.log.finished
        assert (await failed(run)).code == "abandoned"
        assert now() == pytest.approx(65)
        assert it.upstream_calls == 0


async def test_a_run_that_never_had_a_reader_is_stopped_too() -> None:
    async with service(FOREVER, limits={"detach_grace_s": 5}, **LONG) as it:
        assert (await failed(await it.start())).code == "abandoned"


async def test_a_reader_that_reconnects_within_the_grace_period_continues_the_run() -> None:
    async with service(FOREVER, limits={"detach_grace_s": 5}, **LONG) as it:
        run = await it.start()
        for _ in range(3):
            with it.runs.reading(run):
                await asyncio.sleep(10)
            await asyncio.sleep(4)
        assert not run.log.finished


async def test_a_run_continues_while_it_has_a_reader() -> None:
    async with service(FOREVER, limits={"detach_grace_s": 5}, **LONG) as it:
        run = await it.start()
        with it.runs.reading(run):
            with it.runs.reading(run):
                await asyncio.sleep(1)
            await asyncio.sleep(60)
            assert not run.log.finished


async def test_a_run_may_finish_within_the_grace_period() -> None:
    async with service() as it:
        run = await it.start()
        with it.runs.reading(run) as reader:
            await reader.take()
        assert isinstance(await ended(run), RunFinished)
        assert await it.read(run) == run.log.after(0)


async def test_without_a_grace_period_a_run_still_waits_for_its_first_reader() -> None:
    async with service(limits={"detach_grace_s": 0}) as it:
        run = await it.start()
        await asyncio.sleep(0.001)  # the time that a response needs to start
        await it.read(run)
        assert isinstance(await ended(run), RunFinished)


async def test_without_a_grace_period_a_run_stops_with_its_last_reader() -> None:
    async with service(FOREVER, limits={"detach_grace_s": 0}, **LONG) as it:
        run = await it.start()
        with it.runs.reading(run):
            await asyncio.sleep(1)
        assert (await failed(run)).code == "abandoned"
        assert now() == pytest.approx(1)


# --- the run's own deadline ---


async def test_a_run_past_its_deadline_ends_as_timed_out() -> None:
    async with service(FOREVER, timeout_s=40) as it:
        run = await it.start()
        await it.read(run)
        final = await failed(run)
    assert (final.code, final.message) == ("run_timeout", "The run did not finish within 40 s.")
    assert now() == pytest.approx(40)


async def test_a_request_may_shorten_the_deadline_of_its_run() -> None:
    async with service(FOREVER, timeout_s=40) as it:
        run = await it.start(an_ask(timeout_s=7.0))
        await it.read(run)
        assert (await failed(run)).code == "run_timeout"
    assert now() == pytest.approx(7)


async def test_a_request_may_not_extend_the_deadline_of_its_run() -> None:
    async with service(FOREVER, timeout_s=40) as it:
        await it.finish(an_ask(timeout_s=70_000.0))
    assert now() == pytest.approx(40)


class CreepingLoop(SkippingLoop):
    """A loop with a clock that advances while code runs, like a real clock."""

    def time(self) -> float:
        self.skip(1e-6)
        return super().time()


def test_the_runs_deadline_comes_before_those_of_its_calls() -> None:
    async def run_out_of_time() -> None:
        agents = {**FOREVER, "b": {"model": model("b")}}
        async with service(agents, timeout_s=40, straggler_grace_s="none") as it:
            assert (await failed(await it.finish())).code == "run_timeout"

    with asyncio.Runner(loop_factory=CreepingLoop) as runner:
        runner.run(run_out_of_time())


async def test_a_combiner_at_the_runs_deadline_is_the_runs_timeout() -> None:
    combiner = {"model": NEVER_ENDING, "idle_timeout_s": 80_000, "timeout_s": 80_000}
    async with service(combiner=combiner, timeout_s=40) as it:
        final = await failed(await it.finish())
    assert (final.code, final.partial) == ("run_timeout", True)
