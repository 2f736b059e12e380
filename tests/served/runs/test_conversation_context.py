"""`conversation_id` continues a conversation: every agent receives its earlier turns."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from tests._support.clients.api import Api, answer_of, client_of
from tests._support.llm.recorder import Recorder
from tests._support.recovery.installation import Installation

Turns = list[tuple[str, str]]


async def told(api: Api, question: str, conversation_id: str = "conv-1") -> Turns:
    """Ask, and return the question and the answer as the turns that they are."""
    answer = answer_of(await api.ask(question, conversation_id=conversation_id))
    return [("user", question), ("assistant", answer)]


def before(models: Recorder, question: str) -> list[Turns]:
    """Return what each of the three models was sent before `question`."""
    asked = models.of(question)
    assert sorted(each.model for each in asked) == ["joiner", "one", "two"]
    return [each.turns[:-1] for each in asked]


def make_question() -> str:
    return f"Why is the sky {uuid4().hex}?"


async def test_every_agent_receives_the_earlier_turns(installation: Installation) -> None:
    async with client_of(installation.serve().url) as api:
        said: Turns = []
        for _ in range(3):
            question = make_question()
            exchange = await told(api, question)
            assert before(installation.models, question) == [said] * 3
            said += exchange


async def test_a_conversation_continues_after_a_restart(installation: Installation) -> None:
    service = installation.serve()
    async with client_of(service.url) as api:
        said = await told(api, make_question())
    service.crash()
    question = make_question()
    async with client_of(installation.serve("--workers", "2").url) as api:
        await told(api, question)
    assert before(installation.models, question) == [said] * 3


async def test_turns_of_other_conversations_are_not_sent(installation: Installation) -> None:
    async with client_of(installation.serve().url) as api:
        await told(api, make_question(), "conv-1")
        await told(api, first := make_question(), "conv-2")
        await api.ask(second := make_question())
    assert before(installation.models, first) == before(installation.models, second) == [[]] * 3


async def test_only_the_last_exchanges_are_sent(installation: Installation) -> None:
    async with client_of(installation.serve(MAX_EXCHANGES="2").url) as api:
        said: Turns = []
        for _ in range(4):
            said += await told(api, make_question())
        await told(api, question := make_question())
    assert before(installation.models, question) == [said[-4:]] * 3


async def test_no_exchange_is_sent_when_the_limit_is_0(installation: Installation) -> None:
    async with client_of(installation.serve(MAX_EXCHANGES="0").url) as api:
        await told(api, make_question())
        await told(api, question := make_question())
    assert before(installation.models, question) == [[]] * 3


async def test_concurrent_questions_of_one_conversation_are_all_answered_and_stored(
    installation: Installation,
) -> None:
    questions = [make_question() for _ in range(6)]
    async with client_of(installation.serve("--workers", "2").url) as api:
        exchanges = await asyncio.gather(*(told(api, question) for question in questions))
        await told(api, last := make_question())
    for turns in before(installation.models, last):
        pairs = [turns[at : at + 2] for at in range(0, len(turns), 2)]
        assert sorted(pairs) == sorted(exchanges)


async def test_a_failed_question_is_not_part_of_the_history(
    installation: Installation,
) -> None:
    async with client_of(installation.serve().url) as api:
        said = await told(api, make_question())
        await api.ask(make_question(), conversation_id="conv-1", ensemble="failing")
        await told(api, question := make_question())
    assert before(installation.models, question) == [said] * 3


async def test_a_retry_gets_the_same_history_as_the_first_attempt(
    installation: Installation,
) -> None:
    question = make_question()
    async with client_of(installation.serve().url) as api:
        said = await told(api, make_question())
        failed = await api.ask(question, conversation_id="conv-1", ensemble="failing-once")
        await told(api, make_question())  # comes between
        await api.http.post(f"/api/runs/{failed[0].run_id}/retry")
    asked = installation.models.of(question)
    assert sorted(each.model for each in asked) == ["failing-once", "failing-once", "joiner", "one"]
    assert [each.turns[:-1] for each in asked] == [said] * 4
