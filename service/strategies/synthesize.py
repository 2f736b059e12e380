"""All agents at once; a combining model turns their answers into one, streamed as it is written."""

from __future__ import annotations

from collections.abc import Sequence

from service.domain import Answer, Ask, Message
from service.ensembles import Ensemble
from service.errors import RunError, UpstreamError
from service.events import AgentFailed, AnswerDelta, CombineStarted
from service.strategies.asking import Asking
from service.strategies.fanout import ask_all, best_single
from service.strategies.kit import Emit, Kit, Said, Strategy


async def synthesize(ask: Ask, kit: Kit, emit: Emit) -> Answer:
    """Ask all, then combine.

    When the combiner and its fallbacks fail before their first token, the best single answer
    stands in and the answer is `degraded`. Raises RunError.
    """
    combiner = kit.ensemble.combiner
    assert combiner is not None  # noqa: S101  (check() below)
    answers = await ask_all(ask, kit, emit)
    await emit(CombineStarted(combiner.name, tuple(each.agent.name for each in answers)))

    async def forward(text: str) -> None:
        kit.workflow.first_output()
        await emit(AnswerDelta(combiner.name, text))

    asking = Asking(kit, combiner, ask, combining_messages(ask, answers), emit)
    answered_by = combiner.name
    try:
        await asking.answer(forward)
    except UpstreamError as error:
        if asking.has_text:
            raise RunError(error.code, error.message, combiner.name) from error
        best = best_single(answers)
        answered_by = best.agent.name
        kit.workflow.step_down(combiner.name, error.code)
        await emit(AgentFailed(combiner.name, error.code, error.message, asking.report()))
        await forward(best.text)
    return Answer(
        source=combiner.name,
        answered_by=answered_by,
        usage=kit.usage,
        cost=kit.cost,
        degraded=asking.stepped_down or answered_by != combiner.name,
        combiner=asking.report(),
    )


def combining_messages(ask: Ask, answers: Sequence[Said]) -> list[Message]:
    """Return the conversation with its last question followed by what the agents said to it."""
    parts = [f"Question:\n{ask.question}", "Answers of the assistants:"]
    for each in answers:
        cut = "" if each.answered else " (cut off before it was complete)"
        parts.append(f"[{each.agent.name}]{cut}\n{each.text.strip()}")
    return [*ask.messages[:-1], Message("user", "\n\n".join(parts))]


def check(ensemble: Ensemble) -> str | None:
    """A combiner is what this strategy needs."""
    return None if ensemble.combiner else "synthesize needs a combiner"


SYNTHESIZE = Strategy(synthesize, check)
