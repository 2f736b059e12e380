"""Strategies: the ways in which an ensemble makes one answer. Each has a module and a line here."""

from collections.abc import Mapping
from dataclasses import replace

from service.domain import Answer, RunRequest
from service.strategies.auto import AUTO
from service.strategies.base import Emit, Kit, Strategy
from service.strategies.best_of import BEST_OF
from service.strategies.council import COUNCIL
from service.strategies.layers import LAYERS
from service.strategies.options.formats import answer_in_format, find_format
from service.strategies.options.parameters import wants_tools
from service.strategies.options.tools import answer_with_tools
from service.strategies.race import RACE
from service.strategies.solo import SOLO
from service.strategies.synthesize import SYNTHESIZE
from service.strategies.vote import VOTE

STRATEGIES: Mapping[str, Strategy] = {
    "synthesize": SYNTHESIZE,
    "solo": SOLO,
    "race": RACE,
    "best_of": BEST_OF,
    "vote": VOTE,
    "council": COUNCIL,
    "layers": LAYERS,
    "auto": AUTO,
}


async def run_strategy(request: RunRequest, kit: Kit, emit: Emit) -> Answer:
    """Answer a request by the strategy of its ensemble. Raises RunError without an answer.

    Strategies that pass on all options need no help with tools and formats.
    """
    answer = await _run(request, kit, emit)
    return replace(answer, is_unjudged=kit.is_unjudged)


async def _run(request: RunRequest, kit: Kit, emit: Emit) -> Answer:
    strategy = STRATEGIES[kit.ensemble.strategy]
    if strategy.honours is not None and wants_tools(request):
        return await answer_with_tools(request, kit, emit)
    wanted = find_format(request) if strategy.honours is not None else None
    if wanted:
        return await answer_in_format(request, kit, emit, strategy, wanted)
    return await strategy.run(request, kit, emit)


__all__ = ["STRATEGIES", "Kit", "Strategy", "run_strategy"]
