"""The store of these tests keeps the promises of the real one, by the real one's own tests."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from service.store.records import NewRun
from tests._support.runs.memory_store import Memory, next_millisecond
from tests._support.runs.store_records import Parts
from tests.store import test_runs, test_workers
from tests.store.journal import test_writer

Promise = Callable[[Parts], Awaitable[None]]

# Any text is refused or kept as it is: what a database would clean is not looked at here.
NOT_KEPT = {"test_an_agents_text_with_a_lone_surrogate_is_kept"}


def _promises(module: ModuleType) -> Iterator[Promise]:
    """Yield the tests of `module` that look at nothing but the parts."""
    for name, test in inspect.getmembers(module, inspect.iscoroutinefunction):
        if name.startswith("test_") and name not in NOT_KEPT:
            asks_sql = "parts.database" in inspect.getsource(test)
            if list(inspect.signature(test).parameters) == ["parts"] and not asks_sql:
                yield test


PROMISES = [
    promise for module in (test_writer, test_runs, test_workers) for promise in _promises(module)
]


class _Unhurried(Parts):
    """Nothing is opened in the same millisecond: within one, ids are in no order."""

    async def opened(self, question: str = "What?", **fields: Any) -> NewRun:
        next_millisecond()
        return await super().opened(question, **fields)

    async def ended(self, answer: str = "An answer.", **fields: Any) -> NewRun:
        next_millisecond()
        return await super().ended(answer, **fields)


def _parts() -> Parts:
    memory = Memory()
    return _Unhurried(memory.store().database, memory.journal, memory.runs, memory.workers)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda each: each.__name__)
async def test_it_keeps_a_promise(promise: Promise) -> None:
    await promise(_parts())


@pytest.mark.parametrize("name", test_runs.READS)
async def test_only_its_owner_sees_what_is_kept(name: str) -> None:
    await test_runs.test_only_its_owner_sees_it(_parts(), name)


def test_nothing_that_is_asked_of_it_needs_a_database() -> None:
    for part in (Memory().runs, Memory().workers, Memory().journal):
        mine, theirs = vars(type(part)), vars(type(part).__mro__[1])
        public = {name for name in theirs if not name.startswith("_")} - {"operation"}
        assert public <= set(mine)
