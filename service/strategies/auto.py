"""The strategy `auto`: a combiner only where the agents disagree."""

from __future__ import annotations

from service.domain import Answer, RunRequest
from service.ensembles.catalog import Ensemble, EnsembleFault
from service.strategies.base import Emit, Kit, PlannedCalls, Strategy, plan_readers
from service.strategies.checks import find_json_fault, find_unused_key
from service.strategies.fanout import ask_all
from service.strategies.options.parameters import COMMON_PARAMETERS
from service.strategies.provenance.marked_output import describe_single
from service.strategies.selecting import send_answer
from service.strategies.synthesize import combine, find_analysis_fault, list_writing_calls
from service.strategies.voting.count import describe_votes
from service.strategies.voting.gate import pass_gate


async def auto(request: RunRequest, kit: Kit, emit: Emit) -> Answer:
    """Call all agents; send one answer if they agree, the majority's, or a combined one.

    Raises RunError when there is no answer, or only a part of it.
    """
    kit.workflow.start_step("ask")
    answers, missing = await ask_all(request.without_parameter("stop"), kit, emit)
    kit.workflow.start_step("gate")
    gate = await pass_gate(request, kit, emit, answers)
    if gate.parties:
        await emit(describe_votes(gate.parties))
    chosen = gate.parties[0].members[0] if gate.parties else gate.best
    if chosen is not None:
        kit.workflow.end_step()
        answer = await send_answer(request, kit, emit, chosen, missing)
        if kit.ensemble.provenance:
            await emit(describe_single(answer.source, chosen.text, chosen.agent.name))
        return answer
    kit.check_cost()
    kit.workflow.start_step("write")
    return await combine(request, kit, emit, answers, missing)


def check(ensemble: Ensemble) -> EnsembleFault | None:
    """Return a fault unless there are several agents and a combiner."""
    if ensemble.combiner is None:
        return EnsembleFault("auto needs a combiner")
    if len(ensemble.agents) == 1:
        return EnsembleFault("auto needs at least two agents; solo asks one", "agents")
    fault = find_json_fault(ensemble.judge, "judge") or find_analysis_fault(ensemble)
    return fault or find_unused_key(ensemble, "judge", "analyse", "provenance")


def steps(ensemble: Ensemble) -> tuple[PlannedCalls, ...]:
    """Return the calls of the agents, of the judge, and those of the combiner."""
    readers = plan_readers(ensemble.judge, *list_writing_calls(ensemble))
    return (PlannedCalls(ensemble.agents), readers)


AUTO = Strategy(auto, check, steps, COMMON_PARAMETERS)
