"""Content parts of messages, and the agents that receive them."""

from __future__ import annotations

import json
from typing import Any

from service.domain import Message
from service.ensembles.catalog import Agent
from service.llm.content_parts import accepts, adapt_messages, list_part_types
from tests._support.llm.scripted import a_catalog, an_ensemble_file, model

TEXT = {"type": "text", "text": "What is this?"}
PICTURE = {"type": "image_url", "image_url": {"url": "data:,"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}


def _make_message(*parts: dict[str, Any]) -> Message:
    message = {"role": "user", "content": parts, "name": "ann"}
    return Message("user", "What is this?", json.dumps(message))


def _make_agent(**keys: Any) -> Agent:
    text = an_ensemble_file({"a": {"model": model(), **keys}}, None)
    return a_catalog(text).agents["a"]


def _adapt_content(agent: Agent, message: Message) -> Any:
    (adapted,) = adapt_messages(agent, [message])
    assert adapted.raw is not None
    assert json.loads(adapted.raw)["name"] == "ann"
    return json.loads(adapted.raw)["content"]


def test_an_agent_without_the_setting_receives_every_part() -> None:
    message = _make_message(TEXT, PICTURE, SOUND)
    assert adapt_messages(_make_agent(), [message]) == [message]


def test_a_part_that_an_agent_does_not_accept_is_replaced_by_a_note() -> None:
    adapted = _adapt_content(
        _make_agent(content_parts=["image_url"]), _make_message(TEXT, PICTURE, SOUND)
    )
    assert adapted[:2] == [TEXT, PICTURE]
    assert adapted[2]["type"] == "text"
    assert "input_audio" in adapted[2]["text"]


def test_a_message_with_accepted_parts_only_is_unchanged() -> None:
    message = _make_message(TEXT, PICTURE)
    assert adapt_messages(_make_agent(content_parts=["image_url"]), [message]) == [message]


def test_every_agent_accepts_a_message_without_parts() -> None:
    message = Message("user", "Hi")
    assert adapt_messages(_make_agent(content_parts=[]), [message]) == [message]
    assert accepts(_make_agent(content_parts=[]), list_part_types([message]))


def test_the_part_types_exclude_text() -> None:
    assert list_part_types(
        [Message("user", "Hi"), _make_message(TEXT, PICTURE), _make_message(SOUND)]
    ) == {
        "image_url",
        "input_audio",
    }


def test_the_prompt_comes_first() -> None:
    first, *_ = adapt_messages(_make_agent(prompt="Be brief."), [_make_message(TEXT)])
    assert first == Message("system", "Be brief.")
