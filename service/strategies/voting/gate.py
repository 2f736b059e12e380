"""The gate of `auto`: decides from the agents' answers which further calls are worth their cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from service.domain import CHARS_PER_TOKEN, RunRequest, Usage
from service.events.findings import GateDecided, GateDecision
from service.strategies.base import AgentResult, Emit, Kit
from service.strategies.fanout import choose_best
from service.strategies.judging.verdicts import Bench, find_same_answer
from service.strategies.voting.count import Party, count_votes
from service.strategies.voting.final_answer import find_final_answer, is_short
from service.strategies.voting.similarity import measure_agreement

# Of the plain measure. Above the first, texts say the same in nearly the same words; below the
# second, the answers differ, or their words differ so much that only a model could tell.
AGREED = 0.8
DOUBTED = 0.4


class Gate(NamedTuple):
    """The decision, and for a single answer or a vote the answer or the votes."""

    decision: GateDecision
    agreement: float
    why: str
    best: AgentResult | None = None
    parties: Sequence[Party] = ()


async def pass_gate(
    request: RunRequest, kit: Kit, emit: Emit, answers: Sequence[AgentResult]
) -> Gate:
    """Decide, and emit the decision."""
    gate = await _decide(request, kit, emit, answers)
    saved = 0.0 if gate.decision == "combine" else estimate_writing_usd(kit, answers)
    await emit(GateDecided(gate.decision, round(gate.agreement, 3), gate.why, saved))
    kit.workflow.record_gate(gate.decision, gate.agreement)
    return gate


async def _decide(
    request: RunRequest, kit: Kit, emit: Emit, answers: Sequence[AgentResult]
) -> Gate:
    complete = [each for each in answers if each.answered] or list(answers)
    best = choose_best(complete)
    if len(complete) == 1:
        return Gate("single", 1.0, "There is only one complete answer.", best)
    parties = count_votes(complete)
    share = len(parties[0].members) / len(complete)
    if all(is_short(find_final_answer(each.text)) for each in complete):
        if len(parties) == 1:
            return Gate("single", 1.0, "All agents give the same answer.", best)
        if share > 1 / 2:
            why = f"{len(parties[0].members)} of {len(complete)} short answers are equal."
            return Gate("vote", share, why, parties=parties)
    agreement = measure_agreement([each.text for each in complete])
    if agreement >= AGREED:
        return Gate("single", agreement, "The texts agree.", best)
    if agreement < DOUBTED:
        return Gate("combine", agreement, "The texts differ.")
    judge = kit.ensemble.judge
    if judge is None:
        return Gate("combine", agreement, "The texts may differ, and no judge is configured.")
    kit.workflow.start_step("judge")
    verdict = await find_same_answer(Bench(request, kit, emit, judge), complete)
    if verdict is None:
        why = "The texts may differ, and the judge gave no usable verdict."
        return Gate("combine", agreement, why)
    if verdict.agree:
        return Gate("single", agreement, "The judge finds that the texts agree.", best)
    return Gate("combine", agreement, "The judge finds that the texts differ.")


def estimate_writing_usd(kit: Kit, answers: Sequence[AgentResult]) -> float | None:
    """Return the estimated cost of an analysis and a combined answer; None without a price.

    Each reads all answers and writes about as much as one of them.
    """
    writer = kit.ensemble.combiner
    price = kit.prices.get(writer.model) if writer else None
    if writer is None or price is None:
        return None
    read = sum(len(each.text) for each in answers) // CHARS_PER_TOKEN
    written = min(writer.max_tokens, read // len(answers))
    calls = 1 if kit.ensemble.analyse is False else 2
    return round(calls * price.cost_usd(Usage(read, written)), 9)
