"""`POST /web/chat`: starts the run of a question and returns or shows its conversation."""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError
from quart import Blueprint, Response, jsonify, request

from service.access.principal import Principal
from service.api.http.body import Body, Identifier, Label, Text, idempotency_key, read_body
from service.api.http.principal import current_principal, needs_scope
from service.api.http.sse import run_headers
from service.api.limits.requests import start_run
from service.conversation import Branch, Continue, History, NewConversation
from service.domain import Message, RequestOptions, RunRequest
from service.errors import RequestError
from service.ids import new_id
from service.pages.chat.lineage import list_lineage
from service.pages.dependencies import PageDependencies
from service.pages.errors import wants_html
from service.pages.forms import read_form
from service.pages.rendering import redirect_to
from service.store.runs import RunStore

CHAT_PATH: Final = "/web/chat"
BEFORE_ALL: Final = "run_0"  # before the id of every run: a branch at the start of a conversation


class PageQuestion(Body):
    """A question of the chat page.

    It follows the last turn of the conversation; with `replaces`, a run, it takes the place of that
    run's question in a new branch.
    """

    message: Text
    ensemble: Label | None = None  # also the single agent `agent/<name>`
    conversation_id: Identifier | None = None
    replaces: Identifier | None = None
    leaf: Identifier | None = None

    def to_request(self, principal: Principal, history: History) -> RunRequest:
        """Return the question of `principal`; its run continues while no page is open."""
        return RunRequest(
            messages=(Message("user", self.message),),
            message_id=new_id("msg"),
            history=history,
            ensemble=self.ensemble or "",
            stream_agents=True,
            principal=principal,
            options=RequestOptions(background=True, reasoning="all"),
        )


def install(blueprint: Blueprint, pages: PageDependencies) -> None:
    """Add the address that the form and the scripts of the chat page send questions to."""
    runs, tables = pages.api.runs, pages.api.store.runs

    @blueprint.post(CHAT_PATH)
    @needs_scope("run", use="run")
    async def ask() -> Response:
        body = await _read_question()
        principal = current_principal()
        history = await _find_history(tables, principal.owner, body)
        run = await start_run(runs, body.to_request(principal, history), idempotency_key(body))
        path = f"{CHAT_PATH}/{run.conversation_id}"
        if wants_html():
            response = redirect_to(path)
        else:
            response = jsonify(
                {"run_id": run.id, "conversation_id": run.conversation_id, "path": path}
            )
        response.headers.update(run_headers(run))
        return response


async def _read_question() -> PageQuestion:
    if request.mimetype == "application/json":
        return await read_body(PageQuestion)
    form = await read_form()
    fields = {name: form[name] for name in PageQuestion.model_fields if form.get(name)}
    try:
        return PageQuestion.model_validate(fields)
    except ValidationError:
        raise RequestError("bad_request", "Please write a question.") from None


async def _find_history(tables: RunStore, owner: str, body: PageQuestion) -> History:
    if not body.conversation_id:
        return NewConversation()
    if body.replaces:
        links = await tables.list_links(owner, body.conversation_id)
        lineage = list_lineage(links, body.replaces)
        if not lineage or lineage[-1] != body.replaces:
            raise RequestError("run_not_found", "There is no such run in the conversation.")
        return Branch(body.conversation_id, after=[BEFORE_ALL, *lineage][-2])
    if body.leaf:
        return Branch(body.conversation_id, after=body.leaf)
    return Continue(body.conversation_id)
