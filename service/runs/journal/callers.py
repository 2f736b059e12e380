"""The callers that wait until the run they open is in the database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from service.store.budgets.records import BudgetShortage
from service.store.journal.batch import Opened, Written
from service.store.records import KeyConflict, NewRun

Caller = asyncio.Future[Opened]


class WaitingCallers:
    """Gives each caller the outcome of its commit: a result, or an error."""

    def __init__(self) -> None:
        self._callers: dict[str, Caller] = {}  # by run id

    def add(self, run_id: str) -> Caller:
        """Return the future of a new caller. Cancel it when the caller stops waiting."""
        caller = self._callers[run_id] = asyncio.get_running_loop().create_future()
        return caller

    def resolve(self, openings: Iterable[NewRun], written: Written) -> list[str]:
        """Answer the callers of committed runs; return the runs of callers that had left."""
        left: list[str] = []
        for opening in openings:
            caller = self._callers.pop(opening.run_id)
            result = written.get_result(opening.run_id)
            if not caller.done():
                caller.set_result(result)
            elif not is_refusal(result):
                left.append(opening.run_id)
        return left

    def refuse(self, openings: Iterable[NewRun], error: Exception) -> None:
        """Let the callers of runs that are not committed raise `error`."""
        for opening in openings:
            caller = self._callers.pop(opening.run_id)
            if not caller.done():
                caller.set_exception(error)


def is_refusal(result: Opened) -> bool:
    """Return whether the run was not written."""
    return isinstance(result, KeyConflict | BudgetShortage)
