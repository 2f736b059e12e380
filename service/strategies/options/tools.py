"""Tools through an ensemble, by its `tools_policy`: the agent that may call them.

`primary`: the first agent answers alone. `vote`: the calls that most agents make. `combiner`: the
agents answer without tools, and the agent that writes may call them.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import replace

from service.domain import Answer, MissingAgent, RunRequest, ToolCall
from service.events import AnswerToolCall
from service.events.findings import VoteFinished, VoteGroup
from service.strategies.base import AgentResult, Emit, Kit
from service.strategies.fanout import AskedLayer, ask_all
from service.strategies.options.parameters import for_agents, without_tools
from service.strategies.selecting import send_answer
from service.strategies.solo import solo
from service.strategies.voting.count import count_votes
from service.strategies.writing import Draft, write_answer


async def answer_with_tools(request: RunRequest, kit: Kit, emit: Emit) -> Answer:
    """Answer a request with tools by the policy of the ensemble. Raises RunError."""
    policy = kit.ensemble.tools_policy
    if policy == "vote":
        return await _vote(request, kit, emit)
    if policy == "combiner":
        return await _let_writer_call(request, kit, emit)
    first = kit.ensemble.agents[0]
    alone = replace(kit.ensemble, agents=(first,), layers=((first,),), combiner=None)
    return await solo(request, replace(kit, ensemble=alone), emit)


async def _let_writer_call(request: RunRequest, kit: Kit, emit: Emit) -> Answer:
    """Call the agents without tools, and let the writer answer or call a tool."""
    ensemble = kit.ensemble
    writer = ensemble.chair or ensemble.combiner
    assert writer is not None  # noqa: S101  (checks.find_unused_key)
    own = without_tools(for_agents(request))
    asked = AskedLayer(ensemble.layers[0], request.messages)
    answers, missing = await ask_all(own, kit, emit, asked)
    return await write_answer(
        request, kit, emit, Draft(writer=writer, answers=answers, missing=missing)
    )


async def _vote(request: RunRequest, kit: Kit, emit: Emit) -> Answer:
    """Call the agents with tools, and send the calls, or the text, of the largest group."""
    asked = AskedLayer(kit.ensemble.layers[0], request.messages)
    answers, missing = await ask_all(request, kit, emit, asked)
    voters = [each for each in answers if each.answered]
    groups: dict[Hashable, list[AgentResult]] = {}
    for each in voters:
        groups.setdefault(_make_key(each.tool_calls), []).append(each)
    largest = sorted(groups.values(), key=lambda group: -len(group))
    shares = tuple(_describe(group, len(voters)) for group in largest)
    await emit(VoteFinished(shares, shares[0].share))
    chosen = largest[0][0]
    if not chosen.tool_calls:
        texts = [each for each in largest[0] if each.text.strip()]
        return await _answer_in_text(without_tools(request), kit, emit, texts, missing=missing)
    name = chosen.agent.name
    if chosen.text:
        await send_answer(request, kit, emit, chosen)
    for call in chosen.tool_calls:
        await emit(AnswerToolCall(name, call))
    return Answer(
        source=name,
        answered_by=name,
        usage=kit.usage,
        cost=kit.cost,
        finish_reason="tool_calls",
        missing=missing,
    )


async def _answer_in_text(
    request: RunRequest,
    kit: Kit,
    emit: Emit,
    texts: Sequence[AgentResult],
    *,
    missing: tuple[MissingAgent, ...],
) -> Answer:
    """Let the writer combine texts; without one, send the text that most agents give."""
    writer = kit.ensemble.chair or kit.ensemble.combiner
    if writer:
        draft = Draft(writer=writer, answers=texts, missing=missing)
        return await write_answer(request, kit, emit, draft)
    return await send_answer(request, kit, emit, count_votes(texts)[0].members[0], missing)


def _make_key(calls: Sequence[ToolCall]) -> Hashable:
    """Return equal values for equal calls in any order; empty for a text."""
    return tuple(sorted((call.name, _normalize(call.arguments)) for call in calls))


def _normalize(arguments: str) -> str:
    try:
        return json.dumps(json.loads(arguments), sort_keys=True)
    except ValueError:
        return arguments.strip()


def _describe(group: Sequence[AgentResult], voters: int) -> VoteGroup:
    calls = ", ".join(f"{call.name}({call.arguments})" for call in group[0].tool_calls)
    names = tuple(each.agent.name for each in group)
    return VoteGroup(calls or "no tool call", names, round(len(group) / voters, 3))
