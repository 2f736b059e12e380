"""An awkward text is the same in every API and wherever it is stored."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest

from tests._support.clients.readers import READERS, kept
from tests._support.llm.awkward_texts import TOKENS, text_of
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import Process
from tests._support.servers.programs import run_node


@pytest.fixture
async def http(theatre: Process) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=theatre.url, timeout=PATIENCE_S) as client:
        yield client


def as_heard(text: str, api: str) -> str:
    """Return the part of `text` that an API can transport."""
    if api == "chat_events":  # the standard makes a newline of every line end in raw text
        return text.replace("\r\n", "\n").replace("\r", "\n")
    return text


@pytest.mark.parametrize("api", READERS)
@pytest.mark.parametrize("name", TOKENS)
async def test_an_answer_arrives_unchanged_through_each_api_and_in_every_stored_copy(
    http: httpx.AsyncClient, api: str, name: str
) -> None:
    heard = await READERS[api](http, f"Please recite {name}.")
    assert heard.text == as_heard(text_of(name), api)
    for place, text in (await kept(http, heard)).items():
        assert text == text_of(name), place


@pytest.mark.parametrize("api", READERS)
async def test_a_question_is_stored_unchanged(http: httpx.AsyncClient, api: str) -> None:
    question = f"Please recite spaces.{text_of('everything')}"
    heard = await READERS[api](http, question)
    assert heard.text == as_heard(text_of("spaces"), api)
    asked = (await http.get(f"/history/{heard.run_id}")).json()
    told = (await http.get(f"/api/conversations/{heard.conversation_id}")).json()
    assert asked["prompt"] == told["messages"][0]["content"] == question


def test_a_text_arrives_unchanged_in_node(theatre: Process) -> None:
    heard = json.loads(run_node("recite.mjs", *TOKENS, SERVICE_URL=theatre.url))
    for name in TOKENS:
        assert heard[name] == dict.fromkeys(("whole", "streamed", "response"), text_of(name))
