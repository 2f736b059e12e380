"""Limit on hedges, the second requests that are sent when the first token of a call is late.

Source: Dean and Barroso, The Tail at Scale, https://doi.org/10.1145/2408776.2408794
"""

from __future__ import annotations

from collections import OrderedDict

_MOST_SAVED = 20.0  # hedges that may follow each other at once
_RESERVED = 5.0  # of them for calls without which a run has no answer
_MOST_ENDPOINTS = 512


class HedgeBudget:
    """Tokens of one endpoint: each call adds a part of a token, each hedge takes one.

    It starts empty, so that hedges are never more than that part of the calls.
    """

    def __init__(self) -> None:
        self._saved = 0.0

    def record_call(self, ratio: float) -> None:
        """Record a call of which `ratio`, a number from 0 to 1, may be hedged."""
        self._saved = min(_MOST_SAVED, self._saved + ratio)

    def withdraw(self, *, is_needed: bool) -> bool:
        """Take one hedge; return False if none is left.

        The last five are for calls that are needed, which no other agent can replace.
        """
        if self._saved < 1.0 + (0.0 if is_needed else _RESERVED):
            return False
        self._saved -= 1.0
        return True


class HedgeBudgets:
    """The budgets of all endpoints. The least recently used of more than 512 is forgotten."""

    def __init__(self) -> None:
        self._budgets: OrderedDict[str, HedgeBudget] = OrderedDict()

    def of(self, base_url: str) -> HedgeBudget:
        """Return the budget of the server at `base_url`."""
        budget = self._budgets.get(base_url)
        if budget is None:
            budget = self._budgets[base_url] = HedgeBudget()
            if len(self._budgets) > _MOST_ENDPOINTS:
                self._budgets.popitem(last=False)
        self._budgets.move_to_end(base_url)
        return budget
