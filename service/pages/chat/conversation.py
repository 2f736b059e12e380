"""A stored conversation as the chat page shows it: one branch, its questions and answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup

from service.pages.chat.lineage import (
    Alternatives,
    Links,
    find_alternatives,
    find_newest,
    list_lineage,
)
from service.pages.chat.view import (
    AgentRow,
    RunView,
    describe_report,
    describe_total,
    list_ending_notes,
)
from service.pages.markdown.blocks import render_markdown
from service.runs.projections.summary import AgentSummary, summarize
from service.runs.run import Run
from service.runs.runs import Runs
from service.store.records import AgentAnswer, StoredRun
from service.store.store import Store

SHOWN_RUNS: Final = 20
_SHOWN_CHARS: Final = 200_000  # of all texts of a page; a longer text is loaded by its script
_CUT_CHARS: Final = 20_000
_NOTHING: Final = Markup()
_ENDED: Final = ("answered", "failed", "skipped")


@dataclass(frozen=True, slots=True)
class AgentPanel:
    """An agent with its answer as HTML."""

    row: AgentRow
    answer: Markup
    reasoning: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A question and its answer as HTML; `is_cut` if only its start is shown."""

    run_id: str
    question: str
    ensemble: str
    created_at: datetime
    view: RunView
    agents: Sequence[AgentPanel] = ()
    alternatives: Alternatives | None = None
    answer: Markup = _NOTHING
    is_cut: bool = False


# The page has them as templates, which its script fills in.
BLANK: Final = Exchange(
    run_id="", question="", ensemble="", created_at=datetime.min.replace(tzinfo=UTC), view=RunView()
)
BLANK_AGENT: Final = AgentPanel(AgentRow(""), _NOTHING)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownBranch:
    """The last exchanges of a branch. `earlier` is the first run of those before them."""

    exchanges: Sequence[Exchange]
    leaf: str = ""
    is_newest: bool = True
    earlier: str = ""


@dataclass(frozen=True, slots=True)
class WantedBranch:
    """The branch of a conversation with a run: up to its newest one, or `until` this run."""

    conversation_id: str
    run: str = ""
    until: str = ""


async def load_branch(runs: Runs, store: Store, owner: str, wanted: WantedBranch) -> ShownBranch:
    """Return a branch of a conversation, the newest if no run or an unknown one is wanted.

    Raises RequestError 404 and StorageUnavailable.
    """
    links = await store.runs.list_links(owner, wanted.conversation_id)
    newest = links[-1][0] if links else ""
    leaf = find_newest(links, wanted.run) or newest
    lineage = list_lineage(links, wanted.until) or list_lineage(links, leaf)
    leaf = lineage[-1] if lineage else ""
    shown, before = lineage[-SHOWN_RUNS:], lineage[:-SHOWN_RUNS]
    stored = await store.runs.list_by_ids(owner, shown)
    exchanges = await asyncio.to_thread(_show_all, stored[:-1], links)
    if stored:
        exchanges.append(await _show_last(runs, store, stored[-1], links))
    return ShownBranch(
        exchanges=exchanges,
        leaf=leaf,
        is_newest=leaf == newest,
        earlier=before[-1] if before else "",
    )


def _show_all(stored: Sequence[StoredRun], links: Links) -> list[Exchange]:
    rest = _SHOWN_CHARS
    shown: list[Exchange] = []
    for run in reversed(stored):  # the newest first: they are shown whole
        answer, is_cut = _render_start(run.answer, max(rest, _CUT_CHARS))
        rest -= len(run.answer)
        exchange = _make_exchange(run, links, view=_view_of(run))
        shown.append(replace(exchange, answer=answer, is_cut=is_cut))
    return shown[::-1]


async def _show_last(runs: Runs, store: Store, stored: StoredRun, links: Links) -> Exchange:
    found = await runs.get(stored.id, stored.owner)
    if isinstance(found, Run):
        return await asyncio.to_thread(_show_events, found, stored, links)
    answers = await store.runs.list_agent_answers(stored.owner, stored.id)
    agents = await asyncio.to_thread(lambda: [_show_answer(each) for each in answers])
    answer, is_cut = await asyncio.to_thread(_render_start, found.answer, _SHOWN_CHARS)
    exchange = _make_exchange(found, links, view=_view_of(found), agents=agents)
    return replace(exchange, answer=answer, is_cut=is_cut)


def _show_events(run: Run, stored: StoredRun, links: Links) -> Exchange:
    """Return the exchange of a run whose events are available, as far as it has come."""
    events = run.log.after(0)
    view, now = RunView(), summarize(events)
    for event in events:
        view.apply(event)
    agents = [_show_row(row, now.agents.get(row.name)) for row in view.agents.values()]
    answer, is_cut = _render_start(now.answer, _SHOWN_CHARS)
    exchange = _make_exchange(stored, links, view=view, agents=agents)
    return replace(exchange, answer=answer, is_cut=is_cut)


def _show_row(row: AgentRow, summary: AgentSummary | None) -> AgentPanel:
    report = summary.report if summary else None
    text = report.text if report and row.role != "combines" else ""
    reasoning = summary.reasoning if summary else ""
    return AgentPanel(row, _render_start(text, _CUT_CHARS)[0], reasoning[:_CUT_CHARS])


def _show_answer(each: AgentAnswer) -> AgentPanel:
    row = AgentRow(
        each.agent,
        each.state if each.state in _ENDED else "stopped",
        each.report.model,
        facts=describe_report(each.report),
        notes=[each.error] if each.error else [],
    )
    return AgentPanel(row, _render_start(each.report.text, _CUT_CHARS)[0])


def _view_of(run: StoredRun) -> RunView:
    """Return the view of a run without its agents."""
    view = RunView()
    if run.state != "running":
        view.phase, view.state = "done", run.state
        view.facts = describe_total(run.elapsed_ms, run.usage, run.cost_usd)
        view.notes = list_ending_notes(run.degraded_by, run.missing, run.finish_reason)
        view.notes += [run.error] if run.error else []
    return view


def _make_exchange(
    run: StoredRun, links: Links, *, view: RunView, agents: Sequence[AgentPanel] = ()
) -> Exchange:
    return Exchange(
        run_id=run.id,
        question=run.question,
        ensemble=run.ensemble,
        created_at=run.created_at,
        alternatives=find_alternatives(links, run.id),
        view=view,
        agents=agents,
    )


def _render_start(text: str, most: int) -> tuple[Markup, bool]:
    """Return the start of a text as HTML, and whether it has more characters than `most`."""
    return render_markdown(text[:most]), len(text) > most
