"""A question to a model that is answered in JSON, read into a struct; repeated once on nonsense."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from service.domain import AgentReport, Message, RequestOptions, RunRequest, add_costs
from service.ensembles.catalog import Agent
from service.errors import UpstreamEmpty, UpstreamError
from service.events import AgentFailed, AgentFinished, AgentRetrying, AgentStarted
from service.events.findings import UNUSABLE_JUDGE
from service.strategies.base import Emit, Kit
from service.strategies.calls.agent_call import AgentCall
from service.strategies.judging.json_text import find_json

Verdict = TypeVar("Verdict", bound=msgspec.Struct)

_TRIES = 2
_QUOTED_CHARS = 4_000  # of nonsense that the model is shown again
_ONLY_JSON = "Reply with one JSON object by this schema and with nothing else:\n"


class JsonQuestion(NamedTuple, Generic[Verdict]):
    """A question whose answer is a `verdict`. `check` raises ValueError for an unusable one."""

    text: str
    verdict: type[Verdict]
    schema: Mapping[str, Any]
    check: Callable[[Verdict], None] = lambda _: None


async def ask_for_json(
    request: RunRequest, kit: Kit, emit: Emit, agent: Agent, question: JsonQuestion[Verdict]
) -> Verdict | None:
    """Return the model's verdict; None, reported as a step-down, if it gives no usable one.

    The request names the schema where the server supports it, and the prompt names it always.
    """
    asked = agent.derive(
        agent.name,
        json_schema=question.schema,
        temperature=0.0 if agent.temperature is None else agent.temperature,
    )
    own = replace(request, options=RequestOptions(), max_tokens=None)
    schema = msgspec.json.encode(question.schema).decode()
    messages = [Message("user", f"{question.text}\n\n{_ONLY_JSON}{schema}")]
    calls: list[AgentCall] = []
    await emit(AgentStarted(agent.name, agent.model))
    why = ""
    for attempt in range(1, _TRIES + 1):
        call = AgentCall(kit, asked, own, messages, emit)
        calls.append(call)
        try:
            await call.answer(None)
            verdict = _read(call.text, question)
        except UpstreamError as error:
            why = error.message
            if type(error) is not UpstreamEmpty:  # a filter or a limit would come again
                break
        except (ValueError, msgspec.ValidationError) as error:
            why = f"{agent.name} gave no usable JSON: {str(error).rstrip('.')}."
        else:
            await emit(AgentFinished(agent.name, _join_reports(calls)))
            return verdict
        if attempt < _TRIES:
            await emit(AgentRetrying(agent.name, UNUSABLE_JUDGE, why, agent.model, attempt, 0))
            messages = _ask_again(messages, call.text, why)
    kit.is_unjudged = True
    kit.workflow.record_step_down(agent.name, UNUSABLE_JUDGE)
    await emit(AgentFailed(agent.name, UNUSABLE_JUDGE, why, _join_reports(calls)))
    return None


def _read(text: str, question: JsonQuestion[Verdict]) -> Verdict:
    verdict = msgspec.convert(find_json(text), question.verdict, strict=False)
    question.check(verdict)
    return verdict


def _ask_again(messages: Sequence[Message], text: str, why: str) -> list[Message]:
    fault = f"Your reply cannot be used: {why} Reply again, with only the JSON object."
    if not text.strip():  # some servers refuse an empty message
        return [Message("user", f"{messages[-1].content}\n\n{fault}")]
    return [*messages, Message("assistant", text[:_QUOTED_CHARS]), Message("user", fault)]


def _join_reports(calls: Sequence[AgentCall]) -> AgentReport:
    """Return the report of the last call, with usage, cost and time of all of them."""
    reports = [call.report() for call in calls]
    usage = reports[0].usage
    for each in reports[1:]:
        usage += each.usage
    return replace(
        reports[-1],
        usage=usage,
        cost=add_costs(*(each.cost for each in reports)),
        elapsed_ms=round(sum(each.elapsed_ms for each in reports), 1),
        first_token_ms=reports[0].first_token_ms,
    )
