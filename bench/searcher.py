"""`python -m bench.searcher URL`: searches a database without a break, until it is ended."""

from __future__ import annotations

import asyncio
import itertools
import sys

from bench.corpus import MARKS, OWNER
from service.store.database import Database
from service.store.search.search import Search

_AT_ONCE = 1


async def _search(database: Database) -> None:
    search = Search(database)
    print("searching", flush=True)
    for query in itertools.cycle(MARKS):
        await search.find(OWNER, query)


async def _main(url: str) -> None:
    database = Database(url)
    try:
        await asyncio.gather(*(_search(database) for _ in range(_AT_ONCE)))
    finally:
        await database.close()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
