"""The wait for a run's first output, in the run's own process and in another one."""

from __future__ import annotations

import pytest

from service.api.http.first_output import MAX_WAIT_S, wait_for_first_output
from service.errors import RequestError
from service.events import AnswerDelta
from tests._support.llm.scripted import model, now, skipping
from tests._support.runs.service import ME, service

QUICK = {"a": {"model": model("a", tokens=3)}}
FAILING = {"a": {"model": model("a", fault="status", status=401)}}
SLOW = {"a": {"model": model("a", first_ms=30_000, tokens=1)}}


@skipping
async def test_a_run_that_failed_without_output_becomes_an_error() -> None:
    async with service(FAILING, None) as it:
        with pytest.raises(RequestError) as refused:
            await wait_for_first_output(it.runs, await it.start())
    assert refused.value.code == "upstream_refused"


@skipping
async def test_the_wait_ends_with_the_first_output() -> None:
    async with service(QUICK, None) as it:
        run = await it.start()
        await wait_for_first_output(it.runs, run)
        assert any(isinstance(event, AnswerDelta) for event in run.log.after(0))
        assert now() < MAX_WAIT_S


@skipping
async def test_the_wait_for_a_slow_run_is_bounded() -> None:
    async with service(SLOW, None) as it:
        run = await it.start()
        await wait_for_first_output(it.runs, run)
        assert now() == pytest.approx(MAX_WAIT_S, abs=0.1)
        await it.runs.cancel(run)


@skipping
async def test_the_log_of_a_remote_run_advances_during_the_wait() -> None:
    async with service(FAILING, None) as one, service(beside=one) as other:
        run = await one.start()
        remote = await other.runs.find(run.id, ME)
        assert not remote.log.finished
        with pytest.raises(RequestError) as refused:
            await wait_for_first_output(other.runs, remote)
    assert refused.value.code == "upstream_refused"


@skipping
async def test_the_wait_is_not_counted_as_a_stream() -> None:
    async with service(QUICK, None) as it:
        run = await it.start()
        await wait_for_first_output(it.runs, run)
        await it.read(run)
        page = it.telemetry.render_metrics("")[0].decode()
    assert "fanout_client_disconnects_total 0.0" in page
