"""Strategies: ways to make one answer of several agents. One file each, one line here."""

from collections.abc import Mapping

from service.strategies.base import Kit, Strategy
from service.strategies.solo import SOLO
from service.strategies.synthesize import SYNTHESIZE

STRATEGIES: Mapping[str, Strategy] = {
    "synthesize": SYNTHESIZE,
    "solo": SOLO,
}

__all__ = ["STRATEGIES", "Kit", "Strategy"]
