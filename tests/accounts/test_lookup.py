"""The cache of keys: how often it reads the database, how much it holds, and when it forgets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from service.accounts.lookup import CachedLookup
from service.errors import StorageUnavailable


class _Rows:
    """A table that records its queries; it can be unavailable, and slow."""

    def __init__(self, **rows: str) -> None:
        self.rows = rows
        self.queries: list[Sequence[str]] = []
        self.now_s = 0.0
        self.is_down = False
        self.continues = asyncio.Event()
        self.continues.set()

    async def load(self, ids: Sequence[str]) -> Mapping[str, str]:
        self.queries.append(ids)
        found = {row_id: self.rows[row_id] for row_id in ids if row_id in self.rows}
        await self.continues.wait()
        if self.is_down:
            raise StorageUnavailable("The database is away.", reason="down")
        return found

    def lookup(self) -> CachedLookup[str]:
        return CachedLookup(self.load, lambda: self.now_s)


async def test_a_row_is_read_once_per_minute() -> None:
    rows = _Rows(a="row")
    found = rows.lookup()
    for _ in range(100):
        assert await found.find("a") == "row"
    assert rows.queries == [["a"]]
    rows.now_s = 60
    assert await found.find("a") == "row"
    assert rows.queries == [["a"], ["a"]]


async def test_an_unknown_id_is_read_once_per_minute() -> None:
    rows = _Rows()
    found = rows.lookup()
    for _ in range(100):
        assert await found.find("x") is None
    assert rows.queries == [["x"]]


async def test_a_flood_of_unknown_ids_shares_few_queries() -> None:
    rows = _Rows(a="row")
    found = rows.lookup()
    flood = [found.find(f"x{number}") for number in range(2_000)]
    *unknown, known = await asyncio.gather(*flood, found.find("a"))
    assert set(unknown) == {None}
    assert known == "row"
    assert len(rows.queries) <= 5


async def test_a_flood_does_not_displace_known_rows() -> None:
    rows = _Rows(a="row")
    found = CachedLookup(rows.load, max_cached=10)
    await found.find("a")
    await asyncio.gather(*(found.find(f"x{number}") for number in range(50)))
    before = len(rows.queries)
    assert await found.find("a") == "row"
    assert len(rows.queries) == before
    assert len(found._missing) == 10


async def test_beyond_a_limit_further_requests_are_refused() -> None:
    found = CachedLookup(_Rows().load, max_waiting=3)
    outcomes = await asyncio.gather(
        *(found.find(f"x{number}") for number in range(5)), return_exceptions=True
    )
    assert outcomes[:3] == [None] * 3
    assert all(isinstance(each, StorageUnavailable) for each in outcomes[3:])


async def test_a_known_row_outlives_an_outage_for_its_minute_only() -> None:
    rows = _Rows(a="row")
    found = rows.lookup()
    await found.find("a")
    rows.is_down = True
    rows.now_s = 59
    assert await found.find("a") == "row"
    rows.now_s = 60
    with pytest.raises(StorageUnavailable):
        await found.find("a")
    rows.is_down = False
    assert await found.find("a") == "row"


async def test_after_a_change_rows_are_read_again() -> None:
    rows = _Rows(a="row")
    found = rows.lookup()
    await found.find("a")
    await found.find("b")
    rows.rows = {"b": "new"}
    found.forget()
    assert await found.find("a") is None
    assert await found.find("b") == "new"


async def test_a_row_that_was_read_before_a_change_is_not_returned_after_it() -> None:
    rows = _Rows(a="row")
    found = rows.lookup()
    rows.continues.clear()
    reading = asyncio.create_task(found.find("a"))
    while not rows.queries:
        await asyncio.sleep(0)
    rows.rows = {}
    found.forget()
    rows.continues.set()
    assert await reading is None
    assert await found.find("a") is None


async def test_a_request_that_leaves_does_not_fail_the_others() -> None:
    rows = _Rows(a="row")
    found = rows.lookup()
    rows.continues.clear()
    leaving, staying = (asyncio.create_task(found.find("a")) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.sleep(0)
    rows.continues.set()
    assert await staying == "row"


async def test_a_bug_in_a_query_fails_its_requests() -> None:
    async def fail(_ids: Sequence[str]) -> Mapping[str, str]:
        raise LookupError

    found: CachedLookup[str] = CachedLookup(fail)
    with pytest.raises(StorageUnavailable, match="cannot be checked"):
        await found.find("a")
