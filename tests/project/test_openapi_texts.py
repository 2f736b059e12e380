"""The texts of `/openapi.json`, which users read: each is understandable without the others."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from service.app import create_app
from service.settings import Settings
from tests._support.paths import ROOT

_VERBS = {
    "Add", "Ask", "Cancel", "Change", "Check", "Create", "Delete", "End", "Export", "Get", "List",
    "Log", "Open", "Rate", "Register", "Rename", "Replace", "Retry", "Revoke", "Search", "Stream",
}  # fmt: skip
_PRONOUN = re.compile(r"\b(it|them|they|this one|the same|there is)\b", re.I)
_QUESTION = re.compile(r"(What|Which|How|Who|Whose|Why)\b")


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("described")
    settings = Settings(
        ensembles_file=ROOT / "ensembles.toml",
        database_url=SecretStr(f"sqlite:///{folder}/service.db"),
    )
    return asyncio.run(_get_document(create_app(settings, {}).asgi))


async def _get_document(app: Any) -> dict[str, Any]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        found: dict[str, Any] = (await client.get("/openapi.json")).json()
        return found


def _operations(described: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def _texts(described: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield every description of a schema, parameter, response and operation."""
    for name, schema in described["components"]["schemas"].items():
        yield name, schema.get("description", "")
    for name, operation in _operations(described):
        for parameter in operation["parameters"]:
            yield name, parameter.get("description", "A reference.")
        for status, response in operation["responses"].items():
            yield f"{name} {status}", response.get("description", "A reference.")


def test_every_summary_starts_with_a_verb_and_names_its_object(described: dict[str, Any]) -> None:
    for name, operation in _operations(described):
        verb, *rest = operation["summary"].split()
        assert verb in _VERBS, f"{name}: {operation['summary']}"
        assert len(rest) >= 2, f"{name}: {operation['summary']}"
        assert not _PRONOUN.search(operation["summary"]), f"{name}: {operation['summary']}"


def test_every_summary_is_unique(described: dict[str, Any]) -> None:
    summaries = [operation["summary"] for _, operation in _operations(described)]
    assert len(set(summaries)) == len(summaries)


def test_every_text_is_a_sentence_and_no_question(described: dict[str, Any]) -> None:
    for name, text in _texts(described):
        assert len(text.split()) >= 2, f"{name}: {text!r}"
        assert text[0] == text[0].upper(), f"{name}: {text!r}"
        assert text.rstrip().endswith((".", "`", "`:")), f"{name}: {text!r}"
        assert not _QUESTION.match(text), f"{name}: {text!r}"
