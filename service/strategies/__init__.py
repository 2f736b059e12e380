"""Strategies: the ways in which an ensemble makes one answer. Each has a module and a line here."""

from collections.abc import Mapping

from service.strategies.base import Kit, Strategy
from service.strategies.solo import SOLO
from service.strategies.synthesize import SYNTHESIZE

STRATEGIES: Mapping[str, Strategy] = {
    "synthesize": SYNTHESIZE,
    "solo": SOLO,
}

__all__ = ["STRATEGIES", "Kit", "Strategy"]
