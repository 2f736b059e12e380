"""Ended runs for statistics: each once, in order, of one owner or of all, without texts."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from service.domain import Usage
from service.ids import new_id
from service.store.agents.reader import AgentRunReader
from service.store.agents.records import RunFilter, RunOutcome
from service.store.database import Database
from service.store.feedback.feedback import FeedbackStore
from service.store.feedback.records import Rating
from service.store.journal.batch import Batch
from service.store.journal.writer import JournalWriter
from service.store.records import NewRun
from tests._support.runs.store_records import (
    ME,
    NOW,
    OTHER_OWNER,
    make_agent_answer,
    make_run,
    make_run_end,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CONFIG = json.dumps(
    {"strategy": "vote", "agents": [{"name": "a#1"}, {"name": "b"}, {"name": "b"}], "judge": {}}
)
_FINDINGS = {
    "votes": {"groups": [{"answer": "4", "agents": ["a#1", "b"], "share": 1.0}], "agreement": 1.0},
    "analysis": {"anything": [1, {}]},
}


async def _add(database: Database, owner: str = ME, findings: Any = None, **run: Any) -> NewRun:
    made = make_run(owner=owner, config=_CONFIG, config_hash="vote", **run)
    end = make_run_end(made, findings=json.dumps(findings) if findings else None)
    answers = [make_agent_answer(made, "a#1", 'A \U0001f44d long\u2028 "text" \\u0000 ' * 50)]
    report = replace(answers[0].report, text="", retries=2, hedges=1, cost=None, usage=Usage())
    answers.append(
        replace(answers[0], agent="b", state="failed", code="upstream_busy", report=report)
    )
    await JournalWriter(database).write(Batch(openings=[made], answers=answers, endings=[end]))
    return made


async def _read(database: Database, **wanted: Any) -> list[RunOutcome]:
    reader = AgentRunReader(database, RunFilter(**{"since": _EPOCH, **wanted}))
    found: list[RunOutcome] = []
    while part := await reader.read_part():
        found += part
    assert await reader.read_part() == ()
    return found


async def test_a_run_has_its_agents_findings_and_ratings(database: Database) -> None:
    run = await _add(database, findings=_FINDINGS)
    await FeedbackStore(database).put(ME, run.run_id, Rating(agent="b", score=0.5), NOW)
    (found,) = await _read(database)
    assert (found.run_id, found.ensemble, found.state) == (run.run_id, "fanout", "completed")
    assert (found.config.strategy, found.config.members) == ("vote", ("a#1", "b"))
    assert found.findings.votes is not None
    assert [each.agents for each in found.findings.votes.groups] == [("a#1", "b")]
    assert found.ratings == [Rating(agent="b", score=0.5)]
    one, other = sorted(found.agents, key=lambda each: each.agent)
    assert (one.answered, one.has_text, one.report.cost, one.report.retries) == (
        True,
        True,
        0.5,
        None,
    )
    assert (other.code, other.has_text, other.report.cost) == ("upstream_busy", False, None)
    assert (other.report.retries, other.report.hedges) == (2, 1)


async def test_runs_are_filtered_by_owner_ensemble_and_start(database: Database) -> None:
    mine, theirs = await _add(database), await _add(database, OTHER_OWNER)
    other = await _add(database, ensemble="other")
    await JournalWriter(database).write(Batch(openings=[make_run()]))  # not ended
    everything = [mine.run_id, theirs.run_id, other.run_id]
    assert [each.run_id for each in await _read(database)] == everything
    assert [each.run_id for each in await _read(database, owner=OTHER_OWNER)] == [theirs.run_id]
    assert [each.run_id for each in await _read(database, ensemble="other")] == [other.run_id]
    assert await _read(database, since=datetime(2999, 1, 1, tzinfo=UTC)) == []


async def test_every_run_is_read_once_however_long_its_findings_are(database: Database) -> None:
    part = {"text": "", "start": 0, "end": 9, "agents": ["b"]}
    long_one = {"provenance": [{**part, "text": "x" * 1_200_000}]}
    added = [await _add(database, findings=long_one if n in (0, 3) else None) for n in range(5)]
    assert [each.run_id for each in await _read(database)] == [each.run_id for each in added]


async def test_more_runs_than_a_page_are_read(database: Database) -> None:
    made = [make_run(run_id=new_id("run")) for _ in range(1_050)]
    ends = [make_run_end(each) for each in made]
    await JournalWriter(database).write(Batch(openings=made, endings=ends))
    found = [each.run_id for each in await _read(database)]
    assert found == sorted(each.run_id for each in made)


async def test_findings_of_another_version_are_left_out(database: Database) -> None:
    await _add(database, findings={"votes": "many", "ranking": 7})
    (found,) = await _read(database)
    assert (found.findings.votes, found.findings.ranking) == (None, None)
