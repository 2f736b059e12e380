"""The strategy `synthesize`: a combiner makes one answer of those of all agents, and streams it."""

from __future__ import annotations

from collections.abc import Sequence

from service.domain import Answer, Message, RunRequest
from service.ensembles.catalog import Ensemble
from service.errors import RunError, UpstreamError
from service.events import AgentFailed, AnswerDelta, CombineStarted
from service.llm.response import Piece
from service.strategies.agent_call import AgentCall
from service.strategies.base import AgentResult, Emit, Kit, Strategy, advise_retry
from service.strategies.fanout import ask_all, choose_best


async def synthesize(request: RunRequest, kit: Kit, emit: Emit) -> Answer:
    """Call all agents, then the combiner.

    When the combiner and its fallbacks fail before their first token, the best single answer
    replaces the combiner's. Raises RunError when there is no answer, or only a part of it.
    """
    combiner = kit.ensemble.combiner
    assert combiner is not None  # noqa: S101  (check() below)
    answers, missing = await ask_all(request.without_parameter("stop"), kit, emit)
    await emit(CombineStarted(combiner.name, tuple(each.agent.name for each in answers)))

    async def forward(piece: Piece) -> None:
        if isinstance(piece, str):  # tools are refused for this strategy
            kit.workflow.record_first_output()
            await emit(AnswerDelta(combiner.name, piece))

    call = AgentCall(kit, combiner, request, combiner_messages(request, answers), emit)
    answered_by = combiner.name
    try:
        await call.answer(forward)
    except UpstreamError as error:
        if call.has_output:
            retry = advise_retry([*answers, call], 1)
            raise RunError(error.code, error.message, combiner.name, retry=retry) from error
        best = choose_best(answers)
        answered_by = best.agent.name
        kit.workflow.record_step_down(combiner.name, error.code)
        await emit(AgentFailed(combiner.name, error.code, error.message, call.report()))
        await forward(_cut_at_stop(best.text, request.options.parameters.get("stop")))
    return Answer(
        source=combiner.name,
        answered_by=answered_by,
        usage=kit.usage,
        cost=kit.cost,
        missing=missing,
        is_substitute=call.stepped_down or answered_by != combiner.name,
        combiner=call.report(),
    )


def combiner_messages(request: RunRequest, answers: Sequence[AgentResult]) -> list[Message]:
    """Return the conversation, with the agents' answers after its last question."""
    parts = [f"Question:\n{request.question}", "Answers of the assistants:"]
    for each in answers:
        cut = "" if each.answered else " (cut off before it was complete)"
        parts.append(f"[{each.agent.name}]{cut}\n{each.text.strip()}")
    return [*request.messages[:-1], Message("user", "\n\n".join(parts))]


def _cut_at_stop(text: str, stop: str | Sequence[str] | None) -> str:
    stops = [stop] if isinstance(stop, str) else stop or ()
    return text[: min((at for each in stops if (at := text.find(each)) >= 0), default=len(text))]


def check(ensemble: Ensemble) -> str | None:
    """Return an error unless the ensemble has a combiner."""
    return None if ensemble.combiner else "synthesize needs a combiner"


# Sampling options apply to every call, `stop` only to the combiner's. Options that determine the
# answer's format or its tool calls are not supported: a single answer could not replace it.
HONOURS = frozenset(
    {
        "temperature", "top_p", "seed", "presence_penalty", "frequency_penalty",
        "reasoning_effort", "verbosity", "stop",
    }
)  # fmt: skip

SYNTHESIZE = Strategy(synthesize, check, HONOURS)
