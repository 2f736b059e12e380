"""Times of the last calls of all owners, for the pace of agents."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.store.call_history import CallHistory
from service.store.journal.batch import Batch
from tests._support.runs.store_records import OTHER_OWNER, Parts, make_agent_answer, make_run

pytestmark = pytest.mark.parametrize("store_kind", ["sqlite", "postgresql"])


async def test_the_last_answered_calls_of_all_owners_are_listed_oldest_first(parts: Parts) -> None:
    runs = [make_run(), make_run(owner=OTHER_OWNER), make_run()]
    answers = [make_agent_answer(run, agent=f"llm-{at}") for at, run in enumerate(runs)]
    skipped = replace(make_agent_answer(runs[2], agent="slow"), state="skipped")
    await parts.journal.write(Batch(openings=runs, answers=[*answers, skipped]))
    history = CallHistory(parts.database)
    found = await history.list_recent(10)
    assert [call.agent for call in found] == ["llm-0", "llm-1", "llm-2"]
    (call,) = await history.list_recent(1)
    assert (call.agent, call.model, call.config_hash) == ("llm-2", "model", "of the agent")
    assert (call.elapsed_ms, call.first_token_ms, call.usage.output_tokens) == (3.0, 1.0, 2)
    assert not call.reused
