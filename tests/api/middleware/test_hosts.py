"""A host is served when no public DNS record can have its name, or when a setting lists it."""

from __future__ import annotations

import pytest

from service.api.middleware.hosts import Hosts
from service.api.middleware.origins import Origins
from service.settings import Settings

HOSTS = Hosts(["chat.example.com", "*.example.org", ""], ["box.lan"])


@pytest.mark.parametrize(
    "host",
    [
        None,  # HTTP/1.0
        "",
        "localhost",
        "LOCALHOST:8080",
        "localhost.",
        "app.localhost:8080",
        "127.0.0.1",
        "127.0.0.1:8080",
        "10.0.0.7",
        "203.0.113.9:80",
        "[::1]",
        "[::1]:8080",
        "[2001:db8::1]:443",
        "app",
        "llm-service:8080",
        "box.lan:8080",
        "BOX.lan",
        "chat.example.com",
        "chat.example.com:8443",
        "a.example.org",
        "a.b.example.org:80",
    ],
)
def test_a_host_that_cannot_be_public_or_is_listed_is_served(host: str | None) -> None:
    assert HOSTS.serve(host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "evil.example.",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "chat.example.com.evil.example",
        "notchat.example.com",
        "example.org",
        "fakeexample.org",
        "evil.example@localhost.evil",
        "localhost:80@evil.example",
        "0x7f.1.evil.example",
        "2130706433.evil.example",
        "xn--e1afmkfd.xn--p1ai",
        "a b.evil.example",
    ],
)
def test_a_host_that_may_be_public_is_not_served(host: str) -> None:
    assert not HOSTS.serve(host)


def test_an_asterisk_serves_every_host() -> None:
    assert Hosts(["*"], []).serve("evil.example")


def test_an_empty_list_serves_no_public_host() -> None:
    assert not Hosts([""], [""]).serve("evil.example")


APPLICATIONS = [
    "tauri://localhost",
    "app://chat",
    "chrome-extension://abc",
    "capacitor://localhost",
    "file://",
    "null",
]


@pytest.mark.parametrize("origin", APPLICATIONS)
def test_the_origin_of_an_application_can_be_listed(origin: str) -> None:
    listed = f"https://chat.example.com, {origin}"
    settings = Settings(_env_file=None, allowed_origins=listed)  # type: ignore[call-arg]
    assert Origins(settings.allowed_origins).allow(origin, "localhost:8080")
    assert not Origins("https://chat.example.com").allow(origin, "localhost:8080")


@pytest.mark.parametrize(
    ("listed", "origin"),
    [
        ("moz-extension://*", "moz-extension://6f2c-11"),
        ("vscode-webview://*", "vscode-webview://0abc"),
        ("https://*.example.com", "https://a.b.example.com"),
        ("https://*", "https://chat.example.org"),
    ],
)
def test_an_asterisk_stands_for_the_rest_of_an_origin(listed: str, origin: str) -> None:
    assert Origins(listed).allow(origin, "localhost")


@pytest.mark.parametrize(
    ("listed", "origin"),
    [
        ("moz-extension://*", "chrome-extension://6f2c-11"),
        ("moz-extension://*", "null"),
        ("https://*.example.com", "https://example.com"),
        ("https://*.example.com", "https://fakeexample.com"),
        ("https://*.example.com", "http://a.example.com"),
        ("https://*.example.com", "https://a.example.com:8443"),
        ("null", "https://null"),
    ],
)
def test_an_asterisk_stands_for_nothing_else(listed: str, origin: str) -> None:
    assert not Origins(listed).allow(origin, "localhost")


def test_the_asterisk_alone_allows_every_origin() -> None:
    assert all(Origins("*").allow(origin, "localhost") for origin in APPLICATIONS)
