"""Parts of a message that are no text, and who is given them."""

from __future__ import annotations

import json
from typing import Any

from service.domain import Message
from service.ensembles.catalog import Agent
from service.llm.content_parts import kinds_of, taken_by, takes
from tests._support.llm.scripted import a_catalog, an_ensemble_file, model

TEXT = {"type": "text", "text": "What is this?"}
PICTURE = {"type": "image_url", "image_url": {"url": "data:,"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}


def _message(*parts: dict[str, Any]) -> Message:
    whole = {"role": "user", "content": parts, "name": "ann"}
    return Message("user", "What is this?", json.dumps(whole))


def _agent(**keys: Any) -> Agent:
    text = an_ensemble_file({"a": {"model": model(), **keys}}, None)
    return a_catalog(text).agents["a"]


def _content(agent: Agent, message: Message) -> Any:
    (told,) = taken_by(agent, [message])
    assert told.whole is not None
    assert json.loads(told.whole)["name"] == "ann"
    return json.loads(told.whole)["content"]


def test_an_agent_gets_every_part_unless_told() -> None:
    message = _message(TEXT, PICTURE, SOUND)
    assert taken_by(_agent(), [message]) == [message]


def test_what_an_agent_does_not_take_is_named_in_words() -> None:
    told = _content(_agent(content_parts=["image_url"]), _message(TEXT, PICTURE, SOUND))
    assert told[:2] == [TEXT, PICTURE]
    assert told[2]["type"] == "text"
    assert "input_audio" in told[2]["text"]


def test_a_message_of_parts_that_are_all_taken_stays_as_it_is() -> None:
    message = _message(TEXT, PICTURE)
    assert taken_by(_agent(content_parts=["image_url"]), [message]) == [message]


def test_words_alone_are_for_everybody() -> None:
    message = Message("user", "Hi")
    assert taken_by(_agent(content_parts=[]), [message]) == [message]
    assert takes(_agent(content_parts=[]), kinds_of([message]))


def test_the_kinds_are_those_beside_text() -> None:
    assert kinds_of([Message("user", "Hi"), _message(TEXT, PICTURE), _message(SOUND)]) == {
        "image_url",
        "input_audio",
    }


def test_the_prompt_comes_first() -> None:
    first, *_ = taken_by(_agent(prompt="Be brief."), [_message(TEXT)])
    assert first == Message("system", "Be brief.")
