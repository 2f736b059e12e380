"""Process that searches a database continuously: `python -m bench.searcher URL`."""

from __future__ import annotations

import asyncio
import itertools
import sys

from bench.corpus import MARKS, OWNER
from service.store.database import Database
from service.store.search.search import Search


async def _search(database: Database) -> None:
    search = Search(database)
    print("searching", flush=True)
    for query in itertools.cycle(MARKS):
        await search.find(OWNER, query)


async def _main(url: str) -> None:
    database = Database(url)
    try:
        await _search(database)
    finally:
        await database.close()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
