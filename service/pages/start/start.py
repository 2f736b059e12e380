"""`/web/`: a greeting with questions to ask, or the recent conversations."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from quart import Blueprint, Response

from service.api.http.principal import current_principal, needs_scope
from service.pages.dependencies import PageDependencies

_RECENT: Final = 10
_QUESTIONS: Final = (
    "Explain gravity to a child of five years.",
    "Which is the better first database for a small web service, SQLite or PostgreSQL, and why?",
    "Write a Python function that returns the n-th prime number, with its tests.",
    "What are the strongest arguments for and against a four-day working week?",
)


def install(blueprint: Blueprint, pages: PageDependencies) -> None:
    """Add the start page."""
    conversations = pages.api.store.conversations

    @blueprint.get("/web/")
    @needs_scope("read")
    async def start_page() -> Response:
        recent = await conversations.list_page(current_principal().owner, _RECENT, 0)
        return pages.render(
            "start/start.html",
            recent=recent.items,
            more=recent.total - len(recent.items),
            questions=[(text, f"/web/chat?question={quote(text)}") for text in _QUESTIONS],
            ensemble=_describe_default(pages),
            uses_mock=pages.settings.use_llm_mock,
        )


def _describe_default(pages: PageDependencies) -> str:
    """Return a sentence about the agents that answer a question without a named ensemble."""
    catalog = pages.api.catalog()
    ensemble = catalog.ensembles[catalog.default]
    names = list(dict.fromkeys(agent.name for agent in ensemble.agents))
    if len(names) == 1:
        return f"{names[0]} answers your question."
    who = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) <= 6 else f"{len(names)} agents"
    merge = f", and {ensemble.combiner.name} merges their answers" if ensemble.combiner else ""
    return f"{who} are asked at the same time{merge}."
