"""The store in memory, which replaces the database in tests of runs.

It passes the contract tests of the real one: test_runs.py, test_workers.py and
journal/test_writer.py in tests/store run on it too.
"""

from __future__ import annotations

from tests._support.runs.memory_store import Memory


def test_no_public_method_of_the_memory_store_reaches_a_database() -> None:
    for part in (Memory().runs, Memory().workers, Memory().journal):
        mine, theirs = vars(type(part)), vars(type(part).__mro__[1])
        public = {name for name in theirs if not name.startswith("_")} - {"operation"}
        assert public <= set(mine)
