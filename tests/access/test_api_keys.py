"""API keys: their format, the checksum that programs without the service verify, and hashes."""

from __future__ import annotations

import re
import zlib

import pytest

from service.access.api_keys import PATTERN, generate_key, parse_key

BASE_62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def test_a_key_has_a_public_part_a_secret_and_a_checksum() -> None:
    key = generate_key()
    prefix, public, secret, checksum = re.fullmatch(
        r"(sk-lsse)-([0-9A-Za-z]{12})-([0-9A-Za-z]{43})-([0-9A-Za-z]{6})", key.text
    ).groups()  # type: ignore[union-attr]
    assert public == key.id
    expected = zlib.crc32(f"{prefix}-{public}-{secret}".encode())
    assert sum(BASE_62.index(digit) * 62**at for at, digit in enumerate(reversed(checksum))) == (
        expected
    )


def test_a_key_is_read_back_and_matches_its_hash() -> None:
    key = generate_key()
    parsed = parse_key(key.text)
    assert parsed == key
    assert parsed.matches(key.hash)
    assert not generate_key().matches(key.hash)


def test_keys_differ() -> None:
    assert len({generate_key().text for _ in range(100)}) == 100


def test_a_changed_character_is_found_without_the_database() -> None:
    text = generate_key().text
    for at in range(len("sk-lsse-"), len(text)):
        if text[at] != "-":
            other = "A" if text[at] != "A" else "B"
            assert parse_key(text[:at] + other + text[at + 1 :]) is None


@pytest.mark.parametrize("change", [str.upper, lambda text: text + "\n", lambda text: text[:-1]])
def test_other_formats_are_no_keys(change: object) -> None:
    assert callable(change)
    assert parse_key(change(generate_key().text)) is None


def test_a_scanner_finds_a_key_in_a_text() -> None:
    key = generate_key()
    assert re.findall(PATTERN, f'{{"token":"{key.text}"}}') == [key.text]


def test_a_key_does_not_show_its_secret() -> None:
    key = generate_key()
    assert key.text not in repr(key)
