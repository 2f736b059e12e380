"""Secrets and prompts of one service's traffic, searched in everything that it writes."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import jwt
import pytest

from service.access.api_keys import generate_key
from tests._support.accounts.rows import AccountRows
from tests._support.otlp import Sink
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import Process, run_server
from tests._support.servers.services import KEY, Told

PROMPT = "canary-prompt-of-a-user-7f3a"
PASSWORD = "canary-password-7f3a-of-a-user"
WRONG_PASSWORD = "canary-wrong-password-91bd"
STATIC_KEY = "canary-static-key-51c2-0123456789"
JWT_SECRET = "canary-jwt-secret-88aa-0123456789-0123456789"


@dataclass(frozen=True)
class _Traffic:
    """A stopped service with its outputs. `secrets` are all that its clients and settings had."""

    folder: Path
    spans: bytes
    responses: Mapping[str, str]
    secrets: Mapping[str, str]
    command_line: bytes

    @property
    def log(self) -> str:
        return (self.folder / "err").read_text("utf-8", "replace")


@pytest.fixture(scope="module")
def traffic(told: Told, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Traffic]:
    """A service with the most talkative log, after requests with secrets in every place."""
    folder = tmp_path_factory.mktemp("canaries")
    url = f"sqlite:///{folder}/service.db"
    with Sink() as sink:
        settings = {
            **told(folder),
            **sink.variables(),
            "DATABASE_URL": url,
            "SPOOL_DIR": str(folder / "spool"),
            "AUTH": "required",
            "API_KEY": STATIC_KEY,
            "JWT_SECRET": JWT_SECRET,
            "JWT_ISSUER": "https://issuer.example",
            "JWT_AUDIENCE": "service",
            "LOG_LEVEL": "debug",
            "OTEL_LOGS_EXPORTER": "otlp",
        }
        with run_server(folder, "serve", "--port", "0", **settings) as process:
            responses, secrets = _make_traffic(process, url)
            command_line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        yield _Traffic(folder, sink.raw, responses, secrets, command_line)


def _make_traffic(process: Process, database_url: str) -> tuple[dict[str, str], dict[str, str]]:
    rows = AccountRows(database_url)
    admin = asyncio.run(rows.add_user("root", "admin"))
    unknown = generate_key().text
    token = jwt.encode({"sub": "ann"}, "another-secret-0123456789-0123456789", "HS256")
    secrets = {
        "key": admin.key.text,
        "unknown key": unknown,
        "token": token,
        "password": PASSWORD,
        "wrong password": WRONG_PASSWORD,
        "static key": STATIC_KEY,
        "secret of tokens": JWT_SECRET,
        "key of the models": KEY,
    }
    with httpx.Client(base_url=process.url, timeout=PATIENCE_S) as client:
        responses = _log_in(client, secrets)
        client.cookies.clear()
        responses |= _send_credentials(client, secrets, admin.headers)
        responses |= _ask(client, admin.headers)
        _wait_for_audit(client, admin.headers)
        # Last, so that these reports know all the traffic.
        for path in ("/api/audit?limit=1000", "/api/audit?format=csv", "/metrics", "/openapi.json"):
            responses[path] = client.get(path, headers=admin.headers).text
    return responses, secrets


def _wait_for_audit(client: httpx.Client, headers: Mapping[str, str]) -> None:
    """Wait until the queue of the audit log is written."""
    deadline = time.monotonic() + PATIENCE_S
    while "credential.refused" not in client.get("/api/audit?limit=1000", headers=headers).text:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _log_in(client: httpx.Client, secrets: dict[str, str]) -> dict[str, str]:
    login = {"name": "ann", "password": PASSWORD}
    registered = client.post("/api/auth/register", json=login)
    assert registered.status_code == 201, registered.text
    logged_in = client.post("/api/auth/login", json=login)
    assert logged_in.status_code == 200
    secrets |= {f"cookie {name}": value for name, value in client.cookies.items()}
    bodies = {
        "a wrong password": {"name": "ann", "password": WRONG_PASSWORD},
        "a password as the name": {"name": PASSWORD, "password": WRONG_PASSWORD},
        "an unknown field": {"name": "ann", "passwort": WRONG_PASSWORD},
        "a number as the name": {"name": 1, "password": WRONG_PASSWORD},
    }
    found = {name: client.post("/api/auth/login", json=body) for name, body in bodies.items()}
    found["a name that is taken"] = client.post("/api/auth/register", json=login)
    broken = f'{{"name": "ann", "password": "{WRONG_PASSWORD}"'
    found["broken JSON"] = client.post(
        "/api/auth/login", content=broken, headers={"Content-Type": "application/json"}
    )
    return {name: each.text for name, each in found.items()}


def _send_credentials(
    client: httpx.Client, secrets: Mapping[str, str], admin: Mapping[str, str]
) -> dict[str, str]:
    """Send each secret as every kind of credential, and where credentials are not read."""
    found: dict[str, httpx.Response] = {}
    for name, secret in secrets.items():
        basic = base64.b64encode(f"user:{secret}".encode()).decode()
        for kind, headers in {
            "bearer": {"Authorization": f"Bearer {secret}"},
            "basic": {"Authorization": f"Basic {basic}"},
            "bare": {"Authorization": secret},
            "header": {"X-API-Key": secret},
            "cookie": {"Cookie": f"session={secret}"},
            "last event": {**admin, "Last-Event-ID": secret},
            "idempotency": {**admin, "Idempotency-Key": secret},
        }.items():
            found[f"{kind}: {name}"] = client.get("/history", headers=headers)
    for name in ("key", "unknown key"):
        key = secrets[name]
        found[f"path: {name}"] = client.get(f"/api/runs/{key}", headers=admin)
        found[f"address: {name}"] = client.get(f"/{key}", headers=admin)
        found[f"query: {name}"] = client.get("/history", params={"api_key": key}, headers=admin)
        found[f"limit: {name}"] = client.get("/history", params={"limit": key}, headers=admin)
    return {name: each.text for name, each in found.items()}


def _ask(client: httpx.Client, headers: Mapping[str, str]) -> dict[str, str]:
    """Ask through several APIs; return the bodies of errors alone."""
    message = {"message": PROMPT, "message_id": "m"}
    calls: list[tuple[str, object]] = [
        ("/api/process", message),
        ("/api/process", {**message, "ensemble": "bad-error-object"}),
        ("/api/process", {**message, "unknown": 1}),
        ("/stream", {"prompt": PROMPT}),
        ("/chat", {"messages": [{"role": "user", "content": PROMPT}, {"role": PROMPT}]}),
        ("/v1/chat/completions", {"model": "nothing", "messages": [{"content": PROMPT}]}),
        ("/v1/responses", {"model": "fanout", "input": PROMPT}),
    ]
    found = [(path, client.post(path, json=body, headers=headers)) for path, body in calls]
    found.append(("/search", client.get("/search", params={"query": PROMPT}, headers=headers)))
    return {f"{path} {n}": each.text for n, (path, each) in enumerate(found) if each.is_error}


def _forms(secret: str) -> list[bytes]:
    """Return the forms in which a secret could be written."""
    plain = secret.encode()
    return [plain, base64.b64encode(plain).rstrip(b"=")[:-1], json.dumps(secret)[1:-1].encode()]


def _find(text: bytes | str, secrets: Mapping[str, str]) -> set[str]:
    data = text.encode() if isinstance(text, str) else text
    return {name for name, each in secrets.items() if any(form in data for form in _forms(each))}


def test_no_secret_is_in_the_log_or_the_telemetry(traffic: _Traffic) -> None:
    assert _find(traffic.log, traffic.secrets) == set()
    assert _find((traffic.folder / "out").read_bytes(), traffic.secrets) == set()
    assert _find(traffic.spans, traffic.secrets) == set()
    assert traffic.log.count("\n") > 50
    assert len(traffic.spans) > 10_000


def test_no_secret_is_in_a_response(traffic: _Traffic) -> None:
    faults = {
        name: found
        for name, text in traffic.responses.items()
        if (found := _find(text, traffic.secrets))
    }
    assert faults == {}


def test_no_secret_is_in_a_file_or_on_the_command_line(traffic: _Traffic) -> None:
    stored = {name: each for name, each in traffic.secrets.items() if "models" not in name}
    files = [path for path in traffic.folder.rglob("*") if path.is_file()]
    assert any(path.name == "service.db" for path in files)
    assert {path.name: found for path in files if (found := _find(path.read_bytes(), stored))} == {}
    assert _find(traffic.command_line, traffic.secrets) == set()


def test_a_prompt_is_only_where_conversations_are_stored(traffic: _Traffic) -> None:
    prompt = {"prompt": PROMPT}
    assert _find(traffic.log, prompt) == set()
    assert _find(traffic.spans, prompt) == set()
    shown = {name: text for name, text in traffic.responses.items() if _find(text, prompt)}
    assert shown == {}
    assert _find((traffic.folder / "service.db").read_bytes(), prompt) == {"prompt"}


def test_the_refused_credentials_are_in_the_audit_log(traffic: _Traffic) -> None:
    items = json.loads(traffic.responses["/api/audit?limit=1000"])["items"]
    actions = {each["action"] for each in items}
    assert {"login.failed", "login.succeeded", "user.registered", "credential.refused"} <= actions
