"""A run with everything that its page shows, from its process or from the store."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.api.dependencies import ApiDependencies
from service.api.http.query import is_valid_id
from service.errors import RequestError
from service.events import Event
from service.pages.runs.timeline import RunCourse
from service.runs.projections.long_logs import summarize_log
from service.runs.projections.recording import StoredCall, decode_recording
from service.runs.projections.rows import restore_agent
from service.runs.projections.summary import RunSummary
from service.runs.run import Run
from service.store.records import AgentAnswer, StoredRun


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDetails:
    """A run: its row, its state now, and the facts of its timeline."""

    stored: StoredRun
    summary: RunSummary
    course: RunCourse


async def load_details(api: ApiDependencies, owner: str, run_id: str) -> RunDetails:
    """Return a run of `owner`. Raises RequestError 404, and StorageUnavailable."""
    stored = await api.store.runs.get(owner, run_id) if is_valid_id(run_id) else None
    if stored is None:
        raise RequestError("run_not_found", "There is no such run.")
    found = await api.runs.get(run_id, owner)
    answers = await api.store.runs.list_agent_answers(owner, run_id)
    ends_ms = _find_ends(stored, answers)
    if isinstance(found, Run):
        summary = await summarize_log(found.log)
        events: Sequence[Event] = found.log.after(0)
        elapsed_ms = found.elapsed_ms if summary.state == "running" else summary.elapsed_ms
    else:
        summary = _restore_summary(found, answers)
        summary.findings |= await api.store.runs.read_findings(owner, run_id)
        events, elapsed_ms = (), found.elapsed_ms
    course = RunCourse(
        summary=summary,
        elapsed_ms=elapsed_ms,
        ends_ms=ends_ms,
        events=events,
        calls=await _list_calls(api, owner, run_id, events),
    )
    return RunDetails(stored=stored, summary=summary, course=course)


async def _list_calls(
    api: ApiDependencies, owner: str, run_id: str, events: Sequence[Event]
) -> Sequence[StoredCall]:
    """Return the calls of models that are recorded with the end of a run."""
    stored = await api.store.runs.read_recording(owner, run_id)
    if stored is None:
        return ()
    recording = await asyncio.to_thread(decode_recording, stored, events)
    return recording.calls if recording else ()


def _find_ends(stored: StoredRun, answers: Sequence[AgentAnswer]) -> Mapping[str, float]:
    """Return the end of each agent in ms since the start of the run.

    An answer is recorded at the moment at which its agent ended.
    """
    return {
        each.agent: (each.created_at - stored.created_at).total_seconds() * 1000 for each in answers
    }


def _restore_summary(run: StoredRun, answers: Sequence[AgentAnswer]) -> RunSummary:
    """Return the summary of a run whose events have expired."""
    agents = {each.agent: restore_agent(each) for each in answers}
    return RunSummary(
        state=run.state,
        agents=agents,
        answer=run.answer,
        tool_calls=tuple(run.tool_calls),
        usage=run.usage,
        cost=run.cost_usd,
        elapsed_ms=run.elapsed_ms,
        missing=tuple(run.missing),
        degraded_by=tuple(run.degraded_by),
        answered_by=run.answered_by,
        finish_reason=run.finish_reason or "",
        code=run.code,
        message=run.error,
    )
