"""Strategies: the ways in which an ensemble makes one answer. Each has a module and a line here."""

from collections.abc import Mapping

from service.strategies.auto import AUTO
from service.strategies.base import Kit, Strategy
from service.strategies.best_of import BEST_OF
from service.strategies.council import COUNCIL
from service.strategies.layers import LAYERS
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

__all__ = ["STRATEGIES", "Kit", "Strategy"]
