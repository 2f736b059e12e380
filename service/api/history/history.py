"""`/history` and `/search`: earlier questions and answers, by time and by full-text search."""

from __future__ import annotations

import re
from datetime import datetime
from html import escape
from typing import Any, Literal, NotRequired

from quart import Quart, Response, jsonify
from typing_extensions import TypedDict

from service.api.dependencies import ApiDependencies
from service.api.http.degraded import DegradedFields, degraded_fields
from service.api.http.principal import current_principal
from service.api.http.query import (
    PAGE,
    ChoiceParam,
    RunIdParam,
    TextParam,
    is_valid_id,
    read_all,
    read_page,
)
from service.api.openapi.operation import Operation, ResponseSpec, Tag
from service.api.runs.event_json import report_json, usage_json
from service.api.runs.schemas import TokenUsage
from service.errors import RequestError
from service.runs.projections.summary import summarize
from service.runs.run import Run
from service.runs.runs import Runs
from service.store.records import AgentAnswer, Page, StoredRun
from service.store.search.excerpt import MARK, UNMARK
from service.store.search.search import LANGUAGES

_BEFORE = RunIdParam("before", "The last id of the previous page: list the items after it.")
_QUERY = TextParam("query", 'The query: words, "a phrase", -not, or.', 1000)
_LANG = ChoiceParam("lang", "The language of the query.", tuple(LANGUAGES), "en")
_MARKED = re.compile(f"{MARK}([^{MARK}{UNMARK}]*){UNMARK}")


class HistoryItem(DegradedFields):
    """A question and its answer; usage and cost are set once the run has ended."""

    id: str
    prompt: str
    response: str
    status: Literal["running", "completed", "failed", "cancelled", "interrupted"]
    created_at: str
    conversation_id: str
    message_id: str
    ensemble: str
    trace_id: str
    usage: TokenUsage
    cost: float | None
    elapsed_ms: float | None
    code: NotRequired[str]
    error: NotRequired[str]
    answered_by: NotRequired[str]
    retry_of: NotRequired[str]
    superseded_by: NotRequired[str]


class AgentSaid(TypedDict):
    """An agent's answer with its usage, cost and times."""

    name: str
    state: Literal["running", "answered", "failed", "skipped", "cancelled"]
    code: NotRequired[str]
    error: NotRequired[str]
    model: str
    usage: TokenUsage
    cost: float | None
    elapsed_ms: float
    first_token_ms: float | None
    reused: NotRequired[bool]
    answer: str
    partial: bool


class WholeItem(HistoryItem):
    """A question and its answer, with the answers of the agents."""

    agents: list[AgentSaid]


class Hit(HistoryItem):
    """A search result: a higher `rank` is better, `snippet` is HTML."""

    rank: float
    snippet: str


class Paged(TypedDict):
    """The position of a page among all items."""

    total: int
    limit: int
    offset: int
    total_is_capped: NotRequired[bool]


class HistoryPage(Paged):
    """Questions and answers, the newest first."""

    items: list[HistoryItem]


class SearchPage(Paged):
    """Search results, best first."""

    items: list[Hit]


def install(app: Quart, api: ApiDependencies) -> None:
    """Add `/history` and `/search` to `app`."""
    runs, store = api.runs, api.store

    @app.get("/history")
    @Operation(
        "List questions and answers, the newest first",
        tag=Tag.HISTORY,
        parameters=(*PAGE, _BEFORE),
        answers=(ResponseSpec("A page of history entries.", HistoryPage),),
    )
    async def history() -> Response:
        owner = current_principal().owner
        limit, offset = read_page()
        found = await store.history.list_page(owner, limit, offset, _BEFORE.read_optional())
        items = [await _item(runs, run) for run in found.items]
        return jsonify({"items": items, **page_fields(found, limit, offset)})

    @app.get("/history/<run_id>")
    @Operation(
        "Get a history entry",
        tag=Tag.HISTORY,
        answers=(ResponseSpec("The history entry.", WholeItem),),
    )
    async def history_item(run_id: str) -> Response:
        owner = current_principal().owner
        run = await store.runs.get(owner, run_id) if is_valid_id(run_id) else None
        if run is None:
            raise RequestError("run_not_found", "There is no such run.")
        answers = await store.runs.list_agent_answers(run.owner, run.id)
        agents = [_agent(each) for each in answers]
        return jsonify({**await _item(runs, run), "agents": agents})

    @app.get("/search")
    @Operation(
        "Search questions and answers",
        tag=Tag.HISTORY,
        parameters=(_QUERY, _LANG, *PAGE),
        answers=(ResponseSpec("A page of search results, best first.", SearchPage),),
    )
    async def search() -> Response:
        (limit, offset), query, lang = read_all(read_page, _QUERY.read, _LANG.read)
        owner = current_principal().owner
        found = await store.search.find(owner, query, lang, limit, offset)
        items = [
            {**await _item(runs, hit.run), "rank": hit.rank, "snippet": snippet_html(hit.snippet)}
            for hit in found.items
        ]
        return jsonify({"items": items, **page_fields(found, limit, offset)})


def page_fields(found: Page[Any], limit: int, offset: int) -> dict[str, Any]:
    """Return the fields of a page besides its items."""
    shown: dict[str, Any] = {"total": found.total, "limit": limit, "offset": offset}
    return {**shown, "total_is_capped": True} if found.is_capped else shown


def snippet_html(snippet: str) -> str:
    """Return a snippet as HTML: its text escaped, the matches in <mark> elements."""
    html = _MARKED.sub(r"<mark>\1</mark>", escape(snippet))
    return html.replace(MARK, "").replace(UNMARK, "")


def format_time(moment: datetime) -> str:
    """Return a time in ISO 8601, to the millisecond."""
    return moment.isoformat(timespec="milliseconds")


async def _item(runs: Runs, run: StoredRun) -> dict[str, Any]:
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
        **degraded_fields(run),
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
    return summarize(found.log.after(0)).answer if isinstance(found, Run) else found.answer


def _agent(answer: AgentAnswer) -> dict[str, Any]:
    report = answer.report
    return {
        "name": answer.agent,
        "state": answer.state,
        **({"code": answer.code, "error": answer.error} if answer.code else {}),
        "model": report.model,
        **report_json(report),
        "answer": report.text,
        "partial": report.partial,
    }
