"""What a model is told of a conversation before its question."""

from __future__ import annotations

from typing import Any

from service.conversation import Branch, Continue, Given, History
from service.domain import Message, RequestOptions, RunRequest
from service.events import RunFinished
from service.runs.history.conversation import last_exchanges
from tests._support.llm.scripted import an_ask, model
from tests._support.runs.service import Service, ended, saying, service

SOLO: dict[str, Any] = {"agents": {"a": {"model": model("a")}}, "combiner": None}
SYSTEM = Message("system", "Be brief.")
CONTINUE = Continue("conv_1")
ADD = Branch("conv_1")
EARLIER = (Message("user", "Q1"), Message("assistant", "A1"))


def _told(of: Service) -> list[tuple[str, str]]:
    """Return the messages that the last call to a model was made with."""
    return [(each["role"], each["content"]) for each in of.server.asked[-1]["messages"]]


def _next(
    question: str, *given: Message, history: History = CONTINUE, **changes: Any
) -> RunRequest:
    """Return a request with earlier messages `given`, which continues the conversation."""
    return an_ask(messages=(*given, Message("user", question)), history=history, **changes)


async def _said(of: Service, question: str) -> list[tuple[str, str]]:
    """Ask `question` in the conversation; return it with its answer."""
    stored = await of.stored(await of.finish(_next(question)))
    return [("user", question), ("assistant", stored.answer)]


# --- the last exchanges ---


def _exchanges(count: int) -> list[Message]:
    return [
        message
        for n in range(1, count + 1)
        for message in (Message("user", f"Q{n}"), Message("assistant", f"A{n}"))
    ]


def test_the_last_exchanges_are_kept() -> None:
    assert last_exchanges(_exchanges(5), 2) == _exchanges(5)[-4:]


def test_fewer_exchanges_than_may_be_are_all_kept() -> None:
    assert last_exchanges(_exchanges(2), 3) == _exchanges(2)


def test_none_may_be_kept() -> None:
    assert last_exchanges(_exchanges(2), 0) == []


def test_what_the_system_said_is_always_kept() -> None:
    assert last_exchanges([SYSTEM, *_exchanges(3)], 1) == [SYSTEM, *_exchanges(3)[-2:]]
    assert last_exchanges([SYSTEM, *_exchanges(3)], 0) == [SYSTEM]


def test_several_answers_to_a_question_belong_to_it() -> None:
    twice = [*EARLIER, Message("assistant", "And more."), Message("user", "Q2")]
    assert last_exchanges(twice, 2) == twice
    assert last_exchanges(twice, 1) == twice[-1:]


# --- conversations ---


async def test_a_question_comes_after_the_exchanges_before_it() -> None:
    async with service(**SOLO) as it:
        first, second = await _said(it, "First?"), await _said(it, "Second?")
        await _said(it, "Third?")
        assert _told(it) == [*first, *second, ("user", "Third?")]


async def test_every_agent_and_the_combiner_are_told() -> None:
    async with service() as it:
        first = await _said(it, "First?")
        await _said(it, "Second?")
        second = it.server.asked[3:]
    assert len(second) == 3
    for asked in second:
        contents = {each["content"] for each in asked["messages"]}
        assert {content for _, content in first} <= contents


async def test_a_question_that_continues_nothing_is_told_nothing() -> None:
    async with service(**SOLO) as it:
        await _said(it, "First?")
        await it.finish(saying("Second?"))
        assert _told(it) == [("user", "Second?")]


async def test_only_so_many_exchanges_are_told() -> None:
    async with service(**SOLO, limits={"exchanges": 1}) as it:
        await _said(it, "First?")
        second = await _said(it, "Second?")
        await _said(it, "Third?")
        assert _told(it) == [*second, ("user", "Third?")]


async def test_with_no_exchanges_only_the_question_is_told() -> None:
    async with service(**SOLO, limits={"exchanges": 0}) as it:
        await _said(it, "First?")
        await _said(it, "Second?")
        assert _told(it) == [("user", "Second?")]


async def test_what_another_owner_said_is_not_told() -> None:
    async with service(**SOLO) as it:
        await it.finish(_next("First?", owner="me"))
        await it.finish(_next("Second?", owner="you"))
        assert _told(it) == [("user", "Second?")]


async def test_a_run_that_still_goes_on_is_not_told() -> None:
    async with service(**SOLO) as it:
        running = await it.start(_next("First?"))
        await it.finish(_next("Second?"))
        assert _told(it) == [("user", "Second?")]
        await it.read(running)


async def test_a_run_without_an_answer_is_not_told() -> None:
    async with service(**SOLO) as it:
        await it.runs.cancel(await it.start(_next("First?")))
        await it.journal.settle(30)
        await it.finish(_next("Second?"))
        assert _told(it) == [("user", "Second?")]


# --- turns that a caller brings along ---


async def test_brought_turns_are_told_and_kept() -> None:
    async with service(**SOLO) as it:
        run = await it.finish(_next("Q2", SYSTEM, *EARLIER))
        turns = [("system", "Be brief."), ("user", "Q1"), ("assistant", "A1")]
        assert _told(it) == [*turns, ("user", "Q2")]
        await _said(it, "Q3")
        answer = (await it.stored(run)).answer
        assert _told(it) == [*turns, ("user", "Q2"), ("assistant", answer), ("user", "Q3")]


async def test_a_conversation_that_is_known_has_its_own_past() -> None:
    async with service(**SOLO) as it:
        first = await _said(it, "First?")
        await it.finish(_next("Second?", *EARLIER))
        assert _told(it) == [*first, ("user", "Second?")]
        assert await it.memory.runs.list_initial_messages("anonymous", "conv_1") == []


async def test_brought_turns_are_as_many_as_exchanges_may_be() -> None:
    async with service(**SOLO, limits={"exchanges": 1}) as it:
        await it.finish(_next("Q4", SYSTEM, *_exchanges(3)))
        assert _told(it) == [
            ("system", "Be brief."),
            ("user", "Q3"),
            ("assistant", "A3"),
            ("user", "Q4"),
        ]


# --- turns that lead up to a question ---


async def test_turns_that_are_added_follow_what_is_known_and_are_kept() -> None:
    async with service(**SOLO) as it:
        first = await _said(it, "First?")
        added = Message("user", "By the way:")
        await it.finish(_next("Second?", added, history=ADD))
        told = [*first, ("user", "By the way:"), ("user", "Second?")]
        assert _told(it) == told
        await it.finish(_next("Third?"))
        assert _told(it)[:-2] == told


async def test_turns_are_added_to_a_conversation_that_begins_with_them() -> None:
    async with service(**SOLO) as it:
        await it.finish(_next("Second?", *EARLIER, history=ADD))
        assert _told(it) == [("user", "Q1"), ("assistant", "A1"), ("user", "Second?")]
        assert await it.memory.runs.list_initial_messages("anonymous", "conv_1") == list(EARLIER)


async def test_questions_that_go_on_from_one_answer_know_nothing_of_each_other() -> None:
    async with service(**SOLO) as it:
        first = await it.finish(_next("First?"))
        left = await it.finish(_next("Left?", history=Branch("conv_1", first.id)))
        await it.finish(_next("Right?", history=Branch("conv_1", first.id)))
        assert [text for role, text in _told(it) if role == "user"] == ["First?", "Right?"]
        await it.finish(_next("Left again?", history=Branch("conv_1", left.id)))
        asked = [text for role, text in _told(it) if role == "user"]
        assert asked == ["First?", "Left?", "Left again?"]


# --- what holds for one question ---


async def test_all_that_a_caller_brings_is_told_when_it_says_so() -> None:
    async with service(**SOLO, limits={"exchanges": 1}) as of:
        await of.finish(_next("Q4", *_exchanges(3), history=Given()))
        assert len(_told(of)) == 7


async def test_instructions_come_first_and_hold_for_one_question() -> None:
    async with service(**SOLO) as of:
        told = RequestOptions(instructions="Be brief.")
        said = [
            ("user", "Q1"),
            ("assistant", (await of.stored(await of.finish(_next("Q1")))).answer),
        ]
        await of.finish(_next("Q2", options=told))
        assert _told(of) == [("system", "Be brief."), *said, ("user", "Q2")]
        await of.finish(_next("Q3"))
        assert ("system", "Be brief.") not in _told(of)


async def test_what_the_system_says_to_a_known_conversation_is_told_once() -> None:
    async with service(**SOLO) as of:
        await of.finish(_next("Q1", SYSTEM))
        await of.finish(_next("Q2", SYSTEM))
        assert _told(of).count(("system", "Be brief.")) == 1
        await of.finish(_next("Q3", Message("system", "Be kind.")))
        assert _told(of)[:2] == [("system", "Be kind."), ("system", "Be brief.")]


# --- runs that need no reader ---


async def test_a_run_in_the_background_goes_on_unread() -> None:
    async with service(**SOLO, limits={"detach_grace_s": 0.0}) as of:
        run = await of.start(an_ask(options=RequestOptions(background=True)))
        with of.runs.reading(run):
            pass
        assert isinstance(await ended(run), RunFinished)
