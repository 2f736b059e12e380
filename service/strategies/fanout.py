"""Calls all agents of an ensemble at once. The only TaskGroup of the service."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from service.domain import Message, MissingAgent, RunRequest
from service.ensembles.catalog import Agent
from service.errors import RunError, UpstreamError
from service.events import AgentFailed, AgentFinished, AgentStarted
from service.strategies.base import AgentResult, Emit, Kit, ReusedAnswer, advise_retry
from service.strategies.calls.agent_call import AgentCall
from service.strategies.output import make_agent_output
from service.strategies.stragglers import Tasks, find_skip_code, wait_for_agents


class FanoutResult(NamedTuple):
    """The results of an ensemble's agents, in the ensemble's order.

    `usable` are answers, and the partial texts of agents that were skipped or broke off; `missing`
    are all agents that failed or were skipped.
    """

    usable: list[AgentResult]
    missing: tuple[MissingAgent, ...]


T = TypeVar("T")


class AskedLayer(NamedTuple):
    """Agents to call with their messages. `is_needed`: the run fails without enough answers."""

    agents: Sequence[Agent]
    messages: Sequence[Message]
    is_needed: bool = True


async def ask_all(
    request: RunRequest, kit: Kit, emit: Emit, asked: AskedLayer | None = None
) -> FanoutResult:
    """Call all agents of the ensemble, or of `asked`; those with a reused answer are not called.

    An agent's failure does not end the run. Raises RunError, with every agent's reason, when
    fewer than `min_answers` agents answered.
    """
    agents, messages, is_needed = asked or AskedLayer(kit.ensemble.agents, request.messages)
    results = [
        _reuse_answer(agent, kit) or AgentCall(kit, agent, request, messages, emit)
        for agent in agents
    ]
    calls = [each for each in results if isinstance(each, AgentCall)]
    reused = len(results) - len(calls)
    for each in results:
        if isinstance(each, ReusedAnswer):
            await emit(AgentFinished(each.agent.name, each.report()))
    needed = min(kit.ensemble.min_answers, len(agents))
    wait = partial(wait_for_agents, kit=kit, emit=emit, needed=needed - reused)
    await run_together([(each, _call_agent(each, request, emit)) for each in calls], wait)
    kit.check_cost()
    if is_needed and sum(each.answered for each in results) < needed:
        raise make_too_few_answers(results, needed)
    return FanoutResult(
        [each for each in results if each.answered or each.text.strip()],
        tuple(_missing_agent(each, kit) for each in results if not each.answered),
    )


async def run_together(
    work: Iterable[tuple[AgentCall, Coroutine[None, None, None]]],
    wait: Callable[[Tasks], Awaitable[None]],
) -> None:
    """Run calls at the same time; `wait` may cut some of them off."""
    async with asyncio.TaskGroup() as group:
        await wait({group.create_task(each): call for call, each in work})


async def gather_together(work: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """Return the results of coroutines that run at the same time, in their order."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in work]
    return [task.result() for task in tasks]


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


def make_too_few_answers(results: Sequence[AgentResult], needed: int) -> RunError:
    """Return the error of a run in which fewer than `needed` agents answered, with all reasons."""
    answered = sum(each.answered for each in results)
    reasons = "; ".join(
        f"{each.agent.name}: {each.error.message if each.error else 'it was cut off.'}"
        for each in results
        if not each.answered
    )
    return RunError(
        "too_few_answers",
        f"{answered} of {len(results)} agents answered, {needed} needed. {reasons}",
        retry=advise_retry(results, needed - answered),
    )


def choose_best(answers: Sequence[AgentResult]) -> AgentResult:
    """Return the best single answer: a complete one before a partial one, then by order."""
    return min(answers, key=lambda each: not each.answered)
