"""Answers in JSON through an ensemble: held back, validated, and repaired once by their writer.

The client's `response_format` goes to the agents whose own text can become the answer, and to the
agent that writes. A part of an answer cannot be validated, so it is sent when it is complete.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from service.domain import Answer, Message, RunRequest
from service.ensembles.catalog import Agent
from service.errors import RunError, UpstreamError
from service.events import (
    AgentFailed,
    AgentFinished,
    AgentStarted,
    AnswerDelta,
    AnswerReset,
    Event,
)
from service.strategies.base import Emit, Kit, Strategy
from service.strategies.calls.agent_call import AgentCall
from service.strategies.judging.json_text import find_json
from service.strategies.options.schema import find_schema_fault

RESPONSE_FORMAT = "response_format"
REPAIR = "#repair"  # added to an agent's name for its call that repairs an answer


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """The JSON that a request wants; without `schema` any object."""

    schema: Mapping[str, Any]

    def read(self, text: str) -> tuple[str, str | None]:
        """Return the JSON in a text, and the reason why it is not the wanted one, or None."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            try:
                value = find_json(text)
            except ValueError:
                return text, "the answer is no JSON"
            text = json.dumps(value, ensure_ascii=False)
        return text, find_schema_fault(value, self.schema)


def find_format(request: RunRequest) -> AnswerFormat | None:
    """Return the format of answers that the request wants; None for text."""
    given = request.options.parameters.get(RESPONSE_FORMAT)
    kind = given.get("type") if isinstance(given, Mapping) else None
    if kind == "json_object":
        return AnswerFormat({"type": "object"})
    if kind != "json_schema":
        return None
    named = given.get("json_schema") if isinstance(given, Mapping) else None
    schema = named.get("schema") if isinstance(named, Mapping) else None
    return AnswerFormat(schema if isinstance(schema, Mapping) else {})


async def answer_in_format(
    request: RunRequest, kit: Kit, emit: Emit, strategy: Strategy, wanted: AnswerFormat
) -> Answer:
    """Run the strategy, and send its answer once it has the wanted format.

    Raises RunError when the strategy does, and when the repaired answer does not match either.
    """
    parts: list[str] = []

    async def hold(event: Event) -> None:
        if isinstance(event, AnswerDelta):
            parts.append(event.text)
        elif isinstance(event, AnswerReset):
            parts.clear()
        else:
            await emit(event)

    answer = await strategy.run(request, kit, hold)
    text, fault = wanted.read("".join(parts))
    if fault:
        author = _find_author(kit, answer)
        text = await _repair(_Repair(request, kit, emit, author, wanted), text, fault)
    await emit(AnswerDelta(answer.source, text))
    return replace(answer, usage=kit.usage, cost=kit.cost)


@dataclass(frozen=True, slots=True)
class _Repair:
    request: RunRequest
    kit: Kit
    emit: Emit
    author: Agent
    wanted: AnswerFormat


async def _repair(repair: _Repair, text: str, fault: str) -> str:
    """Return the answer as its author corrects it. Raises RunError."""
    agent = repair.author.derive(f"{repair.author.name}{REPAIR}", instance=0)
    schema = json.dumps(repair.wanted.schema, ensure_ascii=False)
    task = f"This cannot be used: {fault}. Reply with only JSON by this schema:\n{schema}"
    messages = [*repair.request.messages, Message("assistant", text), Message("user", task)]
    call = AgentCall(repair.kit, agent, repair.request, messages, repair.emit)
    await repair.emit(AgentStarted(agent.name, agent.model))
    try:
        await call.answer(None)
    except UpstreamError as error:
        await repair.emit(AgentFailed(agent.name, error.code, error.message, call.report()))
        raise RunError(error.code, error.message, agent.name) from error
    await repair.emit(AgentFinished(agent.name, call.report()))
    repaired, second = repair.wanted.read(call.text)
    if second:
        why = f"The answer does not have the requested format, also after a repair: {second}."
        raise RunError("format_not_met", why, repair.author.name)
    return repaired


def _find_author(kit: Kit, answer: Answer) -> Agent:
    return next(each for each in kit.ensemble.all_agents if each.name == answer.answered_by)
