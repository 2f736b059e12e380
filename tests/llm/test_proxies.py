"""Proxies from the environment: which address uses which, and calls through a real one."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from service.errors import UpstreamUnreachable
from service.llm.proxies import ProxyingTransport, read_proxies
from service.settings import SettingsError
from tests._support.llm.forward_proxy import forward_proxy
from tests._support.llm.scripted import DONE, Received, a_call, call_model, chunk
from tests._support.servers.certificates import make_certificate

PROXY, OTHER = "http://proxy.test:3128", "http://other.test:3128"


def _find(url: str, **variables: str) -> str | None:
    return read_proxies(variables).find_name(url)


@pytest.mark.parametrize("url", ["http://models.test/v1", "https://models.test:8443/v1"])
@pytest.mark.parametrize(
    "all_names", [("all_proxy",), ("ALL_PROXY",), ("http_proxy", "HTTPS_PROXY")]
)
def test_a_proxy_is_used_for_its_scheme(url: str, all_names: tuple[str, ...]) -> None:
    assert _find(url, **dict.fromkeys(all_names, PROXY)) == "proxy.test:3128"


def test_each_scheme_can_have_its_own_proxy() -> None:
    variables = {"HTTP_PROXY": OTHER, "ALL_PROXY": PROXY}
    assert _find("http://models.test/v1", **variables) == "other.test:3128"
    assert _find("https://models.test/v1", **variables) == "proxy.test:3128"


def test_lower_case_takes_precedence_also_if_it_is_empty() -> None:
    variables = {"HTTP_PROXY": PROXY, "http_proxy": OTHER}
    assert _find("http://models.test/v1", **variables) == "other.test:3128"
    assert _find("http://models.test/v1", HTTP_PROXY=PROXY, http_proxy="") is None


def test_without_variables_there_is_no_proxy() -> None:
    assert _find("https://models.test/v1") is None


@pytest.mark.parametrize("value", ["proxy.test:3128", "http://me:w0rd-s3cret@proxy.test:3128/"])
def test_a_proxy_may_lack_its_scheme_and_have_a_password(value: str) -> None:
    assert _find("http://models.test/v1", HTTP_PROXY=value) == "proxy.test:3128"


@pytest.mark.parametrize(
    "url",
    ["http://localhost:11434/v1", "http://127.0.0.1:1/v1", "http://127.9.9.9/v1", "http://[::1]:1/v1",
     "https://api.localhost/v1"],
)  # fmt: skip
def test_this_machine_is_called_directly(url: str) -> None:
    assert _find(url, ALL_PROXY=PROXY) is None


@pytest.mark.parametrize(
    ("entry", "host", "is_direct"),
    [
        ("*", "models.test", True),
        ("models.test", "models.test", True),
        ("models.test", "MODELS.test", True),
        ("Models.Test", "api.models.test", True),
        (".models.test", "api.models.test", True),
        ("*.models.test", "api.models.test", True),
        ("models.test", "mymodels.test", False),
        ("models.test:80", "models.test", True),
        ("models.test:81", "models.test", False),
        ("other.test, models.test", "models.test", True),
        ("other.test models.test", "models.test", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("fd00::/8", "[fd00::1]", True),
        ("[fd00::1]:80", "[fd00::1]", True),
        ("", "models.test", False),
    ],
)
def test_listed_hosts_are_called_directly(entry: str, host: str, is_direct: bool) -> None:
    found = _find(f"http://{host}/v1", ALL_PROXY=PROXY, NO_PROXY=entry)
    assert (found is None) is is_direct


@pytest.mark.parametrize(
    "value",
    ["socks5://me:w0rd-s3cret@h:1", "https://h:1", "http://", "http://h:port", "http://h:0"],
)
def test_an_unusable_proxy_is_refused_by_its_name(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^ALL_PROXY: ") as caught:
        read_proxies({"all_proxy": value})
    assert "s3cret" not in str(caught.value)


def test_an_unusable_proxy_that_is_not_needed_is_ignored() -> None:
    variables = {"ALL_PROXY": "socks5://h:1", "HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY}
    assert _find("https://models.test/v1", **variables) == "proxy.test:3128"


# --- calls ---


@asynccontextmanager
async def _model(context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve a model that answers "Hi", with TLS if there is a context; yields its port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = chunk("Hi", finish="stop") + DONE
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        writer.write(head + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def _call(base_url: str, **variables: str) -> Received:
    transport = ProxyingTransport(read_proxies(variables))
    return await call_model(transport, a_call(base_url=base_url, key="sk-0123456789"))


async def test_an_http_server_is_called_through_its_proxy() -> None:
    async with _model() as port, forward_proxy(port) as proxy:
        received = await _call("http://models.test:99/v1", HTTP_PROXY=proxy.url)
    assert received.text == "Hi"
    assert proxy.requests == ["POST http://models.test:99/v1/chat/completions HTTP/1.1"]


async def test_an_https_server_is_called_through_a_tunnel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path, "models.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with _model(context) as port, forward_proxy(port) as proxy:
        received = await _call("https://models.test/v1", ALL_PROXY=proxy.url)
    assert received.text == "Hi"
    assert proxy.requests == ["CONNECT models.test:443 HTTP/1.1"]


async def test_a_proxy_receives_its_password() -> None:
    async with _model() as port, forward_proxy(port, "Basic bWU6dzByZC8=") as proxy:
        url = proxy.url.replace("http://", "http://me:w0rd%2F@")
        assert (await _call("http://models.test/v1", http_proxy=url)).text == "Hi"


async def test_a_tunnel_that_is_refused_is_reported_with_the_proxy_and_its_status() -> None:
    async with forward_proxy(1, "Basic needed") as proxy:
        with pytest.raises(UpstreamUnreachable) as caught:
            await _call("https://models.test/v1", HTTPS_PROXY=f"http://me:s3cret@{proxy.url[7:]}")
    assert f"the proxy {proxy.url[7:]} answered 407" in caught.value.message
    assert "s3cret" not in caught.value.message


async def test_a_proxy_that_is_not_there_is_reported() -> None:
    with pytest.raises(UpstreamUnreachable, match=r"the proxy 127\.0\.0\.1:1 does not accept"):
        await _call("http://models.test/v1", HTTP_PROXY="http://127.0.0.1:1")


async def test_a_listed_host_is_called_without_the_proxy() -> None:
    async with _model() as port:
        received = await _call(
            f"http://127.0.0.1:{port}/v1", HTTP_PROXY="http://127.0.0.1:1", NO_PROXY="x"
        )
    assert received.text == "Hi"
