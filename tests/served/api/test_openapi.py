"""The OpenAPI document, and the running service compared with it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests._support.accounts.visitors import PASSWORD, code_of
from tests._support.paths import ROOT
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import Process
from tests._support.servers.services import Start

CONFIG = Path(__file__).with_name("schemathesis.toml")
# More of them find more: SCHEMATHESIS_EXAMPLES=200 takes some minutes.
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "4")
_ROUTE = re.compile(r'@app\.(get|post|patch|put|delete)\("([^"]+)"\)')
# One is a WebSocket's, the other needs a run that failed.
_ELSEWHERE = {("get", "/chat"), ("post", "/api/runs/{run_id}/retry")}
_VARIABLE = re.compile(r"<(?:\w+:)?(\w+)>")


@pytest.fixture(scope="module")
def document(service: Process) -> dict[str, Any]:
    answer = httpx.get(f"{service.url}/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, Any] = answer.json()
    return found


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def _routes() -> Iterator[tuple[str, str]]:
    for module in (ROOT / "service" / "api").rglob("*.py"):
        for method, address in _ROUTE.findall(module.read_text("utf-8")):
            yield method, _VARIABLE.sub(r"{\1}", address)


def test_every_route_is_in_the_description_and_nothing_else_is(document: dict[str, Any]) -> None:
    described = {(method, path) for method, path, _ in _operations(document)}
    assert described == {route for route in _routes() if not route[1].startswith("/web/")}


def test_the_description_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()


def test_no_two_operations_have_one_name(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in _operations(document)]
    assert len(names) == len(set(names))


def test_a_body_in_the_description_has_an_example(document: dict[str, Any]) -> None:
    for _, path, operation in _operations(document):
        if "requestBody" in operation:
            assert operation["requestBody"]["content"]["application/json"]["example"], path


def test_answers_have_all_that_is_described_and_nothing_else(
    document: dict[str, Any], service: Process
) -> None:
    strict = _strict(document)
    with httpx.Client(base_url=service.url, timeout=PATIENCE_S) as client:
        made = client.post("/stream", json={"prompt": "Explain tides"}).headers
        named = {
            "run_id": made["X-Run-Id"],
            "response_id": made["X-Run-Id"].replace("run_", "resp_"),
            "conversation_id": made["X-Conversation-Id"],
            "session_id": made["X-Conversation-Id"],
            "user_id": "anonymous",
            "model": "fanout",
        }
        for method, path, operation in _operations(strict):
            if method == "delete" or (method, path) in _ELSEWHERE or _is_of_accounts(operation):
                continue
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            answer = client.request(
                method,
                path.format_map(named),
                json=body.get("example"),
                params={"query": "tides"} if path == "/search" else None,
            )
            assert answer.status_code == 200, (path, answer.text)
            media = answer.headers["Content-Type"].partition(";")[0]
            content = operation["responses"]["200"]["content"][media]
            assert _faults(strict, content["schema"], media, answer.text) == [], path


def test_answers_of_accounts_have_all_that_is_described_and_nothing_else(start: Start) -> None:
    process = start(AUTH="required")
    with httpx.Client(base_url=process.url, timeout=PATIENCE_S) as client:
        admin = {"name": "root", "password": PASSWORD}
        made = client.post("/api/auth/register", json={**admin, "invite": code_of(process)}).json()
        session = client.post("/api/auth/login", json=admin).json()
        client.headers["X-CSRF-Token"] = session["csrf_token"]
        key = client.post("/api/keys", json={"name": "laptop"}).json()
        named = {"user_id": made["id"], "key_id": key["id"], "web_session_id": "unknown"}
        strict = _strict(client.get("/openapi.json").json())
        checked = 0
        for method, path, operation in _operations(strict):
            if method == "delete" or path == "/api/auth/logout" or not _is_of_accounts(operation):
                continue
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            example = None if path == "/api/users/{user_id}" else body.get("example")
            example = {"limits": {"streams": 2}} if method == "patch" and not example else example
            answer = client.request(method, path.format_map(named), json=example)
            described = operation["responses"][str(answer.status_code)]
            assert answer.status_code < 300, (path, answer.text)
            if answer.status_code != 204:
                schema = described["content"]["application/json"]["schema"]
                assert _faults(strict, schema, "application/json", answer.text) == [], path
            if path == "/api/auth/login":
                # Its example has logged another user in.
                session = client.post("/api/auth/login", json=admin).json()
                client.headers["X-CSRF-Token"] = session["csrf_token"]
            checked += 1
        assert checked >= 12


def _is_of_accounts(operation: Mapping[str, Any]) -> bool:
    return bool(operation["tags"] == ["Accounts"])


def _strict(described: Any) -> Any:
    """Return a description that allows no other fields than it names."""
    if isinstance(described, list):
        return [_strict(each) for each in described]
    if not isinstance(described, dict):
        return described
    inner = {name: _strict(each) for name, each in described.items()}
    if inner.get("type") == "object" and "properties" in inner:
        inner.setdefault("additionalProperties", False)
    return inner


def _faults(document: Mapping[str, Any], schema: Any, media: str, text: str) -> list[str]:
    """Return what is wrong with an answer, or with the events of one."""
    whole = {"components": document["components"]}
    if media == "text/event-stream":
        data = schema["properties"]["data"]
        json_of = data["anyOf"][1] if "anyOf" in data else data
        shown = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
        closing = [one["const"] for one in data.get("anyOf", []) if "const" in one]
        if "contentSchema" not in json_of:
            return []
        schema, values = (
            json_of["contentSchema"],
            [json.loads(each) for each in shown if each not in closing],
        )
    else:
        values = [json.loads(text)] if media == "application/json" else [text]
    validator = OAS31Validator({**schema, **whole})
    return [error.message for value in values for error in validator.iter_errors(value)]


def test_errors_below_v1_have_openais_shape_and_others_ours(document: dict[str, Any]) -> None:
    for _, path, operation in _operations(document):
        shapes = {
            answer["$ref"].rpartition("/")[2].rstrip("0123456789")
            for answer in operation["responses"].values()
            if "$ref" in answer
        }
        assert shapes == ({"OpenAIError"} if path.startswith("/v1/") else {"Error"}), path


def test_streams_say_what_their_events_are(document: dict[str, Any]) -> None:
    streams = [
        content["text/event-stream"]["schema"]
        for _, _, operation in _operations(document)
        for answer in operation["responses"].values()
        if "text/event-stream" in (content := answer.get("content", {}))
    ]
    assert len(streams) >= 7
    assert all(schema["properties"]["data"] for schema in streams)


@pytest.mark.timeout(60 + 30 * int(EXAMPLES))
def test_schemathesis_finds_no_5xx_no_hang_and_nothing_undocumented(
    service: Process, tmp_path: Path
) -> None:
    tested = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            *("--config-file", CONFIG),
            *("run", f"{service.url}/openapi.json"),
            *("--seed", "1", "--max-examples", EXAMPLES, "--request-timeout", "20"),
            *("--continue-on-failure", "--no-color", "--warnings", "off"),
        ],
        cwd=tmp_path,  # where it leaves its database
        capture_output=True,
        text=True,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert " failures" not in tested.stdout
