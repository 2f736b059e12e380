"""The sources of signing keys: a file that changes, and a server that is slow, dead or hostile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from service.access.jwks import KeySet
from service.accounts.signing_keys import JwksFile, JwksServer, SecretKey, open_key_source
from service.settings import Settings, SettingsError
from tests._support.accounts.issuer import SECRET, Issuer
from tests._support.clients.api import until

URL = "https://idp.test/jwks.json"


def _respond(text: str, status: int = 200, **headers: str) -> httpx.Response:
    """Return a response whose body is not read yet, as one from a socket."""
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(text.encode()))


class _Server:
    """A JWKS server that counts its requests."""

    def __init__(self) -> None:
        self.issuer = Issuer()
        self.requests = 0
        self.response: httpx.Response | Exception | None = None
        self.now_s = 0.0

    def __call__(self, _request: httpx.Request) -> httpx.Response:
        self.requests += 1
        if isinstance(self.response, Exception):
            raise self.response
        if self.response is not None:
            return self.response
        return _respond(json.dumps(self.issuer.jwks))

    @asynccontextmanager
    async def source(self) -> AsyncIterator[JwksServer]:
        client = httpx.AsyncClient(transport=httpx.MockTransport(self))
        source = JwksServer(URL, client, lambda: self.now_s)
        yield source
        await source.close()


def _has(keys: KeySet | None, kid: str) -> bool:
    return keys is not None and keys.find(kid, kid) is not None


async def test_keys_are_loaded_in_the_background() -> None:
    server = _Server()
    async with server.source() as source:
        watching = asyncio.create_task(source.watch())

        async def has_keys() -> bool:
            return _has(source.keys, "RS256")

        await until(has_keys)
        watching.cancel()
        assert server.requests == 1


async def test_an_unknown_key_has_the_set_read_once_per_minute() -> None:
    server = _Server()
    async with server.source() as source:
        await asyncio.gather(*(source.reload() for _ in range(50)))
        await source.reload()
        assert server.requests == 1
        server.now_s = 60
        await source.reload()
        assert server.requests == 2


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("refused"),
        _respond("", 500),
        _respond("{}", 404),
        _respond("", 302, Location="https://evil.test"),
        _respond("<html>"),
        _respond('{"keys": []}'),
        _respond(" " * 300_000),
    ],
)
async def test_a_server_that_fails_leaves_the_last_keys(
    failure: httpx.Response | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    server = _Server()
    async with server.source() as source:
        await source.reload()
        before = source.keys
        server.response = failure
        server.now_s = 60
        await source.reload()
        assert server.requests == 2
        assert source.keys is before
        assert before is not None
    assert "the last keys remain in use" in caplog.text


async def test_new_keys_replace_the_old_ones() -> None:
    server = _Server()
    async with server.source() as source:
        await source.reload()
        renamed = {**server.issuer.jwks["keys"][0], "kid": "new"}
        server.response = _respond(json.dumps({"keys": [renamed]}))
        server.now_s = 60
        await source.reload()
        assert not _has(source.keys, "RS256")
        assert source.keys is not None
        assert source.keys.find("new", "RS256")


async def test_a_changed_file_is_read_for_an_unknown_key(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    issuer = Issuer()
    path.write_text(json.dumps({"keys": issuer.jwks["keys"][:1]}))
    source = JwksFile(path)
    assert _has(source.keys, "RS256")
    assert not _has(source.keys, "ES256")
    path.write_text(json.dumps(issuer.jwks))
    await source.reload()
    assert _has(source.keys, "ES256")
    path.write_text("{}")
    await source.reload()
    assert _has(source.keys, "ES256")


@pytest.mark.parametrize("text", [None, "", "{}", '{"keys": []}', "\ufeff"])
def test_an_unusable_file_prevents_the_start(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "jwks.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError, match=r"^JWT_JWKS: .*jwks\.json"):
        JwksFile(path)


async def test_the_settings_name_the_source(tmp_path: Path) -> None:
    def settings(**values: str) -> Settings:
        return Settings.model_validate({"jwt_issuer": "i", "jwt_audience": "a", **values})

    assert open_key_source(Settings()) is None
    assert isinstance(open_key_source(settings(jwt_secret=SECRET)), SecretKey)
    server = open_key_source(settings(jwt_jwks=URL))
    assert isinstance(server, JwksServer)
    await server.close()
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(Issuer().jwks))
    assert isinstance(open_key_source(settings(jwt_jwks=str(path))), JwksFile)
