"""Two users of one service with data of every kind, and the addresses of the service as data."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from tests._support.accounts.rows import TestUser

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_PARAMETER = re.compile(r"{(\w+)}")
# Fields of bodies and parameters of queries that name a resource, and the kind of its id.
_REFERENCES = {
    "conversation_id": "conversation_id",
    "session_id": "session_id",
    "previous_response_id": "response_id",
    "user_id": "user_id",
    "user": "user_id",
    "before": "run_id",
}


@dataclass(frozen=True)
class Tenant:
    """A user, the ids of the user's resources by the name of their parameter, and a secret word.

    The word is in every question of the user, so no response to another user may contain it.
    """

    user: TestUser
    word: str
    ids: Mapping[str, str]


@dataclass(frozen=True)
class Call:
    """A request to an address of the service, with ids in path, query and body."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Mapping[str, Any] | None

    def send(self, client: httpx.Client) -> httpx.Response:
        return client.request(self.method, self.path, params=self.query, json=self.body)


def make_data(client: httpx.Client, user: TestUser, word: str, session_id: str) -> Tenant:
    """Ask questions through several APIs and return the user with the ids of the results."""
    answer = client.post("/stream", json={"prompt": f"Explain {word} tides"})
    assert answer.status_code == 200, answer.text
    response = client.post("/v1/responses", json={"model": "fanout", "input": f"The {word} moon"})
    assert response.status_code == 200, response.text
    session = client.post("/conversation/session", json={"session_name": f"A {word} session"})
    assert session.status_code in (200, 201), session.text
    ids = {
        "run_id": answer.headers["X-Run-Id"],
        "conversation_id": answer.headers["X-Conversation-Id"],
        "response_id": response.json()["id"],
        "session_id": response.headers["X-Conversation-Id"],
        "user_id": user.id,
        "key_id": user.key.id,
        "web_session_id": session_id,
        "model": "fanout",
    }
    return Tenant(user, word, ids)


def make_unknown(ids: Mapping[str, str]) -> dict[str, str]:
    """Return ids in the same formats that no resource has."""
    return {
        name: each if name == "model" else re.sub(r"[0-9A-Za-z]{6}$", "000000", each)
        for name, each in ids.items()
    }


def list_calls(document: Mapping[str, Any], ids: Mapping[str, str], word: str) -> Iterator[Call]:
    """Yield a request for every path and method of an OpenAPI document.

    Raises KeyError for a parameter of a path that has no id in `ids`: add one to `make_data`.
    """
    for path, operations in document["paths"].items():
        filled = path.format_map({name: ids[name] for name in _PARAMETER.findall(path)})
        for method in METHODS:
            operation = operations.get(method.lower(), {})
            query = _fill_query(document, operation, ids, word)
            yield Call(method, filled, query, _fill_body(document, operation, ids))


def _fill_query(
    document: Mapping[str, Any], operation: Mapping[str, Any], ids: Mapping[str, str], word: str
) -> dict[str, str]:
    """Return a query that names resources of `ids`, and searches for `word`."""
    parameters = [_resolve(document, each) for each in operation.get("parameters", ())]
    names = [each["name"] for each in parameters if each["in"] == "query"]
    found = {name: ids[_REFERENCES[name]] for name in names if name == "user"}
    return {**found, **({"query": word} if "query" in names else {})}


def _fill_body(
    document: Mapping[str, Any], operation: Mapping[str, Any], ids: Mapping[str, str]
) -> dict[str, Any] | None:
    """Return the example of a body, whose fields name resources of `ids`."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return None
    names = _resolve(document, content["schema"]).get("properties", {})
    references = {name: ids[kind] for name, kind in _REFERENCES.items() if name in names}
    return {**content.get("example", {}), **references}


def _resolve(document: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a part of the document, or the component that it refers to."""
    found: Any = part
    if "$ref" in part:
        found = document
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
    resolved: Mapping[str, Any] = found
    return resolved
