"""Agents whose model's circuit is open, or whose endpoint has limits."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from service.events import AgentFailed, AgentRetrying
from service.llm.endpoints.breaker import FAILURES_TO_OPEN, OPEN_S
from tests._support.llm.scripted import URL, model, now
from tests._support.runs.strategy_play import Outcome, play


async def _solo(name: str, before: Outcome | None = None, **more: Any) -> Outcome:
    agent = {"model": name, "retries": more.pop("retries", 0)}
    agent |= {key: more.pop(key) for key in ("fallbacks", "timeout_s") if key in more}
    if before:
        more = {"client": before.kit.client, "server": before.server.inner, **more}
    return await play({"a": agent}, None, **more)


async def _open_circuit(name: str) -> Outcome:
    outcome = await _solo(name)
    for _ in range(FAILURES_TO_OPEN - 1):
        outcome = await _solo(name, outcome)
    assert not outcome.kit.client.endpoints.admits(URL, name)
    return outcome


@pytest.mark.parametrize(
    "fault",
    [{"fault": "status", "status": 503}, {"fault": "refuse"}, {"fault": "reset", "after": 0},
     {"fault": "hang"}, {"fault": "binary"}, {"fault": "cut", "after": 0}],
)  # fmt: skip
async def test_failures_of_the_server_open_the_circuit(fault: dict[str, Any]) -> None:
    name = model(**fault)
    outcome = await _solo(name, await _open_circuit(name))
    assert outcome.server.asked == []
    assert outcome.bad.code == "circuit_open"
    after_s = outcome.bad.retry.after_s
    assert after_s is not None
    assert 1 <= after_s <= OPEN_S


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429])
async def test_refusals_do_not_open_the_circuit(status: int) -> None:
    name = model(fault="status", status=status)
    outcome = await _solo(name)
    for _ in range(2 * FAILURES_TO_OPEN):
        outcome = await _solo(name, outcome)
    assert len(outcome.server.asked) == 1


async def test_a_server_without_circuit_breakers_is_called_also_while_it_fails() -> None:
    name = model(fault="status", status=503)
    unguarded = f'[endpoints."{URL}/"]\nbreaker = false'
    outcome = await _solo(name, tables=unguarded)
    for _ in range(2 * FAILURES_TO_OPEN):
        outcome = await _solo(name, outcome, tables=unguarded)
    assert outcome.bad.code == "upstream_failed"
    assert outcome.server.asked
    assert not outcome.kit.client.endpoints.list_open()


async def test_answers_that_break_off_do_not_open_the_circuit() -> None:
    name = model(fault="reset", after=2)
    outcome = await _solo(name)
    for _ in range(2 * FAILURES_TO_OPEN):
        outcome = await _solo(name, outcome)
    assert outcome.server.asked


async def test_the_fallback_is_called_at_once_while_the_circuit_is_open() -> None:
    name = model(fault="status", status=500)
    before = await _open_circuit(name)
    at = now()
    outcome = await _solo(name, before, fallbacks=[model("spare")], retries=2)
    assert outcome.server.asked_models() == ["spare"]
    assert outcome.server.at[0] == at
    retrying = outcome.one(AgentRetrying)
    assert (retrying.code, retrying.delay_ms) == ("circuit_open", 0)
    assert outcome.good.degraded_by == ("combiner",)


async def test_an_opening_circuit_ends_the_retries() -> None:
    name = model(fault="status", status=500)
    outcome = await _solo(name)
    for _ in range(FAILURES_TO_OPEN - 2):
        outcome = await _solo(name, outcome)
    outcome = await _solo(name, outcome, retries=10, timeout_s=100)
    assert len(outcome.server.asked) == 1
    assert outcome.bad.code == "upstream_failed"


async def test_a_failed_agent_reports_the_open_circuit() -> None:
    name = model(fault="status", status=500)
    outcome = await play(
        {"a": {"model": name}, "b": {"model": model()}},
        {"model": model()},
        client=(await _open_circuit(name)).kit.client,
    )
    failed = outcome.one(AgentFailed)
    assert (failed.agent, failed.code) == ("a", "circuit_open")
    assert outcome.good.degraded_by == ("agents",)


async def test_one_probe_closes_the_circuit_for_all() -> None:
    name = model(fault="status", status=503, times=FAILURES_TO_OPEN)
    outcome = await _open_circuit(name)
    await asyncio.sleep(OPEN_S)
    racing = [_solo(name, outcome) for _ in range(50)]
    raced = await asyncio.gather(*racing)
    assert sum(len(each.server.asked) for each in raced) == 1  # the probe
    assert sum(each.error is None for each in raced) == 1
    assert (await _solo(name, outcome)).error is None
    assert outcome.kit.client.endpoints.list_open() == []


async def test_a_cancelled_probe_does_not_keep_the_circuit_open() -> None:
    name = model(fault="hang", times=FAILURES_TO_OPEN + 1)
    outcome = await _open_circuit(name)
    await asyncio.sleep(OPEN_S)
    probe = asyncio.create_task(_solo(name, outcome))
    await asyncio.sleep(1)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    assert (await _solo(name, outcome)).error is None


# --- limits of an endpoint ---

_LIMITS = f'[endpoints."{URL.upper().replace("/V1", "/v1")}/"]\n'


async def _fan_out(limits: str, agents: int = 4, **more: Any) -> Outcome:
    options = more.pop("options", {})
    named = {f"a{number}": {"model": model(**options), **more} for number in range(agents)}
    return await play(named, {"model": model(**options)}, tables=_LIMITS + limits)


async def test_agents_wait_for_the_calls_that_may_run_at_the_same_time() -> None:
    outcome = await _fan_out("parallel = 2", options={"first_ms": 2000})
    at = sorted(outcome.server.at)
    assert at[0] == at[1] == 0
    assert at[2:4] == [pytest.approx(at[2], abs=0.1)] * 2
    assert at[2] >= 2
    assert len(at) == 5
    assert outcome.good.degraded_by == ()


async def test_an_agent_whose_wait_is_too_long_fails_with_the_reason() -> None:
    outcome = await _fan_out("rpm = 3")
    failed = outcome.of(AgentFailed)
    assert {each.code for each in failed} == {"endpoint_limited"}
    assert "rpm" in failed[0].message
    assert now() < 1


async def test_a_wait_for_a_limit_counts_in_the_agents_time() -> None:
    options = {"first_ms": 4000}
    outcome = await _fan_out("parallel = 1", agents=2, options=options, timeout_s=6)
    assert outcome.when(AgentFailed) == pytest.approx(6, abs=0.1)
    assert outcome.one(AgentFailed).code == "upstream_timeout"


async def test_fallbacks_of_a_limited_endpoint_are_not_called() -> None:
    outcome = await _fan_out("rpm = 2", fallbacks=[model("spare")])
    assert len(outcome.server.asked) == 2
    assert not outcome.of(AgentRetrying)


async def test_a_refused_model_pauses_for_the_time_that_its_server_states() -> None:
    name = model(fault="status", status=429, retry_after=50, times=1)
    limits = _LIMITS + "rpm = 100"
    outcome = await _solo(name, tables=limits)
    assert (outcome.bad.code, outcome.bad.retry.after_s) == ("upstream_busy", 50)
    outcome = await _solo(name, outcome, tables=limits)
    assert (outcome.bad.code, outcome.server.asked) == ("endpoint_limited", [])
    assert outcome.bad.retry.after_s == pytest.approx(50, abs=1)
    spared = await _solo(name, outcome, tables=limits, fallbacks=[model("spare")])
    assert spared.server.asked_models() == ["spare"]
    await asyncio.sleep(45)
    assert (await _solo(name, outcome, tables=limits)).error is None
    assert 50 <= now() < 52


async def test_the_rest_in_headers_delays_the_next_call() -> None:
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "3s"}
    answer = {"choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}]}
    server = httpx.MockTransport(lambda _: httpx.Response(200, headers=headers, json=answer))
    agents = {"a": {"model": "m", "stream": False}}
    outcome = await play(agents, None, server=server, tables=_LIMITS + "rpm = 100")
    await play(agents, None, server=server, client=outcome.kit.client, tables=_LIMITS + "rpm = 100")
    assert now() == pytest.approx(3.0, abs=0.1)
