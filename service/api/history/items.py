"""Runs as items of `/history` and `/search`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from service.api.dependencies import ApiDependencies
from service.api.http.degraded import answer_marks
from service.api.http.pieces import LoadItems
from service.api.runs.report_json import usage_json
from service.errors import RequestError
from service.runs.projections.long_logs import summarize_log
from service.runs.run import Run
from service.runs.runs import Runs
from service.store.lists.long_texts import with_texts
from service.store.lists.pages import Page
from service.store.records import StoredRun


def list_item_loads(
    api: ApiDependencies,
    page: Page[Any],
    listed: Sequence[StoredRun],
    more: Callable[[StoredRun], Mapping[str, Any]] = lambda _: {},
) -> Iterator[LoadItems]:
    """Yield the loads of a page's items: those with texts, then the others part by part.

    `more` returns further fields of an item.
    """
    unread = {run_id for part in page.unread for run_id in part}
    by_id = {run.id: run for run in listed}

    async def make_items(some: Iterable[StoredRun]) -> Sequence[Mapping[str, Any]]:
        return [{**await make_item(api.runs, run), **more(run)} for run in some]

    async def read(part: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        texts = await api.store.history.read_texts(by_id[part[0]].owner, part)
        return await make_items(
            with_texts(by_id[each], texts[each]) for each in part if each in texts
        )

    yield partial(make_items, [run for run in listed if run.id not in unread])
    for part in page.unread:
        yield partial(read, part)


async def make_item(runs: Runs, run: StoredRun) -> dict[str, Any]:
    """Return a run as a HistoryItem."""
    return {
        "id": run.id,
        "prompt": run.question,
        "response": run.answer
        if run.state != "running"
        else await read_partial_answer(runs, run.owner, run.id),
        "status": run.state,
        "created_at": format_time(run.created_at),
        "conversation_id": run.conversation_id,
        "message_id": run.message_id,
        "ensemble": run.ensemble,
        "trace_id": run.trace_id,
        "usage": usage_json(run.usage),
        "cost": run.cost_usd,
        "elapsed_ms": run.elapsed_ms,
        **({"code": run.code, "error": run.error} if run.code else {}),
        **answer_marks(run),
        **({"answered_by": run.answered_by} if run.degraded_by else {}),
        **({"retry_of": run.retry_of} if run.retry_of else {}),
        **({"superseded_by": run.superseded_by} if run.superseded_by else {}),
    }


async def read_partial_answer(runs: Runs, owner: str, run_id: str) -> str:
    """Return the text that an unfinished run of `owner` has of its answer."""
    try:
        found = await runs.get(run_id, owner)
    except RequestError:  # deleted a moment ago
        return ""
    return (await summarize_log(found.log)).answer if isinstance(found, Run) else found.answer


def format_time(moment: datetime) -> str:
    """Return a time in ISO 8601, to the millisecond."""
    return moment.isoformat(timespec="milliseconds")
