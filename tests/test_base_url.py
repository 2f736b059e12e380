"""Addresses of model servers: normal form, endpoint, errors, local hosts."""

from __future__ import annotations

import pytest

from service.base_url import chat_endpoint, is_local, parse_base_url


@pytest.mark.parametrize(
    ("text", "base_url", "endpoint"),
    [
        ("https://h/v1", "https://h/v1", "https://h/v1/chat/completions"),
        ("https://h/v1/", "https://h/v1", "https://h/v1/chat/completions"),
        ("https://h/v1///", "https://h/v1", "https://h/v1/chat/completions"),
        ("  HTTPS://h/v1\n", "https://h/v1", "https://h/v1/chat/completions"),
        ("https://h", "https://h", "https://h/chat/completions"),
        ("https://h/", "https://h", "https://h/chat/completions"),
        ("http://h:1/v1?a=1&b=", "http://h:1/v1?a=1&b=", "http://h:1/v1/chat/completions?a=1&b="),
        ("https://h/v1/?a=1", "https://h/v1?a=1", "https://h/v1/chat/completions?a=1"),
        ("https://h?a=1", "https://h?a=1", "https://h/chat/completions?a=1"),
        ("https://h/v1/chat/completions", "https://h/v1", "https://h/v1/chat/completions"),
        ("https://h/v1/chat/completions/", "https://h/v1", "https://h/v1/chat/completions"),
        ("https://h/v1/Chat/Completions?a=1", "https://h/v1?a=1",
         "https://h/v1/chat/completions?a=1"),
        ("https://h/v1#top", "https://h/v1", "https://h/v1/chat/completions"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1", "http://[::1]:8000/v1/chat/completions"),
        ("http://my_host:8000/v1", "http://my_host:8000/v1",
         "http://my_host:8000/v1/chat/completions"),
        (
            "https://x.openai.azure.com/openai/deployments/d?api-version=2024-10-21",
            "https://x.openai.azure.com/openai/deployments/d?api-version=2024-10-21",
            ("https://x.openai.azure.com/openai/deployments/d/chat/completions"
            "?api-version=2024-10-21"),
        ),
    ],
)  # fmt: skip
def test_the_endpoint_is_joined_as_a_part_of_the_path(
    text: str, base_url: str, endpoint: str
) -> None:
    assert parse_base_url(text) == base_url
    assert chat_endpoint(parse_base_url(text)) == endpoint


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not an http or https address, such as https://host/v1"),
        ("localhost:11434/v1", "is not an http or https address, such as"),
        ("//host/v1", "is not an http or https address, such as"),
        ("ftp://host/v1", "is not an http or https address, such as"),
        ("https:/host/v1", "is not an http or https address, such as"),
        ("https://", "it has no host"),
        ("https:///v1", "it has no host"),
        ("https://.", "it has no host"),
        ("https://ho st/v1", "it contains white space"),
        ("https://host/v1\x00", "it contains white space"),
        ("https://host:0/v1", "the port is not a number"),
        ("https://host:65536/v1", "the port is not a number"),
        ("https://host:port/v1", "the port is not a number"),
        ("https://[::1/v1", "the host is not a valid name"),
        ("https://[x]/v1", "the host is not a valid name"),
        ("https://host/v1/responses", "ends in /responses"),
        ("https://host/v1/models/", "ends in /models"),
        ("http://host:11434/api/chat", "ends in /api/chat"),
        ("https://host/v1/completions?a=1", "ends in /completions"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_base_url(text)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "https://user:word-s3cret@host/v1",
        "https://word-s3cret@host/v1",
        "https://word-s3cret:@[::1/v1",
        "https://word-s3cret@host:port/v1",
        "https://word-s3cret\uff03@host/v1",
        "word-s3cret@host/v1",
        "https://host/v1?key=word-s3cret",
        "https://host/v1?a=1&API-KEY=word-s3cret",
        "https://host/v1?token=word-s3cret",
    ],
)
def test_an_address_with_a_secret_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_base_url(text)
    error: BaseException | None = caught.value
    while error is not None:
        assert "s3cret" not in str(error) or error.__suppress_context__ or error is not caught.value
        assert "s3cret" not in str(caught.value)
        error = error.__cause__


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "127.1.2.3", "::1", "10.0.0.8", "172.16.1.1", "192.168.1.20",
     "169.254.1.1", "100.100.1.1", "fd00::1", "fe80::1%eth0", "::ffff:192.168.0.1", "ollama",
     "gpu-box", "studio.local", "host.docker.internal", "box.lan", "0.0.0.0"],
)  # fmt: skip
def test_private_addresses_and_names_without_a_dot_are_local(host: str) -> None:
    assert is_local(host)


@pytest.mark.parametrize(
    "host", ["", "api.openai.com", "8.8.8.8", "2606:4700::1111", "models.test", "172.32.0.1"]
)
def test_public_hosts_are_not_local(host: str) -> None:
    assert not is_local(host)
