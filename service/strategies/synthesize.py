"""The strategy `synthesize`: a combiner makes one answer of those of all agents, and streams it."""

from __future__ import annotations

from collections.abc import Sequence

from service.domain import Answer, MissingAgent, RunRequest
from service.ensembles.catalog import Agent, Ensemble, EnsembleFault
from service.strategies.base import AgentResult, Emit, Kit, PlannedCalls, Strategy, plan_readers
from service.strategies.checks import find_json_fault, find_unused_key
from service.strategies.fanout import ask_all
from service.strategies.judging.analysis import analyse_answers, describe_analysis, make_analyst
from service.strategies.options.parameters import COMMON_PARAMETERS, for_agents
from service.strategies.writing import Draft, write_answer


async def synthesize(request: RunRequest, kit: Kit, emit: Emit) -> Answer:
    """Call all agents, then the combiner, with `analyse` twice.

    When the combiner and its fallbacks fail before their first token, the best single answer
    replaces the combiner's. Raises RunError when there is no answer, or only a part of it.
    """
    answers, missing = await ask_all(for_agents(request), kit, emit)
    return await combine(request, kit, emit, answers, missing)


async def combine(
    request: RunRequest,
    kit: Kit,
    emit: Emit,
    answers: Sequence[AgentResult],
    missing: tuple[MissingAgent, ...],
) -> Answer:
    """Analyse the answers if the ensemble wants it, and let the combiner write."""
    combiner = kit.ensemble.combiner
    assert combiner is not None  # noqa: S101  (check() below)
    notes: list[str] = []
    if wants_analysis(kit.ensemble) and len(answers) > 1:
        analysis = await analyse_answers(request, kit, emit, combiner, answers)
        kit.check_cost()
        notes += [describe_analysis(analysis)] if analysis else []
        kit.workflow.start_step("write")
    draft = Draft(
        writer=combiner,
        answers=answers,
        missing=missing,
        notes=notes,
        has_provenance=kit.ensemble.provenance,
    )
    return await write_answer(request, kit, emit, draft)


def wants_analysis(ensemble: Ensemble) -> bool:
    """Return whether the combiner analyses first: by default only in `auto`."""
    return ensemble.strategy == "auto" if ensemble.analyse is None else ensemble.analyse


def check(ensemble: Ensemble) -> EnsembleFault | None:
    """Return a fault unless the ensemble has a combiner."""
    if ensemble.combiner is None:
        return EnsembleFault("synthesize needs a combiner")
    return find_analysis_fault(ensemble) or find_unused_key(ensemble, "analyse", "provenance")


def find_analysis_fault(ensemble: Ensemble) -> EnsembleFault | None:
    """Return a fault if the combiner cannot write the analysis that the ensemble wants."""
    return find_json_fault(ensemble.combiner, "combiner") if wants_analysis(ensemble) else None


def steps(ensemble: Ensemble) -> tuple[PlannedCalls, ...]:
    """Return the calls of the agents and those of the combiner."""
    return (PlannedCalls(ensemble.agents), plan_readers(*list_writing_calls(ensemble)))


def list_writing_calls(ensemble: Ensemble) -> tuple[Agent, ...]:
    """Return the combiner once for its analysis, if the ensemble wants one, and once to write."""
    combiner = ensemble.combiner
    if combiner is None:
        return ()
    return (make_analyst(combiner), combiner) if wants_analysis(ensemble) else (combiner,)


SYNTHESIZE = Strategy(synthesize, check, steps, COMMON_PARAMETERS)
