"""Writes a batch of many runs' rows in one transaction and few statements.

Writing a batch twice has no effect, so a batch is written again when its commit may have failed.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from service.store.budgets.access import LedgerAccess
from service.store.budgets.ledger import Ledger
from service.store.budgets.units import measure_spent
from service.store.connections.transaction import Transaction
from service.store.database import Database
from service.store.journal import statements as sql
from service.store.journal.batch import Batch, LateEvents, RunRow, Written
from service.store.journal.claims import Admission, Claims, admit
from service.store.journal.rows import (
    Values,
    encode_configs,
    encode_conversation,
    encode_key,
    encode_late_events,
    encode_messages,
    encode_segment,
    encode_supersession,
)
from service.store.records import KnownKey, NewRun, RunEnd
from service.store.rows import encode_agent_answer, encode_run, encode_run_end
from service.store.scope import ALL_OWNERS
from service.store.usage.sums import EndedRun, UsageWriter
from telemetry import StoreOperation, Workflow
from telemetry.spans.store import StoreOperationName

KnownRuns = Mapping[str, Any]  # rows by run id


class JournalWriter:
    """The only writer of runs, their events, answers and ends."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._inserts = sql.Inserts(database.dialect)
        self._ledgers = LedgerAccess(database.dialect)
        self._usage = UsageWriter(database.dialect, secrets.token_hex(8))
        self._lock_number = secrets.randbits(63)

    def operation(self, name: StoreOperationName, parent: Workflow | None = None) -> StoreOperation:
        """Start to measure a caller's wait for the commit of its batch."""
        return self._database.operation(name, parent)

    async def write(self, batch: Batch) -> Written:
        """Commit the batch; return the conflicts of new runs, and the runs taken over by others.

        A new run has a conflict, and is not written, when its key or the run that it retries has
        another run already; it has a shortage when a budget does not suffice. Rows of a run that
        was deleted or has ended are left out, and those of an attempt that is not the current one.
        Raises StorageUnavailable when the database cannot be written now. Any other database
        error is raised as it is: this batch can never be committed, and the caller may split it.
        """
        return await self._database.transact(partial(self._write, batch), "commit", ALL_OWNERS)

    async def add_late(self, late: LateEvents) -> bool:
        """Add events of an earlier attempt to the gap of an ended run; return whether they fit.

        They fit when they follow the last event before the gap. Raises StorageUnavailable.
        """
        return await self._database.transact(partial(self._add_late, late), "commit", ALL_OWNERS)

    def _write(self, batch: Batch, transaction: Transaction) -> Written:
        new = Admission()
        self._lock(transaction, batch.openings)
        demands = [each for opening in batch.openings for each in opening.demands]
        ledger = self._ledgers.load(transaction, batch.reserving_run_ids, demands)
        if batch.openings:
            claims = _load_claims(transaction, batch.openings)
            new = admit(batch.openings, claims, ledger)
            self._open(transaction, new.admitted)
        fenced, ended = self._add(transaction, batch, ledger)
        if batch.dropped:
            _drop(transaction, batch.dropped, ledger)
        self._ledgers.store(transaction, ledger)
        self._usage.add(transaction, ended)
        return Written(new.conflicts, fenced, new.budgets)

    def _lock(self, transaction: Transaction, openings: Iterable[NewRun]) -> None:
        # On SQLite the transaction itself is the lock.
        if self._database.dialect == "postgresql":
            keys = {_lock_number(one.ask.owner, one.key.key) for one in openings if one.key}
            numbers = [self._lock_number, *sorted(keys)]
            transaction.fetch_all(sql.LOCK, {"numbers": numbers})

    def _open(self, transaction: Transaction, openings: Sequence[NewRun]) -> None:
        inserts = self._inserts
        conversations = sorted(map(encode_conversation, openings), key=_owner_and_id)
        transaction.execute_many(inserts.conversation, conversations)
        transaction.execute_many(inserts.config, encode_configs(openings))
        transaction.execute_many(inserts.run, [encode_run(opening) for opening in openings])
        transaction.execute_many(
            inserts.message, [row for one in openings for row in encode_messages(one)]
        )
        retries = [encode_supersession(opening) for opening in openings if opening.retry_of]
        transaction.execute_many(sql.SUPERSEDE, retries)
        transaction.execute_many(
            inserts.key, [encode_key(one, one.key) for one in openings if one.key]
        )

    def _add(
        self, transaction: Transaction, batch: Batch, ledger: Ledger
    ) -> tuple[frozenset[str], Sequence[EndedRun]]:
        """Write the rows of running runs.

        Return the ids of runs that have a later attempt, and the runs that have ended now.
        """
        run_ids = sorted({row.run_id for row in batch.rows})
        if not run_ids:
            return frozenset(), ()
        found = transaction.fetch_all(sql.ATTEMPTS, {"ids": run_ids})
        runs: KnownRuns = {row.id: row for row in found}
        part = Batch.of_rows([row for row in batch.rows if _is_current(row, runs)])
        segments = [encode_segment(each) for each in part.segments]
        transaction.execute_many(self._inserts.segment, segments)
        answers = [encode_agent_answer(each) for each in part.answers]
        transaction.execute_many(self._inserts.answer, answers)
        _end(transaction, part, runs)
        fenced = frozenset(row.run_id for row in batch.rows if _is_fenced(row, runs))
        settle_all(batch.endings, fenced, ledger)
        ended = {each.run_id: _make_ended_run(each, runs[each.run_id]) for each in part.endings}
        return fenced, [*ended.values()]

    def _add_late(self, late: LateEvents, transaction: Transaction) -> bool:
        values = encode_late_events(late)
        if not transaction.fetch_all(sql.GAP, values):
            return False
        transaction.execute_many(self._inserts.segment, [encode_segment(late.segment)])
        answers = [encode_agent_answer(each) for each in late.answers]
        transaction.execute_many(self._inserts.answer, answers)
        transaction.execute_many(sql.ADD_LATE, [values])
        return True


# --- new runs ---


def _load_claims(transaction: Transaction, openings: Sequence[NewRun]) -> Claims:
    """Return the existing claims on the keys and retried runs; locked until the commit."""
    claims = Claims()
    keys = sorted({(one.ask.owner, one.key.key) for one in openings if one.key})
    if keys:
        for row in transaction.fetch_all(sql.KNOWN_KEYS, {"keys": keys}):
            known = KnownKey(row.fingerprint, row.run_id, row.expires_at)
            claims.keys[row.owner, row.key] = known
    retried = sorted({one.retry_of for one in openings if one.retry_of})
    if retried:
        for row in transaction.fetch_all(sql.RETRIED, {"ids": retried}):
            claims.successors[row.id] = row.superseded_by
    return claims


def _lock_number(owner: str, key: str) -> int:
    digest = hashlib.blake2b(repr((owner, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def _owner_and_id(row: Values) -> tuple[str, str]:
    # All transactions lock rows in the same order, so that they cannot deadlock.
    return row["owner"], row["id"]


# --- rows of running runs ---


def _is_current(row: RunRow, runs: KnownRuns) -> bool:
    run = runs.get(row.run_id)
    return run is not None and run.state == "running" and bool(run.attempt == row.attempt)


def _is_fenced(row: RunRow, runs: KnownRuns) -> bool:
    run = runs.get(row.run_id)
    return run is not None and bool(run.attempt > row.attempt)


def _make_ended_run(ending: RunEnd, run: Any) -> EndedRun:
    return EndedRun(run.owner, run.key_id, run.ensemble, ending.ended_at, ending.shares)


def settle_all(endings: Iterable[RunEnd], fenced: Container[str], ledger: Ledger) -> None:
    """Book what ended runs have spent, also of a run that was deleted meanwhile."""
    for each in endings:
        if each.run_id not in fenced:
            ledger.settle(each.run_id, measure_spent(each.usage, each.cost_usd), each.interruption)


def _end(transaction: Transaction, batch: Batch, runs: KnownRuns) -> None:
    rows = [encode_run_end(each) for each in batch.endings]
    transaction.execute_many(sql.END_RUN, rows)
    transaction.execute_many(sql.DELETE_SIGNALS, rows)
    touched = [
        {
            "of_owner": runs[each.run_id].owner,
            "conversation": runs[each.run_id].conversation_id,
            "at": each.ended_at,
        }
        for each in batch.endings
    ]
    touched.sort(key=lambda row: (row["of_owner"], row["conversation"]))
    transaction.execute_many(sql.TOUCH_CONVERSATION, touched)


def _drop(transaction: Transaction, run_ids: Sequence[str], ledger: Ledger) -> None:
    """Delete runs and the conversations they created; reinstate the runs that they retried.

    No model was called for them: what they have reserved is released.
    """
    found = transaction.fetch_all(sql.DROPPED, {"ids": sorted(run_ids)})
    rows = [
        {
            "run": row.id,
            "of_owner": row.owner,
            "conversation": row.conversation_id,
            "at": row.created_at,
        }
        for row in found
    ]
    retries = [
        {"run": row.retry_of, "of_owner": row.owner, "by": row.id} for row in found if row.retry_of
    ]
    transaction.execute_many(sql.REINSTATE, retries)
    transaction.execute_many(sql.DROP_RUN, rows)
    transaction.execute_many(sql.DROP_CONVERSATION, rows)
    for run_id in run_ids:
        ledger.settle(run_id, {})
