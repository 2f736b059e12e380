"""Parts of a message that are no text, and who is given them."""

from __future__ import annotations

import json
from typing import Any

from service.domain import Message
from service.ensembles.catalog import Agent
from service.llm.content_parts import accepts, adapt_messages, part_types
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
    (told,) = adapt_messages(agent, [message])
    assert told.raw is not None
    assert json.loads(told.raw)["name"] == "ann"
    return json.loads(told.raw)["content"]


def test_an_agent_without_the_setting_receives_every_part() -> None:
    message = _message(TEXT, PICTURE, SOUND)
    assert adapt_messages(_agent(), [message]) == [message]


def test_a_part_that_an_agent_does_not_accept_is_replaced_by_a_note() -> None:
    told = _content(_agent(content_parts=["image_url"]), _message(TEXT, PICTURE, SOUND))
    assert told[:2] == [TEXT, PICTURE]
    assert told[2]["type"] == "text"
    assert "input_audio" in told[2]["text"]


def test_a_message_with_accepted_parts_only_is_unchanged() -> None:
    message = _message(TEXT, PICTURE)
    assert adapt_messages(_agent(content_parts=["image_url"]), [message]) == [message]


def test_every_agent_accepts_a_message_without_parts() -> None:
    message = Message("user", "Hi")
    assert adapt_messages(_agent(content_parts=[]), [message]) == [message]
    assert accepts(_agent(content_parts=[]), part_types([message]))


def test_the_part_types_exclude_text() -> None:
    assert part_types([Message("user", "Hi"), _message(TEXT, PICTURE), _message(SOUND)]) == {
        "image_url",
        "input_audio",
    }


def test_the_prompt_comes_first() -> None:
    first, *_ = adapt_messages(_agent(prompt="Be brief."), [_message(TEXT)])
    assert first == Message("system", "Be brief.")
