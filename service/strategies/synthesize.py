"""All agents at once; a combining model turns their answers into one, streamed as it is written."""

from __future__ import annotations

from collections.abc import Sequence

from service.domain import Answer, Message, RunRequest, ToolCall
from service.ensembles.catalog import Ensemble
from service.errors import RunError, UpstreamError
from service.events import AgentFailed, AnswerDelta, CombineStarted
from service.strategies.agent_call import AgentCall
from service.strategies.base import AgentResult, Emit, Kit, Strategy
from service.strategies.fanout import ask_all, best_single


async def synthesize(ask: RunRequest, kit: Kit, emit: Emit) -> Answer:
    """Ask all, then combine.

    When the combiner and its fallbacks fail before their first token, the best single answer
    stands in and the answer is `degraded`. Raises RunError.
    """
    combiner = kit.ensemble.combiner
    assert combiner is not None  # noqa: S101  (check() below)
    answers, missing = await ask_all(ask.without_option("stop"), kit, emit)
    await emit(CombineStarted(combiner.name, tuple(each.agent.name for each in answers)))

    async def forward(piece: str | ToolCall) -> None:
        if isinstance(piece, str):  # nobody asked for a tool call
            kit.workflow.record_first_output()
            await emit(AnswerDelta(combiner.name, piece))

    asking = AgentCall(kit, combiner, ask, combining_messages(ask, answers), emit)
    answered_by = combiner.name
    try:
        await asking.answer(forward)
    except UpstreamError as error:
        if asking.has_output:
            raise RunError(error.code, error.message, combiner.name) from error
        best = best_single(answers)
        answered_by = best.agent.name
        kit.workflow.record_step_down(combiner.name, error.code)
        await emit(AgentFailed(combiner.name, error.code, error.message, asking.report()))
        await forward(_up_to_stop(best.text, ask.particulars.options.get("stop")))
    return Answer(
        source=combiner.name,
        answered_by=answered_by,
        usage=kit.usage,
        cost=kit.cost,
        missing=missing,
        is_substitute=asking.stepped_down or answered_by != combiner.name,
        combiner=asking.report(),
    )


def combining_messages(ask: RunRequest, answers: Sequence[AgentResult]) -> list[Message]:
    """Return the conversation with its last question followed by what the agents said to it."""
    parts = [f"Question:\n{ask.question}", "Answers of the assistants:"]
    for each in answers:
        cut = "" if each.answered else " (cut off before it was complete)"
        parts.append(f"[{each.agent.name}]{cut}\n{each.text.strip()}")
    return [*ask.messages[:-1], Message("user", "\n\n".join(parts))]


def _up_to_stop(text: str, stop: str | Sequence[str] | None) -> str:
    stops = [stop] if isinstance(stop, str) else stop or ()
    return text[: min((at for each in stops if (at := text.find(each)) >= 0), default=len(text))]


def check(ensemble: Ensemble) -> str | None:
    """A combiner is what this strategy needs."""
    return None if ensemble.combiner else "synthesize needs a combiner"


# How words are chosen is a matter of every call; where the answer stops, of the last one. What an
# answer is to look like, or may call, no single answer could stand in for.
HONOURS = frozenset(
    {
        "temperature", "top_p", "seed", "presence_penalty", "frequency_penalty",
        "reasoning_effort", "verbosity", "stop",
    }
)  # fmt: skip

SYNTHESIZE = Strategy(synthesize, check, HONOURS)
