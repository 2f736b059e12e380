"""`/history` and `/search`: earlier questions and answers, by time and by full-text search."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from typing import Any, Literal, NotRequired

from quart import Quart, Response
from typing_extensions import TypedDict

from service.api.dependencies import ApiDependencies
from service.api.history.items import list_item_loads, make_item
from service.api.http.degraded import AnswerMarks
from service.api.http.pieces import (
    json_in_pieces,
    list_parts,
    respond_in_pieces,
)
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
from service.api.runs.report_json import report_json
from service.api.runs.schemas import TokenUsage
from service.errors import RequestError
from service.store.lists.pages import Page
from service.store.records import AgentAnswer, SearchHit
from service.store.search.excerpt import MARK, UNMARK
from service.store.search.search import LANGUAGES

_BEFORE = RunIdParam("before", "The last id of the previous page: list the items after it.")
_QUERY = TextParam("query", 'The query: words, "a phrase", -not, or.', 1000)
_LANG = ChoiceParam("lang", "The language of the query.", tuple(LANGUAGES), "en")
_MARKED = re.compile(f"{MARK}([^{MARK}{UNMARK}]*){UNMARK}")


class HistoryItem(AnswerMarks):
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
    finish_reason: NotRequired[str]
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
        scope="read",
        parameters=(*PAGE, _BEFORE),
        answers=(ResponseSpec("A page of history entries.", HistoryPage),),
    )
    async def history() -> Response:
        owner = current_principal().owner
        (limit, offset), before = read_all(read_page, _BEFORE.read_optional)
        found = await store.history.list_page(owner, limit, offset, before)
        loads = list_item_loads(api, found, found.items)
        fields = page_fields(found, limit, offset)
        return await respond_in_pieces(list_parts({}, "items", loads, fields))

    @app.get("/history/<run_id>")
    @Operation(
        "Get a history entry",
        tag=Tag.HISTORY,
        scope="read",
        answers=(ResponseSpec("The history entry.", WholeItem),),
    )
    async def history_item(run_id: str) -> Response:
        owner = current_principal().owner
        run = await store.runs.get(owner, run_id) if is_valid_id(run_id) else None
        if run is None:
            raise RequestError("run_not_found", "There is no such run.")
        answers = await store.runs.list_agent_answers(run.owner, run.id)
        agents = [_agent(each) for each in answers]
        return json_in_pieces({**await make_item(runs, run), "agents": agents})

    @app.get("/search")
    @Operation(
        "Search questions and answers",
        tag=Tag.HISTORY,
        scope="read",
        parameters=(_QUERY, _LANG, *PAGE),
        answers=(ResponseSpec("A page of search results, best first.", SearchPage),),
    )
    async def search() -> Response:
        (limit, offset), query, lang = read_all(read_page, _QUERY.read, _LANG.read)
        owner = current_principal().owner
        found = await store.search.find(owner, query, lang, limit, offset)
        hits = {hit.run.id: hit for hit in found.items}
        listed = [hit.run for hit in found.items]
        loads = list_item_loads(api, found, listed, lambda run: _hit_fields(hits[run.id]))
        fields = page_fields(found, limit, offset)
        return await respond_in_pieces(list_parts({}, "items", loads, fields))


def _hit_fields(hit: SearchHit) -> Mapping[str, Any]:
    return {"rank": hit.rank, "snippet": snippet_html(hit.snippet)}


def page_fields(found: Page[Any], limit: int, offset: int) -> dict[str, Any]:
    """Return the fields of a page besides its items."""
    shown: dict[str, Any] = {"total": found.total, "limit": limit, "offset": offset}
    return {**shown, "total_is_capped": True} if found.is_capped else shown


def snippet_html(snippet: str) -> str:
    """Return a snippet as HTML: its text escaped, the matches in <mark> elements."""
    html = _MARKED.sub(r"<mark>\1</mark>", escape(snippet))
    return html.replace(MARK, "").replace(UNMARK, "")


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
