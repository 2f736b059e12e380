"""Idempotency keys: a request that is sent again gets the run of the first one.

A key resolves to that run, or to a run to start. Two requests that come with one key at the same
time both start here; committing them reveals the conflict.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from datetime import UTC, datetime

from service.domain import RunRequest
from service.errors import RequestError
from service.runs.prepare import RunStart
from service.runs.retry import RETRYABLE, make_retry, read_latest
from service.runs.settings import IdempotencyKey
from service.runs.stop_reasons import CANCELLED
from service.store.records import KeyConflict
from service.store.runs import RunStore


async def resolve_key(
    request: RunRequest, key: IdempotencyKey | None, store: RunStore, open_runs: Container[str]
) -> RunStart | str:
    """Return the id of the run that `key` already has, or the run to start.

    `open_runs` are ids of runs that this process works on: these are not looked up. A run that
    failed or was interrupted is retried, unless it was cancelled. Raises RequestError 422 when the
    key came with another body, and StorageUnavailable.
    """
    if key is None:
        return RunStart(request)
    known = await store.find_key(request.owner, key.key, datetime.now(UTC))
    if known is None:
        return RunStart(request, key)
    _check_body(key, known.fingerprint)
    if known.run_id in open_runs:
        return known.run_id
    latest = await read_latest(store, request.owner, known.run_id)
    if latest.state in RETRYABLE and latest.code != CANCELLED.code:
        return make_retry(latest, request.principal, replace(key, bound_to=known.run_id))
    return latest.id


def check_conflict(key: IdempotencyKey | None, conflict: KeyConflict) -> None:
    """Raise RequestError 422 when the run that came first has `key` with another body."""
    if key and conflict.fingerprint is not None:
        _check_body(key, conflict.fingerprint)


def _check_body(key: IdempotencyKey, fingerprint: bytes) -> None:
    if fingerprint != key.fingerprint:
        message = "This Idempotency-Key came with another body."
        raise RequestError("idempotency_key_reused", message)
