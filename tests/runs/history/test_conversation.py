"""The history that models receive before a question."""

from __future__ import annotations

from typing import Any

from service.access.principal import Principal
from service.conversation import Branch, Continue, Given, History
from service.domain import Message, RequestOptions, RunRequest
from service.events import RunFinished
from service.runs.history.conversation import select_last_exchanges
from tests._support.llm.scripted import an_ask, model
from tests._support.runs.service import Service, ended, saying, service

SOLO: dict[str, Any] = {"agents": {"a": {"model": model("a")}}, "combiner": None}
SYSTEM = Message("system", "Be brief.")
CONTINUE = Continue("conv_1")
ADD = Branch("conv_1")
EARLIER = (Message("user", "Q1"), Message("assistant", "A1"))


def _sent_messages(of: Service) -> list[tuple[str, str]]:
    """Return the messages that the last call to a model was made with."""
    return [(each["role"], each["content"]) for each in of.server.asked[-1]["messages"]]


def _next(
    question: str, *given: Message, history: History = CONTINUE, **changes: Any
) -> RunRequest:
    """Return a request with earlier messages `given`, which continues the conversation."""
    return an_ask(messages=(*given, Message("user", question)), history=history, **changes)


async def _ask(of: Service, question: str) -> list[tuple[str, str]]:
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
    assert select_last_exchanges(_exchanges(5), 2) == _exchanges(5)[-4:]


def test_fewer_exchanges_than_the_limit_are_all_kept() -> None:
    assert select_last_exchanges(_exchanges(2), 3) == _exchanges(2)


def test_a_limit_of_no_exchanges_keeps_none() -> None:
    assert select_last_exchanges(_exchanges(2), 0) == []


def test_system_messages_are_always_kept() -> None:
    assert select_last_exchanges([SYSTEM, *_exchanges(3)], 1) == [SYSTEM, *_exchanges(3)[-2:]]
    assert select_last_exchanges([SYSTEM, *_exchanges(3)], 0) == [SYSTEM]


def test_several_answers_to_a_question_are_one_exchange() -> None:
    twice = [*EARLIER, Message("assistant", "And more."), Message("user", "Q2")]
    assert select_last_exchanges(twice, 2) == twice
    assert select_last_exchanges(twice, 1) == twice[-1:]


# --- conversations ---


async def test_a_question_follows_the_earlier_exchanges() -> None:
    async with service(**SOLO) as it:
        first, second = await _ask(it, "First?"), await _ask(it, "Second?")
        await _ask(it, "Third?")
        assert _sent_messages(it) == [*first, *second, ("user", "Third?")]


async def test_every_agent_and_the_combiner_receive_the_history() -> None:
    async with service() as it:
        first = await _ask(it, "First?")
        await _ask(it, "Second?")
        second = it.server.asked[3:]
    assert len(second) == 3
    for asked in second:
        contents = {each["content"] for each in asked["messages"]}
        assert {content for _, content in first} <= contents


async def test_a_new_conversation_has_no_history() -> None:
    async with service(**SOLO) as it:
        await _ask(it, "First?")
        await it.finish(saying("Second?"))
        assert _sent_messages(it) == [("user", "Second?")]


async def test_the_history_is_limited_to_the_last_exchanges() -> None:
    async with service(**SOLO, limits={"exchanges": 1}) as it:
        await _ask(it, "First?")
        second = await _ask(it, "Second?")
        await _ask(it, "Third?")
        assert _sent_messages(it) == [*second, ("user", "Third?")]


async def test_with_a_limit_of_no_exchanges_only_the_question_is_sent() -> None:
    async with service(**SOLO, limits={"exchanges": 0}) as it:
        await _ask(it, "First?")
        await _ask(it, "Second?")
        assert _sent_messages(it) == [("user", "Second?")]


async def test_another_owners_conversation_of_the_same_id_is_not_part_of_the_history() -> None:
    async with service(**SOLO) as it:
        await it.finish(_next("First?", principal=Principal(owner="me")))
        await it.finish(_next("Second?", principal=Principal(owner="you")))
        assert _sent_messages(it) == [("user", "Second?")]


async def test_a_running_run_is_not_part_of_the_history() -> None:
    async with service(**SOLO) as it:
        running = await it.start(_next("First?"))
        await it.finish(_next("Second?"))
        assert _sent_messages(it) == [("user", "Second?")]
        await it.read(running)


async def test_a_run_without_an_answer_is_not_part_of_the_history() -> None:
    async with service(**SOLO) as it:
        await it.runs.cancel(await it.start(_next("First?")))
        await it.journal.settle(30)
        await it.finish(_next("Second?"))
        assert _sent_messages(it) == [("user", "Second?")]


# --- earlier messages of a request ---


async def test_earlier_messages_of_the_first_request_are_sent_and_stored() -> None:
    async with service(**SOLO) as it:
        run = await it.finish(_next("Q2", SYSTEM, *EARLIER))
        turns = [("system", "Be brief."), ("user", "Q1"), ("assistant", "A1")]
        assert _sent_messages(it) == [*turns, ("user", "Q2")]
        await _ask(it, "Q3")
        answer = (await it.stored(run)).answer
        assert _sent_messages(it) == [*turns, ("user", "Q2"), ("assistant", answer), ("user", "Q3")]


async def test_stored_turns_replace_the_earlier_messages_of_a_request() -> None:
    async with service(**SOLO) as it:
        first = await _ask(it, "First?")
        await it.finish(_next("Second?", *EARLIER))
        assert _sent_messages(it) == [*first, ("user", "Second?")]
        assert await it.memory.runs.list_initial_messages("anonymous", "conv_1") == []


async def test_earlier_messages_of_a_request_are_limited_to_the_last_exchanges() -> None:
    async with service(**SOLO, limits={"exchanges": 1}) as it:
        await it.finish(_next("Q4", SYSTEM, *_exchanges(3)))
        assert _sent_messages(it) == [
            ("system", "Be brief."),
            ("user", "Q3"),
            ("assistant", "A3"),
            ("user", "Q4"),
        ]


# --- branches ---


async def test_a_branch_adds_its_messages_after_the_stored_turns() -> None:
    async with service(**SOLO) as it:
        first = await _ask(it, "First?")
        added = Message("user", "By the way:")
        await it.finish(_next("Second?", added, history=ADD))
        told = [*first, ("user", "By the way:"), ("user", "Second?")]
        assert _sent_messages(it) == told
        await it.finish(_next("Third?"))
        assert _sent_messages(it)[:-2] == told


async def test_a_branch_of_an_unknown_conversation_starts_it() -> None:
    async with service(**SOLO) as it:
        await it.finish(_next("Second?", *EARLIER, history=ADD))
        assert _sent_messages(it) == [("user", "Q1"), ("assistant", "A1"), ("user", "Second?")]
        assert await it.memory.runs.list_initial_messages("anonymous", "conv_1") == list(EARLIER)


async def test_branches_from_one_answer_are_not_part_of_each_others_history() -> None:
    async with service(**SOLO) as it:
        first = await it.finish(_next("First?"))
        left = await it.finish(_next("Left?", history=Branch("conv_1", first.id)))
        await it.finish(_next("Right?", history=Branch("conv_1", first.id)))
        assert [text for role, text in _sent_messages(it) if role == "user"] == ["First?", "Right?"]
        await it.finish(_next("Left again?", history=Branch("conv_1", left.id)))
        asked = [text for role, text in _sent_messages(it) if role == "user"]
        assert asked == ["First?", "Left?", "Left again?"]


# --- given histories, instructions ---


async def test_a_given_history_is_not_limited() -> None:
    async with service(**SOLO, limits={"exchanges": 1}) as of:
        await of.finish(_next("Q4", *_exchanges(3), history=Given()))
        assert len(_sent_messages(of)) == 7


async def test_instructions_precede_the_history_and_apply_to_one_question() -> None:
    async with service(**SOLO) as of:
        told = RequestOptions(instructions="Be brief.")
        said = [
            ("user", "Q1"),
            ("assistant", (await of.stored(await of.finish(_next("Q1")))).answer),
        ]
        await of.finish(_next("Q2", options=told))
        assert _sent_messages(of) == [("system", "Be brief."), *said, ("user", "Q2")]
        await of.finish(_next("Q3"))
        assert ("system", "Be brief.") not in _sent_messages(of)


async def test_a_system_message_of_a_stored_conversation_is_sent_once() -> None:
    async with service(**SOLO) as of:
        await of.finish(_next("Q1", SYSTEM))
        await of.finish(_next("Q2", SYSTEM))
        assert _sent_messages(of).count(("system", "Be brief.")) == 1
        await of.finish(_next("Q3", Message("system", "Be kind.")))
        assert _sent_messages(of)[:2] == [("system", "Be kind.\n\nBe brief."), ("user", "Q1")]


# --- background runs ---


async def test_a_background_run_continues_without_readers() -> None:
    async with service(**SOLO, limits={"detach_grace_s": 0.0}) as of:
        run = await of.start(an_ask(options=RequestOptions(background=True)))
        with of.runs.reading(run):
            pass
        assert isinstance(await ended(run), RunFinished)
