"""The credential of a request: the first that is present decides, also a malformed one."""

from __future__ import annotations

import pytest

from service.access.credentials import Credential, CredentialError, PresentedValues

KEY = "a-key"


def _find(**values: list[str]) -> Credential | None:
    return PresentedValues(**values).find()


def test_without_any_there_is_none() -> None:
    assert _find() is None
    assert _find(cookies=[""], subprotocols=["chat"]) is None


@pytest.mark.parametrize(
    ("values", "source"),
    [
        ({"authorization": ["Bearer a-key"]}, "Authorization"),
        ({"authorization": ["bEARER  a-key"]}, "Authorization"),
        ({"api_key": ["a-key"]}, "X-API-Key"),
        ({"subprotocols": ["chat", "bearer.a-key"]}, "Sec-WebSocket-Protocol"),
        ({"cookies": ["a-key"]}, "Cookie"),
    ],
)
def test_each_place_holds_a_credential(values: dict[str, list[str]], source: str) -> None:
    found = _find(**values)
    assert found is not None
    assert (found.source, found.value) == (source, KEY)


def test_the_first_place_decides() -> None:
    values = {
        "authorization": ["Bearer first"],
        "api_key": ["second"],
        "subprotocols": ["bearer.third"],
        "cookies": ["fourth"],
    }
    for expected in ("first", "second", "third", "fourth"):
        found = _find(**values)
        assert found is not None
        assert found.value == expected
        values.pop(next(iter(values)))


@pytest.mark.parametrize(
    "values",
    [
        {"authorization": [""]},
        {"authorization": ["a-key"]},
        {"authorization": ["Basic YTpi"]},
        {"authorization": ["Bearer"]},
        {"authorization": ["Bearer "]},
        {"authorization": ["Bearer\ta-key"]},
        {"authorization": ["Bearer a-key b"]},
        {"authorization": ["Bearer a-key, Bearer a-key"]},
        {"authorization": ["Bearer a-key", "Bearer a-key"]},
        {"authorization": ["Bearer clé"]},
        {"authorization": ["Bearer a\x7fkey"]},
        {"authorization": ["Bearer " + "k" * 8_193]},
        {"api_key": [""]},
        {"api_key": ["Bearer a-key"]},
        {"api_key": ["a-key", "a-key"]},
        {"subprotocols": ["bearer."]},
        {"subprotocols": ["bearer.a-key", "bearer.b-key"]},
        {"cookies": ["a-key", "b-key"]},
    ],
)
def test_a_malformed_credential_is_never_replaced_by_the_next(
    values: dict[str, list[str]],
) -> None:
    others = {
        "authorization": [],
        "api_key": ["valid"],
        "subprotocols": ["bearer.valid"],
        "cookies": ["valid"],
    }
    order = list(others)
    later = {name: others[name] for name in order[order.index(next(iter(values))) + 1 :]}
    with pytest.raises(CredentialError) as caught:
        _find(**values, **later)
    assert "a-key" not in str(caught.value)
