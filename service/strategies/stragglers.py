"""Stragglers: the agents for which a run no longer waits after enough others have answered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, MutableMapping

from service.domain import AgentReport
from service.events import AgentSkipped
from service.strategies.base import Emit, Kit
from service.strategies.calls.agent_call import AgentCall
from service.strategies.calls.attempt import Phase

_RECHECK_S = 1.0  # calls of other runs change the usual pace meanwhile

Tasks = Mapping[asyncio.Task[None], AgentCall]


async def wait_for_agents(tasks: Tasks, kit: Kit, emit: Emit, needed: int) -> None:
    """Wait until all agents have ended; cut stragglers off, and report each.

    After `needed` answers each of the others has its own time. When the run has reached its
    cost limit, all of them are cut off.
    """
    loop = asyncio.get_running_loop()
    pending = set(tasks)
    enough_at: float | None = None
    while pending:
        if kit.over_cost:
            await _cut_off(dict.fromkeys(pending, "cost"), tasks, kit, emit)
            return
        answers = sum(tasks[task].answered for task in tasks)
        if enough_at is None and answers >= needed:
            enough_at = loop.time()
        late, wait_s = _find_late(pending, tasks, kit, enough_at)
        await _cut_off(late, tasks, kit, emit)
        pending -= late.keys()
        if pending:
            _, pending = await asyncio.wait(
                pending, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED
            )


def _find_late(
    pending: set[asyncio.Task[None]], tasks: Tasks, kit: Kit, enough_at: float | None
) -> tuple[MutableMapping[asyncio.Task[None], Phase], float | None]:
    """Return the agents that are late, each with its phase, and the seconds until the next one.

    None: no agent is cut off before another one has ended.
    """
    grace_s = kit.ensemble.straggler_grace_s
    if enough_at is None or grace_s == "none":
        return {}, None
    now, late, moments = asyncio.get_running_loop().time(), {}, []
    for task in pending:
        if grace_s == "auto":
            at, phase = tasks[task].find_cutoff(enough_at + kit.ensemble.straggler_max_s)
        else:
            at, phase = enough_at + grace_s, "grace"
        if at <= now:
            late[task] = phase
        else:
            moments.append(at)
    return late, min(min(moments) - now, _RECHECK_S) if moments else None


async def _cut_off(
    late: Mapping[asyncio.Task[None], Phase], tasks: Tasks, kit: Kit, emit: Emit
) -> None:
    if not late:
        return
    for task, phase in late.items():
        tasks[task].cut_off(phase)
        task.cancel()
    await asyncio.wait(late)
    for task, phase in late.items():
        if not tasks[task].answered:
            await _report_skipped(tasks[task], phase, kit, emit)


async def _report_skipped(call: AgentCall, phase: Phase, kit: Kit, emit: Emit) -> None:
    name, report, code = call.agent.name, call.report(), find_skip_code(kit)
    if code == "cost_cap":
        message = f"{name} was cut off: the run reached its cost limit."
    else:
        message = f"{name} {_REASONS[phase]} and was cut off; {_describe_use(report)}."
    kit.workflow.record_straggler_cut(name, code, phase)
    await emit(AgentSkipped(name, code, message, report))


def find_skip_code(kit: Kit) -> str:
    """Return the code of agents that are cut off now."""
    code = "straggler"
    if kit.over_cost:
        code = "cost_cap"
    return code


def _describe_use(report: AgentReport) -> str:
    return "its text so far is used" if report.text.strip() else "it had sent no text yet"


_REASONS: Mapping[Phase, str] = {
    "first_token": "took longer than usual until its first token",
    "silence": "was silent for longer than usual",
    "length": "took longer than usual for its answer",
    "limit": "took too long",
    "grace": "took too long",
    "cost": "took too long",
}
