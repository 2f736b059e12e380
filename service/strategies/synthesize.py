"""The strategy `synthesize`: a combiner makes one answer of those of all agents, and streams it."""

from __future__ import annotations

from collections.abc import Sequence

from service.domain import Answer, Message, RunRequest, ToolCall
from service.ensembles.catalog import Ensemble
from service.errors import RunError, UpstreamError
from service.events import AgentFailed, CombineStarted
from service.llm.response import Piece
from service.strategies.base import AgentResult, Emit, Kit, PlannedCalls, Strategy, advise_retry
from service.strategies.calls.agent_call import AgentCall
from service.strategies.fanout import ask_all, choose_best
from service.strategies.output import make_answer_output


async def synthesize(request: RunRequest, kit: Kit, emit: Emit) -> Answer:
    """Call all agents, then the combiner.

    When the combiner and its fallbacks fail before their first token, the best single answer
    replaces the combiner's. Raises RunError when there is no answer, or only a part of it.
    """
    combiner = kit.ensemble.combiner
    assert combiner is not None  # noqa: S101  (check() below)
    answers, missing = await ask_all(request.without_parameter("stop"), kit, emit)
    await emit(CombineStarted(combiner.name, tuple(each.agent.name for each in answers)))

    output = make_answer_output(request, kit, emit, combiner.name)

    async def forward(piece: Piece) -> None:
        if not isinstance(piece, ToolCall):  # tools are refused for this strategy
            await output(piece)

    call = AgentCall(kit, combiner, request, combiner_messages(request, answers), emit)
    author: AgentResult = call
    try:
        await call.answer(forward, has_reasoning_events=request.options.reasoning != "none")
    except UpstreamError as error:
        if call.has_output:
            complete = [each for each in answers if each.answered]
            retry = advise_retry([*complete, call], 1)
            raise RunError(error.code, error.message, combiner.name, retry=retry) from error
        author = choose_best(answers)
        kit.workflow.record_step_down(combiner.name, error.code)
        await emit(AgentFailed(combiner.name, error.code, error.message, call.report()))
        await forward(_cut_at_stop(author.text, request.options.parameters.get("stop")))
    return Answer(
        source=combiner.name,
        answered_by=author.agent.name,
        usage=kit.usage,
        cost=kit.cost,
        finish_reason=author.report().finish_reason,
        missing=missing,
        is_substitute=call.stepped_down or author is not call,
        combiner=call.report(),
    )


def combiner_messages(request: RunRequest, answers: Sequence[AgentResult]) -> list[Message]:
    """Return the conversation, with the agents' answers after its last question."""
    parts = [f"Question:\n{request.question}", "Answers of the assistants:"]
    for each in answers:
        cut = _describe_cut(each)
        note = f" ({cut})" if cut else ""
        parts.append(f"[{each.agent.name}]{note}\n{each.text.strip()}")
    return [*request.messages[:-1], Message("user", "\n\n".join(parts))]


def _describe_cut(result: AgentResult) -> str:
    """Return why the text of an agent is not its complete answer; empty for a complete one."""
    if result.answered:
        return _CUTS.get(result.report().finish_reason, "")
    if result.error:
        return "cut off before it was complete: its model server failed"
    return "cut off before it was complete"


_CUTS = {
    "length": "cut off before it was complete: it reached its limit of tokens",
    "content_filter": "cut off before it was complete: a content filter stopped it",
}


def _cut_at_stop(text: str, stop: str | Sequence[str] | None) -> str:
    stops = [stop] if isinstance(stop, str) else stop or ()
    return text[: min((at for each in stops if (at := text.find(each)) >= 0), default=len(text))]


def check(ensemble: Ensemble) -> str | None:
    """Return an error unless the ensemble has a combiner."""
    return None if ensemble.combiner else "synthesize needs a combiner"


def steps(ensemble: Ensemble) -> tuple[PlannedCalls, ...]:
    """Return the calls of the agents and the call of the combiner."""
    combiner = (ensemble.combiner,) if ensemble.combiner else ()
    return (PlannedCalls(ensemble.agents), PlannedCalls(combiner, reads_answers=True))


# Sampling options apply to every call, `stop` only to the combiner's. Options that determine the
# answer's format or its tool calls are not supported: a single answer could not replace it.
HONOURS = frozenset(
    {
        "temperature", "top_p", "seed", "presence_penalty", "frequency_penalty",
        "reasoning_effort", "verbosity", "stop",
    }
)  # fmt: skip

SYNTHESIZE = Strategy(synthesize, check, steps, HONOURS)
