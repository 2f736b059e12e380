"""Databases that several rows share: one PostgreSQL server, and generated corpora of each size."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.corpus import fill_postgresql, fill_sqlite
from bench.processes import BenchError, read_cpu_s
from tests._support.servers.databases import Postgres, postgres_server


class Databases:
    """The databases of a benchmark, each created when a row first needs it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._filling = asyncio.Lock()
        self._postgres: Postgres | None = None
        self._corpora: dict[tuple[str, int], str] = {}

    def get_postgres(self) -> Postgres:
        """Return the PostgreSQL server, with fsync as in production.

        Its buffers are those of a machine with 4 GB: its documentation recommends a quarter. With
        128 MB, the default, a million runs are read from the system's cache again and again.
        Raises BenchError where there is none.
        """
        if self._postgres is None:
            server = postgres_server(
                fsync="on", full_page_writes="on", shared_buffers="1GB", max_wal_size="4GB"
            )
            try:
                self._postgres = self._stack.enter_context(server)
            except pytest.skip.Exception as missing:
                raise BenchError(str(missing)) from missing
        return self._postgres

    def read_postgres_cpu_s(self, url: str) -> float:
        """Return the CPU seconds of the PostgreSQL processes that serve one database."""
        name = url.rpartition("/")[2]
        backends = [pid for pid in self.get_postgres().pids[1:] if name in _read_title(pid)]
        return sum(map(read_cpu_s, backends))

    async def get_corpus(self, name: str, runs: int) -> str:
        """Return the URL of a database of `runs` runs; `name` is SQLite or PostgreSQL."""
        async with self._filling:
            if (name, runs) not in self._corpora:
                self._corpora[name, runs] = await self._fill(name, runs)
            return self._corpora[name, runs]

    async def _fill(self, name: str, runs: int) -> str:
        if name == "SQLite":
            return await fill_sqlite(self._folder / f"corpus-{runs}.db", runs)
        return await fill_postgresql(self.get_postgres(), runs)

    def close(self) -> None:
        self._stack.close()


def _read_title(pid: int) -> str:
    """Return the title of a PostgreSQL process, which names its database."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
