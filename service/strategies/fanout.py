"""Ask all agents at once. The only TaskGroup of the service."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from service.domain import MissingAgent, RunRequest, ToolCall
from service.ensembles.catalog import Agent
from service.errors import RunError, UpstreamError
from service.events import AgentDelta, AgentFailed, AgentFinished, AgentSkipped, AgentStarted
from service.strategies.agent_call import AgentCall
from service.strategies.base import AgentResult, Emit, Kit, ReusedAnswer


class FanoutResult(NamedTuple):
    """The results of an ensemble's agents, in the ensemble's order.

    `usable` are answers and the partial texts of skipped stragglers; `missing` are all agents
    that failed or were skipped.
    """

    usable: list[AgentResult]
    missing: tuple[MissingAgent, ...]


async def ask_all(ask: RunRequest, kit: Kit, emit: Emit) -> FanoutResult:
    """Call all agents of the ensemble; those with a reused answer are not called.

    An agent's failure does not end the run. Raises RunError, with every agent's reason, when
    fewer than `min_answers` agents answered.
    """
    everyone = [
        _landed(agent, kit) or AgentCall(kit, agent, ask, ask.messages, emit)
        for agent in kit.ensemble.agents
    ]
    async with asyncio.TaskGroup() as group:
        tasks = {}
        for each in everyone:
            if isinstance(each, AgentCall):
                tasks[group.create_task(_ask(each, ask, emit))] = each
            else:
                await emit(AgentFinished(each.agent.name, each.report()))
        pending = await _until_enough(tasks, kit)
        for task in pending:
            tasks[task].skipped = True
            task.cancel()
    for each in everyone:
        if each.skipped and not each.answered:
            await _report_skipped(each, kit, emit)
    kit.check_cost()
    if sum(asking.answered for asking in everyone) < kit.ensemble.min_answers:
        raise _too_few(kit, everyone)
    return FanoutResult(
        [each for each in everyone if each.answered or (each.skipped and each.text.strip())],
        tuple(_missing(each, kit) for each in everyone if not each.answered),
    )


def _landed(agent: Agent, kit: Kit) -> ReusedAnswer | None:
    report = kit.landed.get(agent.name)
    return ReusedAnswer(agent, report) if report else None


async def _ask(asking: AgentCall, ask: RunRequest, emit: Emit) -> None:
    agent = asking.agent

    await emit(AgentStarted(agent.name, agent.model))
    try:
        await asking.answer(partial(_delta, emit, agent.name) if ask.stream_agents else None)
    except UpstreamError as error:
        await emit(AgentFailed(agent.name, error.code, error.message, asking.report()))
    else:
        await emit(AgentFinished(agent.name, asking.report()))


async def _delta(emit: Emit, agent: str, piece: str | ToolCall) -> None:
    if isinstance(piece, str):  # nobody asked for a tool call
        await emit(AgentDelta(agent, piece))


async def _until_enough(
    tasks: dict[asyncio.Task[None], AgentCall], kit: Kit
) -> set[asyncio.Task[None]]:
    """Wait until all have ended, or enough have and the grace for the rest is over.

    Returns the tasks of the stragglers.
    """
    grace_s, loop = kit.ensemble.straggler_grace_s, asyncio.get_running_loop()
    landed = len(kit.ensemble.agents) - len(tasks)
    pending = set(tasks)
    give_up_at: float | None = None
    while pending:
        left_s = None if give_up_at is None else max(0.0, give_up_at - loop.time())
        done, pending = await asyncio.wait(
            pending, timeout=left_s, return_when=asyncio.FIRST_COMPLETED
        )
        if not done or kit.over_cost:
            break
        answers = landed + sum(tasks[task].answered for task in tasks)
        if give_up_at is None and grace_s is not None and answers >= kit.ensemble.min_answers:
            give_up_at = loop.time() + grace_s
    return pending


def _missing(asking: AgentResult, kit: Kit) -> MissingAgent:
    error = None if asking.skipped else asking.error
    return MissingAgent(asking.agent.name, error.code if error else _skip_code(kit))


def _skip_code(kit: Kit) -> str:
    code = "straggler"
    if kit.over_cost:
        code = "cost_cap"
    return code


async def _report_skipped(asking: AgentResult, kit: Kit, emit: Emit) -> None:
    name, report, code = asking.agent.name, asking.report(), _skip_code(kit)
    if kit.over_cost:
        why = f"{name} was cut off: the run reached its cost limit."
    else:
        used = "its text so far is used" if report.text.strip() else "it had said nothing yet"
        why = f"{name} took too long and was cut off; {used}."
    kit.workflow.record_straggler_cut(name, code)
    await emit(AgentSkipped(name, code, why, report))


def _too_few(kit: Kit, everyone: Sequence[AgentResult]) -> RunError:
    answered = sum(asking.answered for asking in everyone)
    reasons = "; ".join(
        f"{each.agent.name}: {each.error.message if each.error else 'it was cut off.'}"
        for each in everyone
        if not each.answered
    )
    return RunError(
        "too_few_answers",
        f"{answered} of {len(everyone)} agents answered, "
        f"{kit.ensemble.min_answers} needed. {reasons}",
    )


def best_single(answers: Sequence[AgentResult]) -> AgentResult:
    """Return the answer to fall back on: a whole one before a partial one, then by order."""
    return min(answers, key=lambda each: not each.answered)
