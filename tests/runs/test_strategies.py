"""Runs of every strategy: cancelled in any of their steps, repeated, and in their trace."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.access.principal import Principal
from service.events import AgentFinished, RunFailed, RunFinished
from service.runs.run import LiveRun
from tests._support.llm.scripted import model
from tests._support.runs.service import Service, service
from tests._support.telemetry.capture import capturing

QUICK: dict[str, Any] = {"model": model("quick")}
# In time that is skipped: no deadline ends a call before the test does.
HUNG: dict[str, Any] = {
    "model": model("hung", fault="hang"),
    "first_token_timeout_s": 80_000,
    "timeout_s": 80_000,
}
THREE = dict.fromkeys("abc", QUICK)

# The ensemble, its agents and its other agents; one of them hangs.
IN_A_STEP: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "race": ({}, {"a": HUNG, "b": HUNG}, {}),
    "best_of": ({"judge": "judge"}, {"a": QUICK, "b": QUICK}, {"judge": HUNG}),
    "vote": ({}, {"a": QUICK, "b": QUICK, "c": HUNG}, {}),
    "council": ({"chair": "chair"}, THREE, {"chair": HUNG}),
    "layers": ({"layers": [["a"], ["b"]]}, {"a": QUICK, "b": HUNG}, {}),
    "auto": ({"analyse": True}, {"a": QUICK, "b": {"model": model("other", tokens=90)}}, {}),
}


def _start(name: str, **more: Any) -> Any:
    keys, agents, others = IN_A_STEP[name]
    combiner = HUNG if name in ("layers", "auto") else None
    return service(
        agents,
        combiner=combiner,
        others=others,
        strategy=name,
        straggler_grace_s="none",
        timeout_s=80_000,
        **keys,
        **more,
    )


@pytest.mark.parametrize("name", IN_A_STEP)
async def test_a_run_can_be_cancelled_in_any_step_and_leaves_no_call(name: str) -> None:
    async with _start(name, limits={"detach_grace_s": 80_000}) as it:
        run = await it.start()
        await asyncio.sleep(60)
        assert not run.log.finished
        await it.runs.cancel(run)
        final = run.log.after(run.log.last_seq - 1)[0]
        assert isinstance(final, RunFailed)
        assert final.code == "cancelled"
        assert final.usage.total_tokens > 0 or name == "race"
        assert it.upstream_calls == 0


async def _retry(it: Service, run: LiveRun) -> LiveRun:
    again = await it.runs.retry(run.id, Principal(owner=run.owner))
    assert isinstance(again, LiveRun)
    await it.read(again)
    return again


async def test_a_retry_after_a_cancelled_judge_calls_no_agent_again() -> None:
    async with _start("best_of", limits={"detach_grace_s": 80_000}) as first:
        run = await first.start()
        await asyncio.sleep(60)
        await first.runs.cancel(run)
        await first.journal.settle(30)
        keys, agents, _ = IN_A_STEP["best_of"]
        healthy = service(
            agents, combiner=None, others={"judge": QUICK}, strategy="best_of", beside=first, **keys
        )
        async with healthy as second:
            again = await _retry(second, run)
            assert set(second.server.asked_models()) == {"quick"}  # the judge's model
            reports = [e.report for e in again.log.after(0) if isinstance(e, AgentFinished)]
            assert {r.agent for r in reports if r.reused} == {"a", "b"}
            assert isinstance(again.log.after(again.log.last_seq - 1)[0], RunFinished)


async def test_the_calls_of_each_step_are_below_it_in_the_trace() -> None:
    captured = capturing()
    council = service(
        THREE,
        combiner=None,
        others={"chair": QUICK},
        strategy="council",
        chair="chair",
        telemetry=captured.telemetry,
    )
    async with council as it:
        await it.finish()
        await it.journal.settle(30)
        captured.telemetry.shutdown()
    agents = [span for span in captured.spans if span.name.startswith("invoke_agent")]
    assert {span.name: captured.parent_name(span) for span in agents} == {
        **{f"invoke_agent {name}": "step ask" for name in "abc"},
        **{f"invoke_agent {name}#review": "step review" for name in "abc"},
        "invoke_agent chair": "step write",
    }
