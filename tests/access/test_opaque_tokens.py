"""Tokens, and the values that are derived from them."""

from __future__ import annotations

from service.access.opaque_tokens import (
    hash_token,
    is_csrf_token,
    make_csrf_token,
    make_device_token,
    new_token,
    read_device_token,
)


def test_a_token_has_256_bits_and_its_hash_does_not_contain_it() -> None:
    token = new_token()
    assert len(token) == 43
    assert token != new_token()
    assert token.encode() not in hash_token(token)


def test_a_csrf_token_belongs_to_one_session() -> None:
    mine, other = new_token(), new_token()
    assert is_csrf_token(make_csrf_token(mine), mine)
    for value in ("", "x", "é", "\ud800", make_csrf_token(other), mine):
        assert not is_csrf_token(value, mine)


def test_a_known_browser_is_known_to_one_account_until_the_password_changes() -> None:
    cookie = make_device_token("hash of alice")
    identity = read_device_token(cookie, "hash of alice")
    assert identity
    assert cookie.startswith(identity)
    assert read_device_token(cookie, "hash of bob") == ""
    assert read_device_token(cookie, "new hash of alice") == ""
    nonce, _, signature = cookie.partition(".")
    for forged in ("", ".", nonce, f".{signature}", f"other.{signature}", f"{nonce}.\ud800"):
        assert read_device_token(forged, "hash of alice") == ""
