"""Retries: the runs that can be retried, and the request that takes the place of one."""

from __future__ import annotations

from service.access.principal import Principal
from service.conversation import Branch
from service.domain import RunRequest
from service.errors import RequestError
from service.messages import restore_question
from service.runs.prepare import RunStart
from service.runs.settings import IdempotencyKey
from service.store.records import StoredRun
from service.store.runs import RunStore

# A cancelled run is retried on request, but not because its Idempotency-Key comes again.
RETRYABLE = frozenset({"failed", "interrupted", "cancelled"})


def make_retry(run: StoredRun, principal: Principal, key: IdempotencyKey | None = None) -> RunStart:
    """Return the start of a run in which `principal` asks the question of `run` again."""
    request = RunRequest(
        messages=(*run.preceding, restore_question(run.question, run.raw)),
        message_id=run.message_id,
        history=Branch(run.conversation_id, run.follows),
        ensemble=run.ensemble,
        stream_agents=run.stream_agents,
        max_tokens=run.max_tokens,
        timeout_s=run.timeout_s,
        principal=principal,
        options=run.options,
    )
    return RunStart(request, key, run)


def make_not_retryable(run: StoredRun) -> RequestError:
    """Return the error for a run that is running or complete."""
    what = "still running" if run.state == "running" else "complete"
    return RequestError("run_not_retryable", f"There is nothing to retry: it is {what}.")


async def read_run(store: RunStore, owner: str, run_id: str) -> StoredRun:
    """Return a stored run. Raises RequestError 404, and StorageUnavailable."""
    stored = await store.get(owner, run_id)
    if stored is None:
        raise RequestError("run_not_found", "There is no such run.")
    return stored


async def read_latest(store: RunStore, owner: str, run_id: str) -> StoredRun:
    """Return a stored run, or the last of the retries that took its place.

    Raises RequestError 404, and StorageUnavailable.
    """
    stored = await read_run(store, owner, run_id)
    while stored.superseded_by:
        stored = await read_run(store, owner, stored.superseded_by)
    return stored
