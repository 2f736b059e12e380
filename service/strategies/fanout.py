"""Calls all agents of an ensemble at once. The only TaskGroup of the service."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from service.domain import MissingAgent, RunRequest
from service.ensembles.catalog import Agent
from service.errors import RunError, UpstreamError
from service.events import AgentFailed, AgentFinished, AgentStarted
from service.strategies.base import AgentResult, Emit, Kit, ReusedAnswer, advise_retry
from service.strategies.calls.agent_call import AgentCall
from service.strategies.output import make_agent_output
from service.strategies.stragglers import find_skip_code, wait_for_agents


class FanoutResult(NamedTuple):
    """The results of an ensemble's agents, in the ensemble's order.

    `usable` are answers, and the partial texts of agents that were skipped or broke off; `missing`
    are all agents that failed or were skipped.
    """

    usable: list[AgentResult]
    missing: tuple[MissingAgent, ...]


async def ask_all(request: RunRequest, kit: Kit, emit: Emit) -> FanoutResult:
    """Call all agents of the ensemble; those with a reused answer are not called.

    An agent's failure does not end the run. Raises RunError, with every agent's reason, when
    fewer than `min_answers` agents answered.
    """
    results = [
        _reuse_answer(agent, kit) or AgentCall(kit, agent, request, request.messages, emit)
        for agent in kit.ensemble.agents
    ]
    async with asyncio.TaskGroup() as group:
        tasks = {}
        for each in results:
            if isinstance(each, AgentCall):
                tasks[group.create_task(_call_agent(each, request, emit))] = each
            else:
                await emit(AgentFinished(each.agent.name, each.report()))
        await wait_for_agents(tasks, kit, emit)
    kit.check_cost()
    if sum(each.answered for each in results) < kit.ensemble.min_answers:
        raise _too_few_answers(kit, results)
    return FanoutResult(
        [each for each in results if each.answered or each.text.strip()],
        tuple(_missing_agent(each, kit) for each in results if not each.answered),
    )


def _reuse_answer(agent: Agent, kit: Kit) -> ReusedAnswer | None:
    report = kit.reused.get(agent.name)
    return ReusedAnswer(agent, report) if report else None


async def _call_agent(call: AgentCall, request: RunRequest, emit: Emit) -> None:
    agent = call.agent
    await emit(AgentStarted(agent.name, agent.model))
    try:
        await call.answer(
            make_agent_output(request, emit, agent.name),
            has_reasoning_events=request.options.reasoning == "all",
        )
    except UpstreamError as error:
        await emit(AgentFailed(agent.name, error.code, error.message, call.report()))
    else:
        await emit(AgentFinished(agent.name, call.report()))


def _missing_agent(result: AgentResult, kit: Kit) -> MissingAgent:
    error = None if result.skipped else result.error
    return MissingAgent(result.agent.name, error.code if error else find_skip_code(kit))


def _too_few_answers(kit: Kit, results: Sequence[AgentResult]) -> RunError:
    answered = sum(each.answered for each in results)
    reasons = "; ".join(
        f"{each.agent.name}: {each.error.message if each.error else 'it was cut off.'}"
        for each in results
        if not each.answered
    )
    needed = kit.ensemble.min_answers
    return RunError(
        "too_few_answers",
        f"{answered} of {len(results)} agents answered, {needed} needed. {reasons}",
        retry=advise_retry(results, needed - answered),
    )


def choose_best(answers: Sequence[AgentResult]) -> AgentResult:
    """Return the best single answer: a complete one before a partial one, then by order."""
    return min(answers, key=lambda each: not each.answered)
