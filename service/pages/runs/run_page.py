"""`/web/runs/{run_id}`: the course of a run, its findings, answers and cost, and its actions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup
from quart import Blueprint, Response, request

from service.api.http.principal import current_principal, needs_scope
from service.errors import RequestError
from service.pages.dependencies import PageDependencies
from service.pages.markdown.blocks import render_markdown
from service.pages.runs import wording
from service.pages.runs.details import RunDetails, load_details
from service.pages.runs.provenance import split_answer
from service.pages.runs.timeline import make_timeline
from service.runs.projections.summary import AgentSummary, RunSummary
from service.runs.resynthesis import FROM_ANSWERS

_FORMATTED_CHARS: Final = 100_000  # a longer text is shown without formatting
_AGENT_CHARS: Final = 200_000  # of all agents' answers on one page
_MAX_PASSAGES: Final = 500  # each is a stop of the Tab key
_TEMPLATES: Final = {"": "runs/run.html", "progress": "runs/progress.html"}


@dataclass(frozen=True, slots=True)
class ShownText:
    """A text of a model, as HTML where it is short enough, else as it is."""

    html: Markup | None
    plain: str


def install(blueprint: Blueprint, pages: PageDependencies) -> None:
    """Add the page of a run.

    With `?part=progress` only its state and timeline, for the script that updates it; with
    `?agent=NAME` only the answer of an agent.
    """

    @blueprint.get("/web/runs/<run_id>")
    @needs_scope("read")
    async def run_page(run_id: str) -> Response:
        details = await load_details(pages.api, current_principal().owner, run_id)
        if "agent" in request.args:
            return await _show_agent(pages, details, request.args["agent"])
        template = _TEMPLATES.get(request.args.get("part", ""), "runs/run.html")
        values = _describe(pages, details)
        if template == "runs/run.html":
            values |= await _describe_texts(details)
        return pages.render(template, **values)


def _describe(pages: PageDependencies, details: RunDetails) -> dict[str, Any]:
    """Return the values of the state and the timeline."""
    summary = details.summary
    return {
        "run": details.stored,
        "summary": summary,
        "is_running": summary.state == "running",
        "sentences": wording.describe_run(summary),
        "elapsed_ms": details.course.elapsed_ms,
        "timeline": make_timeline(details.course),
        "trace_url": pages.settings.find_trace_url(details.stored.trace_id),
        "wording": wording,
    }


async def _describe_texts(details: RunDetails) -> Mapping[str, Any]:
    """Return the values of the question, the answers and the findings."""
    summary = details.summary
    parts = summary.findings.get("provenance", ())
    passages = split_answer(summary.answer, parts) if parts else ()
    return {
        "question": await _show_text(details.stored.question),
        "answer": await _show_text(summary.answer),
        "agent_texts": await _show_agents(summary),
        "passages": passages[:_MAX_PASSAGES],
        "has_more_passages": len(passages) > _MAX_PASSAGES,
        "findings": summary.findings,
        "strategies": FROM_ANSWERS,
        "can_resynthesize": _has_stored_answers(summary),
    }


def _has_stored_answers(summary: RunSummary) -> bool:
    """Return whether another answer can be made from those of the agents."""
    return summary.state != "running" and any(
        agent.state == "answered" and agent.report and agent.report.text.strip()
        for agent in summary.agents.values()
        if agent.name != summary.combiner
    )


async def _show_agents(summary: RunSummary) -> Mapping[str, ShownText | None]:
    """Return the texts of agents by name; None for one that has a page of its own.

    The page stays small however many and long they are.
    """
    shown: dict[str, ShownText | None] = {}
    budget = _AGENT_CHARS
    for agent in summary.agents.values():
        text = _text_of(agent)
        budget -= len(text)
        if text and agent.name != summary.combiner:
            shown[agent.name] = await _show_text(text) if budget >= 0 else None
    return shown


async def _show_agent(pages: PageDependencies, details: RunDetails, name: str) -> Response:
    agent = details.summary.agents.get(name)
    if agent is None:
        raise RequestError("not_found", "The run has no agent with this name.")
    text = await _show_text(_text_of(agent))
    return pages.render("runs/agent.html", run=details.stored, agent=agent, text=text)


async def _show_text(text: str) -> ShownText:
    """Return a text to show; formatting a long one would delay other requests."""
    if len(text) > _FORMATTED_CHARS:
        return ShownText(None, text)
    return ShownText(await asyncio.to_thread(render_markdown, text), text)


def _text_of(agent: AgentSummary) -> str:
    return agent.report.text if agent.report else ""
