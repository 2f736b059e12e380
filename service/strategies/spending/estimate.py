"""The worst case of a run: the calls that its strategy plans, before any of them is made."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from service.domain import RunRequest
from service.ensembles.agents import Agent
from service.llm.requests.plan import RequestPlan
from service.strategies.base import PlannedCalls
from service.strategies.spending.worst_case import Amounts, WorstCases, limit_output

# The frame that a strategy puts around the answers of other agents, and around each of them.
_FRAME_TOKENS = 200
_ANSWER_FRAME_TOKENS = 40


async def estimate_steps(
    worst_cases: WorstCases,
    request: RunRequest,
    steps: Sequence[PlannedCalls],
    reused: Collection[str] = (),
) -> list[Mapping[str, Amounts]]:
    """Return the worst case of each step by agent; `reused` agents are not called in the first.

    A step that reads answers has those of the step before in its prompts.
    """
    estimates: list[Mapping[str, Amounts]] = []
    answers = 0
    for number, step in enumerate(steps):
        skipped = reused if number == 0 else ()
        further = answers if step.reads_answers else 0
        estimate: dict[str, Amounts] = {}
        answers = _FRAME_TOKENS
        for agent in step.agents:
            worst, output = await _estimate_call(worst_cases, request, agent, further)
            answers += output + _ANSWER_FRAME_TOKENS
            if agent.name not in skipped:
                estimate[agent.name] = estimate.get(agent.name, Amounts()) + worst
        estimates.append(estimate)
    return estimates


async def _estimate_call(
    worst_cases: WorstCases, request: RunRequest, agent: Agent, further_tokens: int
) -> tuple[Amounts, int]:
    """Return the worst case of a call and the most tokens of its answer as another model's prompt.

    Another tokenizer may count a fifth more.
    """
    plan = RequestPlan(agent, request, request.messages, worst_cases.tokens, worst_cases.learned)
    await plan.fit_context(None)
    call = plan.build_call(agent.model, target=agent, key=None, is_watched=False, timeout_s=0.0)
    output = limit_output(agent, call.rules.apply(call.fields))
    worst = await worst_cases.of_call(agent, call, further_tokens)
    return worst, -(-output * 6 // 5)
